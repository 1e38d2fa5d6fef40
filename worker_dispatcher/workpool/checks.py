"""What is wrong with the arguments of a call of a pool: a text, or None."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from typing import Any

from worker_dispatcher.config.backend import parsed
from worker_dispatcher.config.describe import Refused
from worker_dispatcher.errors import ConfigError
from worker_dispatcher.workpool.future import Task
from worker_dispatcher.workpool.settings import POOL_DEFAULT, SETTINGS, seconds, whole
from worker_dispatcher.workpool.shapes import KINDS

GROUP_NAMES = ("name", "max_workers", "deadline", "fail_fast", "progress", *SETTINGS)


def refuse(call: str, found: Mapping[str, str | None]) -> None:
    """Raises ConfigError if any argument has something wrong."""
    if problems := [(name, text) for name, text in found.items() if text is not None]:
        raise ConfigError(problems, call)


@functools.cache
def names_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """What a call takes, for suggestions."""
    return tuple(name for name in inspect.signature(function).parameters if name not in ("self", "unknown"))


def _or_none(value: Any, wrong: str | None) -> str | None:
    return None if value is None else wrong


def of_pool(
    max_workers: Any,
    kind: Any,
    threads: Any,
    capacity: Any,
    on_full: Any,
    max_abandoned: Any,
    idle_timeout: Any,
    max_tasks: Any,
    mp_context: Any,
    overflow: Any,
    on_overflow_failed: Any,
    backend: Any,
) -> dict[str, str | None]:
    if isinstance(max_workers, int) and max_workers <= 0:
        too_few: str | None = (
            f"max_workers must be greater than 0, got {max_workers!r}"  # as concurrent.futures says it
        )
    else:
        too_few = _or_none(max_workers, whole(max_workers, 1))
    method = getattr(mp_context, "get_start_method", None)
    forks = "fork" in (mp_context, method and method(allow_none=True))
    elsewhere = None
    if kind == "dask":
        elsewhere = "does not go with kind 'dask', whose processes are started by who has started the cluster"
    known = mp_context in (None, "fork", "spawn", "forkserver") if isinstance(mp_context, (str, type(None))) else method
    return {
        "max_workers": too_few,
        "kind": None if kind in KINDS else f"expected one of {', '.join(map(repr, KINDS))}, got {kind!r}",
        "threads_per_process": _or_none(threads, whole(threads, 1)),
        "capacity": _or_none(capacity, whole(capacity, 1)),
        "on_full": None if on_full in ("block", "raise") else f"expected 'block' or 'raise', got {on_full!r}",
        "max_abandoned": whole(max_abandoned, 0),
        "idle_timeout": _or_none(idle_timeout, seconds(idle_timeout)),
        "max_tasks_per_child": _or_none(
            max_tasks, elsewhere or ("does not go with the start method 'fork'" if forks else whole(max_tasks, 1))
        ),
        "mp_context": _or_none(mp_context, elsewhere)
        if known
        else f"expected a multiprocessing context or its name, got {mp_context!r}",
        "overflow": _of_overflow(overflow, capacity),
        "backend": _of_backend(backend, kind),
        "on_overflow_failed": _of_its_end(on_overflow_failed, overflow),
    }


def _of_overflow(overflow: Any, capacity: Any) -> str | None:
    if overflow is None:
        return None
    if not isinstance(overflow, Executor):
        return f"expected a concurrent.futures.Executor, got {overflow!r}"
    return "needs a capacity: what is more than that goes there" if capacity is None else None


def _of_backend(backend: Any, kind: Any) -> str | None:
    if backend is None:
        return None
    if kind != "dask":
        return f"says which cluster a pool of kind 'dask' has; this one is of kind {kind!r}"
    try:
        parsed(backend)
    except Refused as error:
        return str(error)
    return None


def _of_its_end(on_failed: Any, overflow: Any) -> str | None:
    if on_failed is None:
        return None
    if not callable(on_failed):
        return f"expected a function of (task, error) or None, got {on_failed!r}"
    return "is never called without an overflow; give one, or leave it out" if overflow is None else None


def of_map(chunksize: Any, buffersize: Any) -> None:
    if isinstance(chunksize, int) and chunksize < 1:
        raise ConfigError([("chunksize", f"chunksize must be >= 1, got {chunksize}")], "map()")
    refuse("map()", {"chunksize": whole(chunksize, 1), "buffersize": _or_none(buffersize, whole(buffersize, 1))})


def of_group(max_workers: Any, deadline: Any) -> dict[str, str | None]:
    return {
        "max_workers": _or_none(max_workers, whole(max_workers, 1)),
        "deadline": _or_none(deadline, seconds(deadline, zero=True)),
    }


def of_task(
    fn: Any, args: Any, kwargs: Any, task_id: Any, delay: Any, block: Any, put_timeout: Any
) -> dict[str, str | None]:
    return {
        "fn": None if callable(fn) else f"expected a function or a Task, got {fn!r}",
        "args": _arguments(args),
        "kwargs": None if isinstance(kwargs, (Mapping, type(None))) else f"expected a dict or None, got {kwargs!r}",
        "id": _unhashable(task_id),
        "delay": seconds(delay, zero=True),
        "block": None if block in (None, True, False) else f"expected True, False or None, got {block!r}",
        "put_timeout": _or_none(put_timeout, seconds(put_timeout, zero=True)),
    }


def _arguments(args: Any) -> str | None:
    if isinstance(args, Iterable) and not isinstance(args, (str, bytes)):
        return None
    return f"expected a tuple of arguments, got {args!r}; did you mean ({args!r},)?"


def _unhashable(task_id: Any) -> str | None:
    try:
        hash(task_id)
    except Exception:
        return f"expected something hashable, such as text or a number, got {task_id!r}"
    return None


def settings_in(task: Task) -> dict[str, Any]:
    """What a Task says of itself, as arguments of `schedule`."""
    names = ("delay", "deadline", "timeout", "retries", "backoff", "retry_on", "priority", "options")
    own = {name: getattr(task, name) for name in names if getattr(task, name) is not POOL_DEFAULT}
    return own | {name: value for name, value in (("id", task.id), ("name", task.name)) if value is not None}


def parts_of(task: Any) -> tuple[Any, Iterable[Any], Mapping[str, Any] | None]:
    """(fn, args, kwargs) of a Task, or of a tuple of these."""
    if isinstance(task, Task):
        return task, (), None
    if not isinstance(task, tuple) or not 1 <= len(task) <= 3:
        raise ConfigError([("tasks", f"expected a Task or (fn, args, kwargs), got {task!r}")], "schedule_many()")
    fn, args, kwargs = task + ((), None)[len(task) - 1 :]
    return fn, args, kwargs
