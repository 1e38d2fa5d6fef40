"""Job: a call with a status, and all that may be said of it."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from worker_dispatcher.clock import wall
from worker_dispatcher.config.signature import generator_word
from worker_dispatcher.engine import pickled
from worker_dispatcher.engine.conditions import AfterOthers, AllSatisfied, Condition, watch_of
from worker_dispatcher.engine.errors import ExecutorError, InvalidStateError
from worker_dispatcher.engine.events import Entry
from worker_dispatcher.engine.future import JobFuture, JobReference, Promising, futures_in, resolved
from worker_dispatcher.engine.generators import Stream, stream_of
from worker_dispatcher.engine.naming import name_of, new_id
from worker_dispatcher.engine.output import check_change_dir
from worker_dispatcher.engine.settings import check_job
from worker_dispatcher.engine.slips import arguments_of, check_callbacks, tell_of_attrs, tell_of_values
from worker_dispatcher.engine.status import DONE, FAILED, FINAL, RUNNING, STATUSES
from worker_dispatcher.engine.watches import OfJob, Some, Watch, leaves

if TYPE_CHECKING:
    from worker_dispatcher.engine.engine import Engine
    from worker_dispatcher.engine.store import Kept

_NONE: Sequence[str] = ()
ResultOf = Callable[[JobFuture | JobReference], Any]
_Callback = Callable[[Any], Any]
_PLAIN = (0, 0.0, None, 0.01, None, None, None, Exception, 0, "cancel")  # what needs no check


class Job(Promising):
    """func(*args, **kwargs), to be run by an engine. Use LocalJob, ThreadJob, ProcessJob, or a further kind.

    args, kwargs: may hold futures of other jobs, also within lists, tuples and dicts: it runs once these are done, with
    their results. callback(result), error_callback(exception): called in the engine's callback thread, or awaited if
    they are coroutine functions; error_callback after each attempt that fails.
    retries: attempts after the first; retry_time_delta: seconds before each, or backoff: f(attempt) -> seconds;
    retry_on: exception types, or f(exception). timeout: seconds for each attempt; deadline: seconds for all of it, from
    the submit on. priority: higher first, of those that may begin.
    condition: what it waits for besides; wait_time_delta: seconds between two questions to a condition of your own.
    on_upstream: what becomes of it if a job whose future it was given does not succeed: 'cancel', 'fail' (with
    UpstreamFailed), or 'run' (with None for the result).
    redirect_out_err: True: what it prints goes to stdout.txt and stderr.txt in `cache_dir` as well; or the path of one
    file. change_dir: run in `cache_dir`. id: by which the engine, conditions and a store know it; None: a random one.
    attrs: whatever you want to keep with it, in `attrs`.

    Raises ConfigError (a ValueError) with all that is wrong. A job belongs to one engine. Reading is thread-safe.
    """

    # With room for what is set on a job besides. A dict of so many names takes a kilobyte and a half.
    __slots__ = (
        *("__dict__", "__weakref__", "_exception", "_own_condition", "_created", "args", "attrs"),
        *("backoff", "begun_at", "callback", "change_dir", "condition", "deadline", "dep_job_ids", "ended_at"),
        *(
            "engine",
            "entry",
            "error_callback",
            "former",
            "func",
            "future",
            "id",
            "is_told",
            "kept",
            "kwargs",
            "name",
        ),
        *("on_upstream", "redirect_out_err", "retries", "retry_on", "retry_time_delta", "running", "submitted_at"),
        *("name", "timeout", "wait_time_delta"),
    )
    where: ClassVar[str] = ""  # which workers run it
    uses: ClassVar[tuple[str, ...]] = ("job",)  # the slots that it takes
    endless: ClassVar[bool] = False  # the end of a `with` block does not wait for it, and no store keeps it
    unkept: ClassVar[tuple[str, ...]] = ()  # attributes of its kind that are not pickled, None in a job that was
    stream: Stream | None = None  # of a generator

    def __init__(
        self,
        func: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        callback: _Callback | None = None,
        error_callback: _Callback | None = None,
        retries: int = 0,
        retry_time_delta: float = 0.0,
        name: str | None = None,
        condition: Condition | None = None,
        wait_time_delta: float = 0.01,
        redirect_out_err: bool | str | os.PathLike[str] = False,
        change_dir: bool = False,
        *,
        id: str | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
        backoff: Callable[[int], float] | None = None,
        retry_on: Any = Exception,
        priority: int = 0,
        on_upstream: str = "cancel",
        **attrs: Any,
    ) -> None:
        said = (
            *(retries, retry_time_delta, condition, wait_time_delta, timeout),
            *(deadline, backoff, retry_on, priority, on_upstream),
        )
        if said != _PLAIN:
            check_job(type(self).__name__, *said)
        if not callable(func):
            raise TypeError(f"{type(self).__name__}: expected a function, got {func!r}: was it called already?")
        self.func = func
        self.args: tuple[Any, ...] = args if type(args) is tuple else ()
        self.kwargs: dict[str, Any] = {}
        if kwargs is not None or not (args is None or type(args) is tuple):
            self.args, self.kwargs = arguments_of(type(self).__name__, args, kwargs)
        if callback is not None or error_callback is not None:
            check_callbacks(type(self).__name__, callback=callback, error_callback=error_callback)
        self.callback, self.error_callback = callback, error_callback
        self.retries, self.retry_time_delta, self.backoff, self.retry_on = retries, retry_time_delta, backoff, retry_on
        self.name = name or name_of(func)
        self.condition, self.wait_time_delta = condition, wait_time_delta
        self.redirect_out_err, self.change_dir = redirect_out_err, change_dir
        self.id = id or new_id()
        self.timeout, self.deadline, self.on_upstream = timeout, deadline, on_upstream
        self.attrs = attrs
        if attrs:
            tell_of_attrs(type(self), func, attrs)
        if change_dir:
            check_change_dir(self)
        self._own_condition = condition
        self._created = wall()
        self._begin_life(priority, self.uses)

    def _begin_life(self, priority: int, uses: tuple[str, ...]) -> None:
        """What is to become of it has not happened."""
        self.engine: Engine | None = None
        self.dep_job_ids: Sequence[str] = _NONE
        self.entry = Entry(self.id, self, uses, self.name)
        self.entry.priority = priority
        self.future = JobFuture(self)
        self.former: JobFuture | None = None  # that of the run before, if it was done, until another one is
        self.running: Any = None  # the future of the attempt that runs
        self.kept: Kept | None = None  # what the store of the engine knows of it
        self.is_told = False  # its end was told to all callbacks
        self._exception: BaseException | None = None
        # Unix time: of the submit; of the beginning of the last attempt; of the end; 0 if it has not
        self.submitted_at = self.begun_at = self.ended_at = 0.0

    # What is known of it

    @property
    def status(self) -> str:
        """'created', 'pending', 'running', 'done', 'failed' or 'cancelled': as the engine has it now. With a store, an
        end is on disk a moment later, and before `result`, the future, a callback or a wait tells it."""
        return self.entry.status

    @property
    def priority(self) -> int:
        return self.entry.priority

    @property
    def retry_remain(self) -> int:
        """Attempts that are left after the next failure."""
        return self.retries if self.entry.status == "created" else self.entry.retries

    @property
    def attempts(self) -> int:
        """How many were begun, by all its runs."""
        return self.entry.attempt

    @property
    def interrupted(self) -> int:
        """How often the program ended while it ran, as the store of its engine knows."""
        return 0 if self.kept is None else self.kept.interrupted

    @property
    def created_time(self) -> datetime:
        return datetime.fromtimestamp(self._created)

    @property
    def submit_time(self) -> datetime | None:
        return datetime.fromtimestamp(self.submitted_at) if self.submitted_at else None

    @property
    def stoped_time(self) -> datetime | None:
        """When it ended, the last time."""
        return datetime.fromtimestamp(self.ended_at) if self.ended_at else None

    def result(self) -> Any:
        """What its function returned. Raises InvalidStateError unless it is done. Of a generator function: its values,
        to be gone through, from when it is running on."""
        if self.stream is not None and self.entry.status in (RUNNING, DONE):
            return self.stream.wrapper()
        if self.entry.status != DONE:
            raise InvalidStateError(self, [DONE])
        return self.future.result()  # which is told a moment after the status

    def gave(self) -> Any:
        """What it returned when it was done last, for jobs that need it: by the run before, while it runs again and
        until the end of that is told. None if it never was. Never waits."""
        done, future = self.status == DONE, self.future  # in this order: another thread may submit it again
        if done and self.stream is not None:
            return self.stream.wrapper()
        given = future if done and future.done() else self.former
        return None if given is None else given.result(0)

    def exception(self) -> BaseException | None:
        """What the last attempt that failed has raised, also if a later one succeeded; None if none has failed."""
        if self._exception is None and self.entry.status == FAILED:  # in an earlier process
            return self.future.exception()
        return self._exception

    @property
    def waits_for(self) -> list[str]:
        """The ids of the jobs that it waits for: in its arguments, and in its condition."""
        root = None if self._own_condition is None else watch_of(self._own_condition, self.wait_time_delta)
        ids = [leaf.job_id for leaf in leaves(root) if isinstance(leaf, OfJob)]
        futures = futures_in([*self.args, *self.kwargs.values()])
        return list(dict.fromkeys([*(future.job_id for future in futures), *ids]))

    @property
    def cache_dir(self) -> Path | None:
        """A folder of its own, made by the first look; None without an engine."""
        if self.engine is None:
            return None
        path = self.engine.cache_dir / self.id
        path.mkdir(parents=True, exist_ok=True)
        return path

    def serialization(self) -> bytes:
        """The job as bytes, functions of the script included: as it was before its submit. Raises what pickling it
        raises."""
        import cloudpickle

        made: bytes = cloudpickle.dumps(self)
        return made

    @staticmethod
    def deserialization(data: bytes) -> Job:
        """The job again. Loading runs code: only bytes that you trust."""
        import cloudpickle

        made: Job = cloudpickle.loads(data)
        return made

    def __getstate__(self) -> dict[str, Any]:
        return pickled.state_of(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        priority, uses = pickled.give_state(self, state)
        self.condition = self._own_condition
        self._begin_life(priority, uses)

    # What may be done with it: on an event loop; the same for other threads is in Engine

    async def cancel(self) -> None:
        """Cancel it, if it has not ended. A thread goes on, and may ask current_task().cancelled()."""
        self._engine().cancel(self)

    async def rerun(self, check_status: bool = True) -> None:
        """Run it again. Raises InvalidStateError if it has not ended."""
        if check_status and self.status not in FINAL:
            raise InvalidStateError(self, sorted(FINAL))
        await self._engine().submit_async(self)

    async def join(self, timeout: float | None = None) -> None:
        """Wait for its end, retries and callbacks included; returns when the time is over."""
        if self.status == "created":
            raise InvalidStateError(self, STATUSES[1:])
        await self._engine().join([self], timeout)

    async def wait_until(self, check_func: Callable[[Job], bool], timeout: float | None = None) -> None:
        """Wait until check_func(job) is true, asked each `wait_time_delta`. Raises asyncio.TimeoutError."""

        async def ask() -> None:
            while not check_func(self):
                await asyncio.sleep(self.wait_time_delta)

        await asyncio.wait_for(ask(), timeout)

    async def wait_until_status(self, status: str, timeout: float | None = None) -> None:
        """Wait until it has a status. Raises asyncio.TimeoutError."""
        if status not in STATUSES:
            raise ValueError(f"status: expected one of {', '.join(STATUSES)}, got {status!r}")
        await self.wait_until(lambda job: job.status == status, timeout)

    def __await__(self) -> Generator[Any, None, Any]:
        """Its result, or what it raised. Cancelling the await, as `asyncio.wait_for` does, cancels the job; `join` does
        not."""
        return self.future.__await__()

    def _engine(self) -> Engine:
        if self.engine is None:
            raise InvalidStateError(self, STATUSES[1:])
        return self.engine

    # What the engine asks

    def prepare(self, engine: Engine, at: float) -> Entry:
        """What the board is to know of it, before it is submitted at a moment (monotonic)."""
        if self.engine is not None and self.engine is not engine:
            raise ExecutorError(f"{self} belongs to another engine; make a new job for this one")
        if not self.where and not self.endless:
            raise ExecutorError(f"{type(self).__name__} says nothing of where it runs; use ThreadJob or another kind")
        if self.redirect_out_err and self.redirect_out_err is not True:
            self.redirect_out_err = os.path.abspath(self.redirect_out_err)
        entry = self.entry
        needs = self._needs(engine)
        self.dep_job_ids = list(dict.fromkeys(future.job_id for future in needs)) if needs else _NONE
        self.condition = self._whole_condition()
        entry.root = self._root()
        entry.retries, entry.on_upstream = self.retries, self.on_upstream
        if (stream := stream_of(self)) is not None:
            self.stream, entry.retries = stream, 0  # what was given already cannot be given again
        entry.deadline = math.inf if self.deadline is None else at + self.deadline
        return entry

    def _needs(self, engine: Engine) -> list[Any]:
        """The futures in its arguments that are to be waited for. Raises ExecutorError for that of another engine's job
        which is not done."""
        if not self.args and not self.kwargs:
            return []
        needs = []
        for future in futures_in([*self.args, *self.kwargs.values()]):
            if isinstance(future, JobFuture):
                if future.is_settled_for(engine):
                    continue
                if future.job is not None and future.job.engine not in (None, engine):
                    raise ExecutorError(f"an argument of {self} is the future of {future.job}, of another engine")
            needs.append(future)
            upstream = future.job if isinstance(future, JobFuture) else None
            if upstream is not None and upstream.status != DONE and generator_word(upstream.func):
                tell_of_values(self, upstream)
        return needs

    def _whole_condition(self) -> Condition | None:
        own, ids = self._own_condition, self.dep_job_ids
        if not ids:
            return own
        return AfterOthers(ids) if own is None else AllSatisfied([own, AfterOthers(ids)])

    def _root(self) -> Watch | None:
        own = self._own_condition
        parts: list[Watch] = [OfJob(job_id, needed=True) for job_id in self.dep_job_ids]
        if own is not None:
            parts.append(watch_of(own, self.wait_time_delta))
        if len(parts) > 1:
            return Some(parts, len(parts))
        return parts[0] if parts else None

    def call(self, result_of: ResultOf) -> tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]:
        """What a worker is to call, with which arguments. Overridden by kinds that run something else than `func`."""
        if not self.args and not self.kwargs:
            return self.func, (), {}
        args = [resolved(arg, result_of) for arg in self.args]
        return self.func, args, {name: resolved(arg, result_of) for name, arg in self.kwargs.items()}

    def wait_before(self, attempt: int) -> float:
        """Seconds before another attempt. Runs code of the user."""
        return self.retry_time_delta if self.backoff is None else float(self.backoff(attempt))

    def judge(self, value: Any, error: BaseException | None) -> BaseException | None:
        """What an attempt has failed with, if it returned a value, or raised."""
        return error

    def give_up(self) -> None:
        """An attempt is over, or not wanted any more: end what it has started besides. Returns at once."""
        if self.stream is not None:
            self.stream.stop()

    def note_error(self, error: BaseException | None) -> None:
        """The exception of its last failed attempt."""
        self._exception = error

    def note_submit(self, old: str) -> None:
        """It is submitted now. old: its status before."""
        self.submitted_at, self.is_told = wall(), False
        self.begun_at = self.ended_at = 0.0
        if old == DONE:
            self.former = self.future
        if old in FINAL:
            self.future = JobFuture(self)

    def note_begin(self) -> None:
        """An attempt begins now."""
        self.begun_at = wall()

    def note_end(self) -> None:
        """It has ended now."""
        self.ended_at = wall()
        self.running = None
        if self.status == DONE:
            self.former = None

    def __repr__(self) -> str:
        shown = {"status": self.status, "id": self.id, **self._shown()}
        if self.condition is not None:
            shown["condition"] = self.condition
        if self.status != RUNNING and self.retry_remain:
            shown["retry_remain"] = self.retry_remain
        return f"<{type(self).__name__} {' '.join(f'{name}={value}' for name, value in shown.items())}>"

    def _shown(self) -> dict[str, Any]:
        return {"func": self.name}


def check_jobs(verb: str, given: Sequence[Any]) -> None:
    """Raises TypeError for what is no job."""
    for job in given:
        if not isinstance(job, Job):
            several = isinstance(job, Iterable) and not isinstance(job, (str, type))
            fix = f"; of several: {verb} each" if verb == "wait_job" else f"; of several: {verb}(*jobs)"
            expected = "a job" if verb == "wait_job" else "jobs"
            raise TypeError(f"{verb}: expected {expected}, such as ThreadJob(f), got {job!r}{fix if several else ''}")
