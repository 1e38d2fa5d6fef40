"""What may be said of each task: as a default of the pool or of a group, or for one task; and how it is checked."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from worker_dispatcher.config.spelling import nearest
from worker_dispatcher.errors import ConfigError
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.retry import Backoff

if TYPE_CHECKING:
    from worker_dispatcher.limiter import Limiter
    from worker_dispatcher.workpool.future import Task, TaskResult


_LONGEST = 1e9  # seconds, about 31 years; above it the system's own waits overflow


class _PoolDefault:
    """Stands for the value that the pool, or the group, has."""

    def __repr__(self) -> str:
        return "POOL_DEFAULT"

    def __reduce__(self) -> str:
        return "POOL_DEFAULT"


POOL_DEFAULT: Final[Any] = _PoolDefault()


class TaskHooks(NamedTuple):
    """What is called when a task ends: in the parent process, in the one callback thread of the pool, one after the
    other. A hook that raises is counted in `stats().hook_errors` and logged, and changes nothing else.

    on_success, on_error (failed or timed out), on_expired (past its deadline): with a TaskResult; on_rescue: with a
    Task.
    """

    on_success: Callable[[TaskResult], Any] | None = None
    on_error: Callable[[TaskResult], Any] | None = None
    on_expired: Callable[[TaskResult], Any] | None = None
    on_rescue: Callable[[Task], Any] | None = None


class Settings(NamedTuple):
    """timeout: seconds for each attempt while it runs; deadline: seconds for the whole life of the task: delay, queue
    and retries. retries: attempts after the first; backoff: f(number of the attempt that failed) -> seconds;
    retry_on: exception types or a predicate. options: what `current_task().options` gives.
    """

    timeout: float | None = None
    deadline: float | None = None
    retries: int = 0
    backoff: Callable[[int], float] = Backoff().wait
    retry_on: Any = Exception
    options: Mapping[str, Any] | None = None
    hooks: TaskHooks | None = None
    name: str | None = None
    priority: int = 0
    limiter: Limiter | None = None
    on_done: Callable[[TaskResult], Any] | None = None

    def stop_at(self, at: float) -> float:
        """When a task that is submitted at a moment (monotonic) may not start any more."""
        return math.inf if self.deadline is None else at + self.deadline

    def retries_on(self, error: BaseException) -> bool:
        """True if an attempt that ended so may be tried again. Runs code of the user."""
        named = self.retry_on
        if callable(named) and not isinstance(named, type):
            return bool(named(error))
        kinds = named if isinstance(named, tuple) else (named,)
        return any(isinstance(error, kind) and _speaks_of(kind, error) for kind in kinds)


def _speaks_of(kind: type[BaseException], error: BaseException) -> bool:
    """`Exception` speaks of what functions raise; of timeouts and dead workers only a class that is nearer to them."""
    from concurrent.futures.process import BrokenProcessPool

    from worker_dispatcher.errors import TaskTimeout

    ours = isinstance(error, (TaskTimeout, BrokenProcessPool))
    return not ours or kind not in (Exception, BaseException)


def seconds(value: Any, *, zero: bool = False) -> str | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and (0 if zero else 1e-12) <= value <= _LONGEST:
        return None
    return f"expected seconds {'of at least 0' if zero else 'above 0'}, or None, got {value!r}"


def whole(value: Any, least: int) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return None
    return f"expected a whole number of at least {least}, got {value!r}"


def _function(value: Any) -> str | None:
    return None if callable(value) else f"expected a function or None, got {value!r}"


def _takes_one(value: Any, what: str) -> str | None:
    """A function that can be called with one argument."""
    try:
        inspect.signature(value).bind(None)
    except TypeError:
        return f"expected a function of {what}, got {value!r}, which takes other arguments"
    except ValueError:  # one of C that does not say
        pass
    return None


def _backoff(value: Any) -> str | None:
    if isinstance(value, Backoff):
        known = all(isinstance(part, (int, float)) and part >= 0 for part in value)
        return None if known else f"expected numbers of at least 0, got {value!r}"
    return _function(value) or _takes_one(value, "the number of the attempt that failed")


def _retry_on(value: Any) -> str | None:
    kinds = value if isinstance(value, tuple) else (value,)
    if kinds and all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        return None
    if callable(value) and not isinstance(value, type):
        return _takes_one(value, "the exception")
    return f"expected exception types (such as (OSError, TaskTimeout)) or a function of the exception, got {value!r}"


def _hooks(value: Any) -> str | None:
    if not isinstance(value, TaskHooks):
        return f"expected TaskHooks(on_success=...), got {value!r}"
    wrong = [
        name for name, hook in zip(TaskHooks._fields, value, strict=True) if hook is not None and not callable(hook)
    ]
    return f"expected functions, got {getattr(value, wrong[0])!r} as {wrong[0]}" if wrong else None


def _limiter(value: Any) -> str | None:
    return None if hasattr(value, "take") else f"expected a Limiter(rate), got {value!r}"


_RULES: dict[str, tuple[Callable[[Any], str | None], Any]] = {
    # name: (what is wrong with a value that is not None, what None stands for)
    "timeout": (seconds, None),
    "deadline": (lambda value: seconds(value, zero=True), None),  # one that is spent: see `schedule`
    "retries": (lambda value: whole(value, 0), 0),
    "backoff": (_backoff, Backoff(initial=0.0)),
    "retry_on": (_retry_on, ()),
    "options": (lambda v: None if isinstance(v, Mapping) else f"expected a dict or None, got {v!r}", None),
    "hooks": (_hooks, None),
    "name": (lambda value: None if isinstance(value, str) else f"expected text, got {value!r}", None),
    "priority": (lambda v: None if isinstance(v, int) else f"expected a whole number, got {v!r}", 0),
    "limiter": (_limiter, None),
    "on_done": (_function, None),
}


SETTINGS = tuple(_RULES)


def settings_of(
    call: str, defaults: Settings, given: Mapping[str, Any], others: Mapping[str, str | None], names: tuple[str, ...]
) -> Settings:
    """The settings of a task, a group or a pool: what was given replaces the defaults; None switches them off.

    call: what the user has called, for the error; others: further names with what is wrong with their values (None:
    nothing); names: all that the call takes. Raises ConfigError, with all problems at once.
    """
    problems = [(name, text) for name, text in others.items() if text is not None]
    changed: dict[str, Any] = {}
    for name, value in given.items():
        if value is POOL_DEFAULT:
            continue
        if name not in _RULES:
            found = nearest(name, names)
            problems.append((name, "unknown" + (f"; did you mean '{found[0]}'?" if found else "")))
            continue
        wrong, none = _RULES[name]
        if value is None:
            changed[name] = none
        elif (text := wrong(value)) is not None:
            problems.append((name, text))
        else:
            changed[name] = value
    if problems:
        raise ConfigError(problems, call)
    return defaults._replace(**changed) if changed else defaults
