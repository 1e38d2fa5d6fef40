"""The first steps of a new worker process, before any code of the user: who it is, what it holds, when it dies."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib
import itertools
import marshal
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["become", "exec_fresh", "forget_signals", "import_entry", "prepare", "threads_told", "told_of_threads"]

_SOCKET, _SLATE, _ORDER = 3, 4, 5  # where a worker finds its descriptors
_PDEATHSIG = 1
_FRESH = (
    "import marshal, os, sys\n"
    "order = marshal.loads(open(5, 'rb').read())\n"
    "sys.path[:] = order['path']\n"
    "from worker_dispatcher.osproc.child import _enter, prepare\n"
    "_enter(order, prepare(order))\n"
)
_libc = ctypes.CDLL(None, use_errno=True)

# What the environment said of threads when numpy was loaded, in this process or in the server it comes from; None where
# that is not known.
told_of_threads: dict[str, str] | None = None


def threads_told() -> dict[str, str]:
    """The variables by which libraries are told how many threads they may have."""
    return {name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")}


def import_entry(order: dict[str, Any]) -> Any:
    """The function that a worker runs. What it will need is imported before it, as far as it can be: why it cannot,
    they say best who need it."""
    global told_of_threads
    if "numpy" not in sys.modules:
        told_of_threads = threads_told()
    for name in order["imports"]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    module, _, name = order["entry"].partition(":")
    return getattr(importlib.import_module(module), name)


def prepare(order: dict[str, Any]) -> Callable[[int, int], Any]:
    """What all workers of an order have in common; the function that they run. In the process they are forked from it
    is done once: a new process pays dearly for all it touches."""
    sys.path[:] = order["path"]
    sys.prefix, sys.exec_prefix = order["prefix"]
    sys.argv[:] = order["argv"] or [""]
    if dict(os.environ) != order["environment"]:
        os.environ.clear()
        os.environ.update(order["environment"])
    entry: Callable[[int, int], Any] = import_entry(order)
    return entry


def forget_signals() -> None:
    """What a forked process has to leave off of its parent's ways with signals."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def become(order: dict[str, Any], fds: list[int], entry: Callable[[int, int], Any]) -> None:
    """Turn this freshly forked process into a worker. fds: socket, slate, stdout, stderr; entry: from `prepare`.
    Never returns."""
    _settle_in(order, fds)
    _enter(order, entry)


def exec_fresh(order: dict[str, Any], fds: list[int]) -> None:
    """Like `become`, in a new interpreter that shares nothing with this one. Never returns."""
    _settle_in(order, fds)
    letter = os.memfd_create("order", 0)
    os.write(letter, marshal.dumps(order))
    os.lseek(letter, 0, os.SEEK_SET)
    os.dup2(letter, _ORDER)
    for fd in (_SOCKET, _SLATE, _ORDER):
        os.set_inheritable(fd, True)
    os.execve(order["executable"], [order["executable"], "-I", "-S", "-c", _FRESH], order["environment"])


def _settle_in(order: dict[str, Any], fds: list[int]) -> None:
    parent = os.getppid()
    os.setsid()  # a group of its own: a kill takes its children too, a Ctrl-C does not reach it
    _libc.prctl(_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(70)
    edges = [*sorted({2, *fds}), 1 << 20]
    for low, above in itertools.pairwise(edges):  # what the server holds goes first, so that a low limit is enough
        os.closerange(low + 1, above)
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, _ORDER + 1) for fd in fds]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for fd, at in zip(high, (_SOCKET, _SLATE, 1, 2), strict=True):
        os.dup2(fd, at, inheritable=at < 3)
    os.closerange(_ORDER, 1 << 20)
    os.umask(order["umask"])
    try:
        os.chdir(order["folder"])
    except OSError:
        os.chdir("/")
    for name, limit in order["limits"].items():
        try:
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), limit)
        except (ValueError, OSError):
            pass  # a limit that was raised since this server started cannot be raised here


def _enter(order: dict[str, Any], entry: Callable[[int, int], Any]) -> None:
    if order["site"]:
        import site

        site.main()
    for stream, fd in (("stdout", 1), ("stderr", 2)):
        setattr(sys, stream, open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115
    entry(_SOCKET, _SLATE)
    os._exit(0)
