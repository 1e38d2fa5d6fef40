"""What the system gives, or refuses: descriptors of Linux's own kinds, and waits for one descriptor."""

from __future__ import annotations

import errno
import functools
import math
import os
import select
import signal
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from worker_dispatcher.errors import RunError
from worker_dispatcher.signals import held
from worker_dispatcher.tracebacks import own

_T = TypeVar("_T")
_FLAGS, _PF_EXITING = 6, 4  # of /proc/PID/stat: the field, counted from what follows the name, and the bit
_SINCE = {"eventfd": "2.6.27", "memfd_create": "3.17", "pidfd_open": "5.3", "pidfd_send_signal": "5.1"}
# Which call is not there, and what a filter of system calls answers in its place; all else may pass.
_REFUSALS = (errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EINVAL)


def given(name: str, call: Callable[[], _T]) -> _T:
    """What a system call gives. Raises RunError, which names the call and the way out, where the system has no such
    call or forbids it; OSError where it has come to a limit."""
    try:
        return call()
    except own(OSError, AttributeError) as error:
        if isinstance(error, OSError) and error.errno not in _REFUSALS:
            raise
        why = error.strerror if isinstance(error, OSError) else "this Python was built without it"
        raise RunError(
            f"worker processes need the system call {name}, which is refused here ({why}): Linux {_SINCE[name]} and "
            "later provide it, unless a seccomp profile, such as a container has, forbids it; allow it there, or use "
            "threads (without use_processing and parallel_processing)"
        ) from None


def make_ready() -> None:
    """Before the first descriptor of ours is made. Raises RunError where no worker can be had on this system."""
    check_watching()
    fill_standard_descriptors()


def fill_standard_descriptors() -> None:
    """Put /dev/null where the host program has closed descriptors 0 to 2, as a daemon does: otherwise the next
    socket of ours takes the number, and whatever is printed goes into it."""
    while (fd := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(fd, True)
    os.close(fd)


@functools.cache
def check_watching() -> None:
    """Raise RunError where the ends of processes cannot be watched. Looked at once: a filter, once set, stays."""
    fd = given("pidfd_open", lambda: os.pidfd_open(os.getpid()))
    try:
        given("pidfd_send_signal", lambda: signal.pidfd_send_signal(fd, 0))
    finally:
        os.close(fd)


def no_worker(why: object) -> RunError:
    """The error of a pool that gets no worker process. why: what the system says, or says of itself in words."""
    limits = {
        errno.EAGAIN: "a limit on processes: ulimit -u, or that of a container",
        errno.EMFILE: "a limit on descriptors: ulimit -n",
        errno.ETOOMANYREFS: "a limit on descriptors that are on their way between processes: ulimit -n",
    }
    text = str(why)
    hint = next((f" ({limit})" for code, limit in limits.items() if os.strerror(code) in text), "")
    return RunError(f"no worker process can be started: {text}{hint}")


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors, each whatever becomes of the others: code of the user may have closed some."""
    for fd in fds:
        try:
            os.close(fd)
        except own(OSError):
            continue


def descriptor_of(stream: Any) -> int:
    """That of a stream; -1 for one that is no file."""
    try:
        return int(stream.fileno())
    except own(OSError, ValueError, AttributeError):
        return -1


def columns_of(stream: Any) -> int | None:
    """Of the terminal that a stream goes to; None if it is none."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except own(OSError, ValueError, AttributeError):
        return None


def exiting(pid: int) -> bool:
    """True once the end of a process of ours has begun. On a busy machine it takes a while from there, in which its
    descriptors are closed already and its pidfd does not tell yet."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):  # it has gone
        return True
    return bool(int(fields[_FLAGS]) & _PF_EXITING)


def start_thread(thread: threading.Thread) -> None:
    """Raises RunError where there are no more threads to be had: why, and what to do."""
    try:
        with held():  # threading would lose count of it, and raise what nobody knows
            thread.start()
    except own(RuntimeError) as error:
        why = "the system gives no more (ulimit -u, or a container's limit on processes): use fewer workers"
        if "shutdown" in str(error):
            why = "this program is about to end: call start before that, and not in a function of atexit"
        raise RunError(f"no thread can be started, since {why} ({error})") from None


def readable(fd: int, seconds: float = 0.0) -> bool:
    """Wait until there is something to read, or the other end has ended; False if the time is over before."""
    return _polled(fd, select.POLLIN, seconds)


def writable(fd: int, seconds: float = 0.0) -> bool:
    """The same for room to write."""
    return _polled(fd, select.POLLOUT, seconds)


def _polled(fd: int, wanted: int, seconds: float) -> bool:
    poll = select.poll()  # unlike select(), it takes descriptors of any number
    poll.register(fd, wanted)
    return bool(poll.poll(math.ceil(seconds * 1000)))
