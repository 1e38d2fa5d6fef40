"""What a worker is told at its start. Apart from child.py, which the parent loads only where it forks itself."""

from __future__ import annotations

import builtins
import functools
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from worker_dispatcher.loaded import loaded
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.osproc.interpreter import executable, flags, hashing
from worker_dispatcher.tracebacks import own

Identity = tuple[Any, ...]


class Preloading(NamedTuple):
    """What is imported where workers are forked from. loader: 'module:function' of what does that, called with `about`;
    layers: names of modules, of which those in the next one may change while those before stay; mark: another one each
    time that what was imported before it must not be used any more."""

    loader: str = ""
    about: Any = None
    layers: Sequence[Sequence[str]] = ()
    mark: int = 0


NO_PRELOADING = Preloading()


_LIMITS = {name[7:]: getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
_WHO = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp_filters")
_OF_PYTHON = ("_frozen_importlib", "_frozen_importlib_external")
# That of setuptools, which nearly every environment has: what it finds is in the standard library before 3.12.
_NEEDLESS = ("_distutils_hack",) if sys.version_info < (3, 12) else ()


def spawn_spec(
    entry: str,
    *,
    fresh: bool,
    environment: dict[str, str],
    imports: Sequence[str] = (),
    preloading: Preloading = NO_PRELOADING,
    status: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What a worker is told at its start: the parent as it is now.

    entry: 'module:function', called as function(socket_fd, status_fd); fresh: in a new interpreter.
    environment: variables set on top of the parent's own; imports: modules that it will need besides; preloading: those
    of the user.
    status: of `status_of_this_thread`, where it is known already.
    """
    status = status_of_this_thread() if status is None else status
    try:
        folder = os.getcwd()
    except own(OSError):
        folder = "/"
    return {
        "entry": entry,
        "imports": list(imports),
        "preload": preloading.loader,
        "about": preloading.about,
        "layers": [] if fresh else list(map(list, preloading.layers)),
        "mark": preloading.mark,
        "fresh": fresh,
        "path": list(map(str, sys.path)),
        "prefix": (sys.prefix, sys.exec_prefix),
        "executable": executable() if fresh else "",
        "flags": flags(),
        "seed": hashing(),
        "site": _needs_site(),
        "builtins": hasattr(builtins, "exit"),
        "environment": {**os.environ, **environment},
        "folder": folder,
        "ids": (os.getresgid(), os.getresuid()),
        "umask": int(status.get("Umask", "022"), 8),
        "limits": dict(zip(_LIMITS, map(resource.getrlimit, _LIMITS.values()), strict=True)),
        "affinity": list(os.sched_getaffinity(0)),
        "argv": list(map(str, getattr(sys, "argv", ()))),
        "bytecode": (sys.dont_write_bytecode, sys.pycache_prefix),
        "recursion": sys.getrecursionlimit(),
        "digits": sys.get_int_max_str_digits(),
        "warning_options": list(map(str, sys.warnoptions)),
        "warnings": _warning_filters(),
        "authkey": _authkey(),
    }


def status_of_this_thread() -> dict[str, str]:
    """What the system says of this thread, by its own names; empty where it says nothing."""
    try:
        with open("/proc/thread-self/status", "rb", buffering=0) as lines:
            told = lines.read().decode("utf-8", "replace").splitlines()
    except own(OSError):
        return {}
    status = {}
    for line in told:
        name, _, value = line.partition(":")
        status[name] = value.strip()
    return status


def identity_of(status: Mapping[str, str]) -> Identity:
    """Who this thread is and what it may do: what a process inherits from the thread that starts it, and only so."""
    root = os.stat("/")
    try:
        with open("/proc/thread-self/oom_score_adj", "rb", buffering=0) as file:
            sacrifice = file.read()
    except own(OSError):
        sacrifice = b""
    _, hard = zip(*map(resource.getrlimit, _LIMITS.values()), strict=True)
    return (
        *map(status.get, _WHO),
        (root.st_dev, root.st_ino),
        os.getpriority(os.PRIO_PROCESS, 0),
        (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority),
        sacrifice,
        hard,
    )


def _needs_site() -> bool:
    """True if something has been installed that is there only where `site` has run; it takes some milliseconds."""
    if sys.flags.no_site:
        return False
    for finder in sys.meta_path:
        name = str(getattr(finder, "__module__", ""))
        if name not in _OF_PYTHON and not name.startswith(_NEEDLESS):
            return True
    return "sitecustomize" in sys.modules or "usercustomize" in sys.modules


def _warning_filters() -> list[Any] | None:
    """The filters of `warnings` in a form that can be sent; None where nobody can have changed them."""
    module = sys.modules.get("warnings")
    if module is None:
        return None
    filters = tuple(module.filters)
    try:
        return _told(filters)
    except own(TypeError):  # one of them cannot be hashed
        return _told.__wrapped__(filters)


@functools.lru_cache(maxsize=1)
def _told(filters: tuple[Any, ...]) -> list[Any]:
    """Those that `warnings` can use, in that form. Cached: most of the time they are the same from call to call."""
    told: list[Any] = []
    for one in filters:
        try:
            action, message, category, where, line = one
            told.append((action, _pattern(message), _name(category), _pattern(where), line))
        except own(AttributeError, TypeError, ValueError):
            continue
    return told


def _name(category: Any) -> Any:
    """Module and name of a class; a list of them for a tuple, which some write and `warnings` takes."""
    return list(map(_name, category)) if isinstance(category, tuple) else (category.__module__, category.__qualname__)


def _pattern(of: Any) -> Any:
    return of if of is None or isinstance(of, str) else (of.pattern, of.flags)


def _authkey() -> bytes | None:
    """What processes of `multiprocessing` know each other by; None where it is not in use."""
    module = loaded("multiprocessing.process")
    return None if module is None else bytes(module.current_process().authkey)
