"""What is easily given in the place of something else: it is understood, or told with the value and the fix."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from functools import cache
from typing import Any

from worker_dispatcher.clock import now
from worker_dispatcher.config.spelling import nearest
from worker_dispatcher.engine.status import STATUSES
from worker_dispatcher.errors import ConfigError, WorkerWarning

_SHELL = frozenset(["|", "||", "&", "&&", ";", ">", ">>", "<", "2>", "2>&1", "&>"])
_WAITS = frozenset(
    [
        "after",
        "dependencies",
        "dependency",
        "depends_on",
        "deps",
        "needs",
        "requires",
        "upstream",
        "upstreams",
        "wait_for",
    ]
)


def is_condition(given: Any) -> bool:
    """It can be asked: no class of conditions, no job and no function."""
    return callable(getattr(given, "satisfy", None)) and not isinstance(given, type)


def id_of(given: Any) -> str:
    """The id of a job, that is given as itself, as the job, or as its future."""
    job_id = given if isinstance(given, str) else getattr(given, "job_id", getattr(given, "id", None))
    if not isinstance(job_id, str):
        raise ValueError(f"expected a job, or the id of one, got {given!r}")
    return job_id


def ids_of(given: Any) -> list[str]:
    """The same of several."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueError(f"job_ids: expected a list of jobs, or of their ids, got {given!r}")
    return [id_of(job) for job in given]


def check_statuses(given: Any) -> None:
    """Raises ValueError."""
    if isinstance(given, str) or not isinstance(given, Collection):
        raise ValueError(f"statuses: expected a list of statuses, such as ['done'], got {given!r}")
    if wrong := [status for status in given if status not in STATUSES]:
        raise ValueError(f"statuses: expected some of {', '.join(STATUSES)}, got {wrong[0]!r}")


def arguments_of(kind: str, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a job's function. Raises ConfigError for what is none of several, such as a text."""
    args, kwargs = () if args is None else args, {} if kwargs is None else kwargs
    problems = []
    if isinstance(args, (str, bytes, Mapping, Set)) or not isinstance(args, Iterable):
        problems.append(
            ("args", f"expected a tuple or a list of arguments, got {args!r}; for this one alone: ({args!r},)")
        )
    if not isinstance(kwargs, Mapping):
        problems.append(("kwargs", f"expected a dict of arguments by name, got {kwargs!r}"))
    if problems:
        raise ConfigError(problems, f"{kind}()")
    return tuple(args), dict(kwargs)


def check_callbacks(kind: str, **callbacks: Any) -> None:
    """Raises ConfigError for what cannot be called."""
    wrong = {name: given for name, given in callbacks.items() if given is not None and not callable(given)}
    if wrong:
        raise ConfigError([(name, f"expected a function, got {given!r}") for name, given in wrong.items()], f"{kind}()")


def tell_of_attrs(kind: type, func: Any, attrs: Iterable[str]) -> None:
    """Warn of what is said of a job, will be kept in its `attrs`, and was likely meant to do something."""
    names = _keywords(kind)
    code = getattr(func, "__code__", None)
    own = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if code is not None else ()
    for attr in attrs:
        if attr in own:
            meant = "arguments of its function go into args=(...) or kwargs={...}"
        elif attr in _WAITS:
            meant = "for what it waits for, give futures of jobs as arguments, or condition=AfterOthers([...])"
        elif near := nearest(attr, names):
            meant = f"did you mean {near[0]}?"
        else:
            continue
        text = f"{kind.__name__}: {attr} is only kept, in the attrs of the job; {meant}"
        warnings.warn(text, WorkerWarning, stacklevel=_level_of_the_user())


def tell_of_values(waits: Any, upstream: Any) -> None:
    """Warn of a job that waits for one whose function is a generator function."""
    text = f"{waits} begins once somebody has gone through the values of {upstream}, and gets none of them"
    fix = "have that function return a list of them, and the values are its argument"
    warnings.warn(f"{text}; {fix}", WorkerWarning, stacklevel=_level_of_the_user())


def tell_of_shell_words(cmd: str, words: Iterable[str]) -> None:
    """Warn of a command that no shell runs, in which there is what only a shell understands."""
    if found := [word for word in words if word in _SHELL]:
        fix = 'popen_kwargs={"shell": True} has a shell run it'
        text = f"SubprocessJob: {found[0]} is a plain argument in {cmd!r}, since no shell runs it; {fix}"
        warnings.warn(text, WorkerWarning, stacklevel=_level_of_the_user())


@cache
def _keywords(kind: type) -> list[str]:
    """What its constructor, and those of its bases, take by name."""
    found = [inspect.signature(vars(one)["__init__"]).parameters for one in kind.__mro__ if "__init__" in vars(one)]
    names = dict.fromkeys(name for parameters in found for name in parameters)
    return [name for name in names if name not in ("self", "args", "kwargs", "attrs", "func")]


def _level_of_the_user() -> int:
    """The stacklevel, seen from who called this, of the first frame outside this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("worker_dispatcher."):
        frame, level = frame.f_back, level + 1
    return level


def moment_in(timeout: Any) -> float:
    """The moment (monotonic) at which the time of a wait is over. Raises TypeError for what are no seconds."""
    try:
        return float(now() + timeout)
    except TypeError:
        text = (
            f"timeout: expected seconds, or None, got {timeout!r}; wait_job(job) and join([job]) wait for certain jobs"
        )
        raise TypeError(text) from None


def check_parts(given: Any) -> None:
    """Raises ValueError for what no combination can be made of."""
    if not isinstance(given, Sequence):
        raise ValueError(f"conditions: expected a list of conditions, got {given!r}")
    if wrong := [part for part in given if not is_condition(part)]:
        raise ValueError(f"conditions: expected a list of conditions, got {wrong[0]!r} in it")
