"""Functions that become jobs when they are called: `@launcher`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from worker_dispatcher.engine.default import get_default_engine as get_default_engine
from worker_dispatcher.engine.default import set_default_engine as set_default_engine
from worker_dispatcher.engine.engine import Engine
from worker_dispatcher.engine.job import Job
from worker_dispatcher.engine.naming import name_of
from worker_dispatcher.errors import ConfigError

# Where each kind of job is; loaded by who uses it.
_KINDS = {
    "local": ("kinds", "LocalJob"),
    "thread": ("kinds", "ThreadJob"),
    "process": ("kinds", "ProcessJob"),
    "subprocess": ("subprocess_job", "SubprocessJob"),
    "webapp": ("webapp_job", "WebappJob"),
    "dask": ("dask_job", "DaskJob"),
}


def kind_of(job_type: str) -> Callable[..., Job]:
    """What makes jobs of a type. Raises ConfigError for one that there is not."""
    if job_type not in _KINDS:
        raise ConfigError([("job_type", f"expected one of {', '.join(_KINDS)}, got {job_type!r}")], "launcher()")
    module, name = _KINDS[job_type]
    made: Callable[..., Job] = getattr(import_module(f"{__package__}.{module}"), name)
    return made


class LauncherBase:
    """A function of which each call is a job. Wraps it: name, docstring and signature are the function's.

    engine: that of the `with` block the program is in, unless another was given or set.
    """

    def __init__(
        self,
        target_func: Callable[..., Any],
        engine: Engine | None = None,
        job_type: str = "process",
        name: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        job_attrs: Mapping[str, Any] | None = None,
    ) -> None:
        self.target_func, self._engine = target_func, engine
        self._is_command = _is_command(target_func)
        self.job_type = "subprocess" if self._is_command and job_type != "webapp" else job_type
        kind_of(self.job_type)
        functools.update_wrapper(self, target_func)  # type: ignore[arg-type]  # it asks for nothing but attributes
        self.name = name or name_of(target_func)
        self.description = description or target_func.__doc__
        self.tags = list(tags or ())
        self.job_attrs = {**(job_attrs or {}), "name": self.name}

    @property
    def engine(self) -> Engine:
        return get_default_engine() if self._engine is None else self._engine

    @engine.setter
    def engine(self, engine: Engine | None) -> None:
        self._engine = engine

    @property
    def desc(self) -> Any:
        """The arguments and results of the function, as the package funcdesc describes them."""
        return import_module("funcdesc").parse_func(self.target_func)

    def create_job(self, args: Sequence[Any], kwargs: Mapping[str, Any], **attrs: Any) -> Job:
        """A job for a call, not submitted. attrs: what is said of this one."""
        make, said = kind_of(self.job_type), {**self.job_attrs, **attrs}
        if self._is_command:
            command = self.target_func.get_cmd_str(*args, **kwargs)  # type: ignore[attr-defined]
            return make(command if isinstance(command, str) else next(command), **said)
        if self.job_type == "webapp":
            return make(self.target_func, *args, **{**kwargs, **said})
        return make(self.target_func, tuple(args), dict(kwargs), **said)

    def _as(self, kind: type[Any]) -> Any:
        about = (self.name, self.description, self.tags, self.job_attrs)
        return kind(self.target_func, self._engine, self.job_type, *about)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} job_type={self.job_type}>"


class SyncLauncher(LauncherBase):
    """Called, it waits for the result."""

    async_mode = False

    def submit(self, *args: Any, **kwargs: Any) -> Job:
        """Have the function called by a job; the job. Arguments may be futures of other jobs."""
        job = self.create_job(args, kwargs)
        self.engine.submit(job)
        return job

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result; raises what the function raised, and RuntimeError if the job was cancelled."""
        job = self.submit(*args, **kwargs)
        self.engine.wait_job(job)
        return _outcome(job)

    def to_async(self) -> AsyncLauncher:
        made: AsyncLauncher = self._as(AsyncLauncher)
        return made


class AsyncLauncher(LauncherBase):
    """Called and awaited, it gives the result. The engine need not be started."""

    async_mode = True

    async def submit(self, *args: Any, **kwargs: Any) -> Job:
        """Have the function called by a job; the job. Arguments may be futures of other jobs."""
        job = self.create_job(args, kwargs)
        await self.engine.submit_async(job)
        return job

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result; raises what the function raised, and RuntimeError if the job was cancelled."""
        job = await self.submit(*args, **kwargs)
        await job.join()
        return _outcome(job)

    def to_sync(self) -> SyncLauncher:
        made: SyncLauncher = self._as(SyncLauncher)
        return made


def launcher(
    func: Callable[..., Any] | None = None,
    engine: Engine | None = None,
    async_mode: bool = False,
    job_type: str = "process",
    name: str | None = None,
    description: str | None = None,
    tags: Sequence[str] | None = None,
    job_attrs: Mapping[str, Any] | None = None,
) -> Any:
    """Make a function one of which each call is a job: `@launcher`, or `@launcher(job_type="thread")`.

    engine: None: that of the `with` block the program is in. async_mode: its calls are awaited. job_type: 'local',
    'thread', 'process', 'subprocess', 'webapp' or 'dask'; a function of the package cmd2func becomes a subprocess.
    job_attrs: what is said of each job, such as {"retries": 2}. Returns a SyncLauncher or an AsyncLauncher.
    """
    if func is None:
        said = {"engine": engine, "async_mode": async_mode, "job_type": job_type, "name": name}
        return functools.partial(launcher, **said, description=description, tags=tags, job_attrs=job_attrs)  # type: ignore[arg-type]
    if not callable(func):
        raise TypeError(f"launcher: expected a function, got {func!r}")
    kind = AsyncLauncher if async_mode else SyncLauncher
    return kind(func, engine, job_type, name, description, tags, job_attrs)


def _outcome(job: Job) -> Any:
    if job.status == "cancelled":
        raise RuntimeError("Job cancelled")
    return job.future.result(0)


def _is_command(function: Any) -> bool:
    """It is a function of cmd2func, which gives a command."""
    known = sys.modules.get("cmd2func.core")
    return known is not None and isinstance(function, known.Cmd2Func)
