"""The first steps of a new worker process, before any code of the user: who it is, what it holds, when it dies."""

from __future__ import annotations

import atexit
import builtins
import contextlib
import ctypes
import fcntl
import importlib
import io
import itertools
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import FileFinder
from typing import Any

from worker_dispatcher.clock import read_zone
from worker_dispatcher.loaded import loaded
from worker_dispatcher.osproc.channel import LAST_WORDS, Channel
from worker_dispatcher.osproc.interpreter import inherit, start_with
from worker_dispatcher.osproc.spec_file import reads
from worker_dispatcher.tracebacks import hosts

_SOCKET, _STATUS, _SPEC = 3, 4, 5  # where a worker finds its descriptors
_PDEATHSIG = 1
_WORDS_MOST = 500  # characters
_WORDS = 624  # of four bytes, in the state of numpy's usual generator
_OF_COVERAGE = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
_FRESH = (
    "import marshal, os, sys\n"
    f"{reads(_SPEC)}"
    "sys.path[:] = told['path']\n"
    "from worker_dispatcher.osproc.child import _begin\n"
    "_begin(told)\n"
)
_libc = ctypes.CDLL(None, use_errno=True)

# What the environment said of threads when numpy was loaded, in this process or in the server it comes from; None where
# that is not known.
told_of_threads: dict[str, str] | None = None
_site_ran = False
_streams: tuple[Any, Any] | None = None  # of ours, once they are there


def threads_told() -> dict[str, str]:
    """The variables by which libraries are told how many threads they may have."""
    return {name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")}


def import_entry(spec: dict[str, Any]) -> Any:
    """The function that a worker runs. Modules that it will need are imported first; one that cannot be imported is
    skipped here, and its error comes where it is used."""
    global told_of_threads
    if "numpy" not in sys.modules:
        told_of_threads = threads_told()
    for name in spec["imports"]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    module, _, name = spec["entry"].partition(":")
    return getattr(importlib.import_module(module), name)


def prepare(spec: dict[str, Any]) -> Callable[[int, int], Any]:
    """Set what all workers of a spec have in common; returns the function that they run. The process they are forked
    from does it once: each page of memory that a fork changes has to be copied."""
    if spec["site"] and not _site_ran:
        _run_site()
    elif spec["builtins"] and not hasattr(builtins, "exit"):
        _add_builtins()
    sys.path[:] = spec["path"]
    sys.prefix, sys.exec_prefix = spec["prefix"]
    sys.argv[:] = spec["argv"] or [""]
    _take_environment(spec["environment"])
    sys.dont_write_bytecode, sys.pycache_prefix = spec["bytecode"]
    sys.setrecursionlimit(spec["recursion"])
    sys.set_int_max_str_digits(spec["digits"])
    inherit(*spec["seed"])
    if spec["warnings"] is not None:
        from worker_dispatcher.osproc.warning_filters import take_filters

        take_filters(spec["warnings"])
    sys.warnoptions[:] = spec["warning_options"]  # once `warnings` is there, which says again what means nothing
    if spec["authkey"] is not None:
        import multiprocessing.process

        multiprocessing.process.current_process().authkey = spec["authkey"]
    entry: Callable[[int, int], Any] = import_entry(spec)
    return entry


def _run_site() -> None:
    """Once in a process. What it runs may measure the process it runs in: that is for each worker itself."""
    global _site_ran
    import site

    _site_ran = True
    hidden = {name: os.environ.pop(name) for name in _OF_COVERAGE if name in os.environ}
    site.main()
    os.environ.update(hidden)


def _add_builtins() -> None:
    import site

    for step in (site.setquit, site.setcopyright, site.sethelper):
        step()


def _take_environment(wanted: dict[str, str]) -> None:
    """Only what differs is changed."""
    zone = os.environ.get("TZ")
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    if wanted.get("TZ") != zone:
        read_zone()


def look_again(since: float) -> None:
    """Forget which folders were not there, and what was in those that have changed since a moment (Unix time): the
    dates by which Python notices a change are coarse."""
    for path, finder in list(sys.path_importer_cache.items()):
        if finder is None:
            del sys.path_importer_cache[path]
        elif isinstance(finder, FileFinder) and getattr(finder, "_path_mtime", 0) > since:
            finder.invalidate_caches()


def shuffle(*, alone: bool) -> None:
    """Random numbers that differ from those of other forks. The module `random` sees to itself. alone: the process that
    was forked had one thread. Else numpy's generator is a new one, since another may have held the lock of the old."""
    if (random := loaded("numpy.random")) is None:
        return
    if alone:
        with contextlib.suppress(ValueError):  # of another kind
            # To make a new one touches, and so copies, three times as many pages.
            random.set_state(("MT19937", sys.modules["numpy"].frombuffer(os.urandom(4 * _WORDS), "uint32"), _WORDS))
            return
    random.set_bit_generator(type(random.get_bit_generator())())


def forget_signals() -> None:
    """Undo in a forked process what its parent has set for signals."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def forget_ends() -> None:
    """Undo in a forked process what its parent has registered for its own end."""
    atexit._clear()
    if (shared := loaded("multiprocessing.util")) is not None:
        atexit.register(shared._run_finalizers)  # each looks whether it was made in this process


def become(spec: dict[str, Any], fds: list[int], entry: Callable[[int, int], Any], parent: int) -> None:
    """Turn this freshly forked process into a worker. fds: socket, shared status, stdout, stderr; entry: from
    `prepare`; parent: who has forked it. Never returns."""
    _settle_in(spec, fds, parent)
    _enter(entry)


def stay(sock: int, status_fd: int, entry: Callable[[int, int], Any], parent: int) -> None:
    """Like `become`, in a fork of the parent itself, which keeps all that it has, descriptors included. Never
    returns."""
    global _streams
    _streams = None  # the parent may be a worker
    leave_group(parent)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    _enter(entry, sock, status_fd)


def exec_fresh(spec: dict[str, Any], fds: list[int], spec_fd: int, parent: int) -> None:
    """Like `become`, in a new interpreter that shares nothing with this one. spec_fd: the file that it stands in. Never
    returns."""
    _settle_in(spec, [*fds, spec_fd], parent)
    for fd in (_SOCKET, _STATUS, _SPEC):
        os.set_inheritable(fd, True)
    command = [spec["executable"], *spec["flags"], "-c", _FRESH]
    start_with(lambda variables: os.execve(command[0], command, variables), spec["environment"], *spec["seed"])


def _begin(spec: dict[str, Any]) -> None:
    """Be the worker for which `exec_fresh` has started this interpreter."""
    parent = os.getppid()
    take_ids(*spec["ids"])
    _end_with(parent)  # which a change of ids undoes
    try:
        entry = prepare(spec)
    except BaseException as error:  # what is imported for the tasks may raise anything
        say_why(error)
        raise
    _enter(entry)


def take_ids(gids: tuple[int, int, int], uids: tuple[int, int, int]) -> None:
    """In a new program: the real, effective and saved ids of the parent. Such a program begins with the effective ids
    as the saved ones; others come back only from the real ones. What may not come back is lost, as in any program that
    a program starts: nothing is run with rights that its parent has given up."""
    for take, ids in ((os.setresgid, gids), (os.setresuid, uids)):
        with contextlib.suppress(PermissionError):
            take(*ids)


def leave_group(parent: int) -> None:
    """Be in a group of one's own, and end with the parent: the process that has forked this one, as it was then."""
    os.setsid()  # a group of its own: a kill takes its children too, a Ctrl-C does not reach it
    _end_with(parent)


def _end_with(parent: int) -> None:
    _libc.prctl(_PDEATHSIG, signal.SIGKILL)
    if os.getppid() not in (parent, 0):  # it has ended before the system was told; 0: one outside of a namespace
        os._exit(70)


def _settle_in(spec: dict[str, Any], fds: list[int], parent: int) -> None:
    """fds: what is to be found at 3, 4, 1, 2 and, where there is one more, at 5."""
    leave_group(parent)
    take_descriptors(fds, (_SOCKET, _STATUS, 1, 2, _SPEC)[: len(fds)])
    be_there(spec)


def take_descriptors(fds: Sequence[int], places: Sequence[int]) -> None:
    """Have these descriptors in these places, nothing to read in the first, and no others."""
    edges = [*sorted({2, *fds}), 1 << 20]
    for low, above in itertools.pairwise(edges):  # what the server holds goes first, so that a low limit is enough
        os.closerange(low + 1, above)
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, _SPEC + 1) for fd in fds]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for fd, at in zip(high, places, strict=True):
        os.dup2(fd, at, inheritable=at < 3)
    os.closerange(max(places) + 1, 1 << 20)


def be_there(spec: dict[str, Any]) -> None:
    """Be in the folder of a spec, with its limits."""
    os.umask(spec["umask"])
    try:
        os.chdir(spec["folder"])
    except OSError:
        os.chdir("/")
    if os.sched_getaffinity(0) != set(spec["affinity"]):
        with contextlib.suppress(OSError):  # processors that are gone
            os.sched_setaffinity(0, spec["affinity"])
    for name, limit in spec["limits"].items():
        number = getattr(resource, f"RLIMIT_{name}")
        if resource.getrlimit(number) != limit:
            with contextlib.suppress(ValueError, OSError):  # above what the system gives to anybody
                resource.setrlimit(number, limit)


class _Output(io.FileIO):
    """What a worker prints to. Where its reader has gone (`| head`) nobody misses anything, and no task fails."""

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


def say_why(error: BaseException, sock: int = _SOCKET) -> None:
    """Tell the parent why this worker cannot go on; an exit code says nothing of it."""
    try:
        channel = Channel(socket.socket(fileno=sock), blocking=True)
        channel.send(LAST_WORDS, [f"{type(error).__name__}: {error}"[:_WORDS_MOST].encode(errors="replace")])
        channel.abandon()
    except Exception:  # whatever it says of itself, or has made of the channel
        return


def open_streams() -> None:
    """Have sys.stdout and sys.stderr for the descriptors of this process. What was imported where it was forked from
    may hold those that were there, and they are as good."""
    global _streams
    if _streams is not None:
        return
    for stream, fd in (("stdout", 1), ("stderr", 2)):
        out = io.BufferedWriter(_Output(fd, "w", closefd=False))
        setattr(sys, stream, io.TextIOWrapper(out, "utf-8", "backslashreplace", line_buffering=True))
    _streams = sys.stdout, sys.stderr


def _enter(entry: Callable[[int, int], Any], sock: int = _SOCKET, status_fd: int = _STATUS) -> None:
    open_streams()
    hosts.serve()
    try:
        save = _measure()
        entry(sock, status_fd)
        save()
    except BaseException as error:
        say_why(error, sock)
        raise
    os._exit(0)


def _measure() -> Callable[[], None]:
    """Start `coverage` where the environment asks for that in all processes, as its .pth file does under `site`; what
    saves what it has measured. In a fork, what the parent has measured is the parent's to save."""
    if not any(name in os.environ for name in _OF_COVERAGE):
        return lambda: None
    try:
        import coverage
    except ImportError:  # the interpreter itself would go on without it, too
        return lambda: None
    running = coverage.Coverage.current()
    if running is not None:
        running.stop()
    vars(coverage.process_startup).pop("coverage", None)  # its mark of having been called in this process
    measuring = coverage.process_startup()
    if measuring is None:
        return lambda: None

    def save() -> None:
        measuring.stop()
        measuring.save()

    return save
