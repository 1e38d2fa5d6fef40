"""The frames that an exception came through: those of the user's code are shown first; floor 0.

An exception that a run keeps holds its traceback, this the frames of ours, those the run. Only the cycle collector
would find that, and with it the results of a whole run. So what is kept is parted from our frames, and who raises it
out of a call has let go of the run by then.

Modules that users call, and those that refuse what they were given, have `__tracebackhide__`: pytest leaves their
frames out, so that a failed test shows the user's own lines (`pytest --full-trace` shows all).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import CodeType, FrameType, TracebackType
from typing import Any, TypeVar

from worker_dispatcher.errors import RemoteTraceback, WorkerDispatcherError

_E = TypeVar("_E", bound=BaseException)
_HOME = os.path.join(os.path.dirname(__file__), "")


def past_ours(traceback: TracebackType | None) -> TracebackType | None:
    """From the first frame on that is not ours; None where there is no such."""
    while traceback is not None and _is_ours(traceback.tb_frame):
        traceback = traceback.tb_next
    return traceback


class FewFrames:
    """`with FewFrames():` around a call of ours: of an exception that leaves it a traceback shows the frames of the
    user's code, and of ours the one that has this. All, where it may be a fault of ours."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, traceback: TracebackType | None) -> None:
        if error is not None and traceback is not None:
            rest = past_ours(traceback.tb_next)
            told = isinstance(error, WorkerDispatcherError | KeyboardInterrupt)
            if rest is not None or told or isinstance(error.__cause__, RemoteTraceback):
                traceback.tb_next = rest


def part_from_frames(error: BaseException) -> BaseException:
    """The same exception, without the frames of ours that have caught it, and with all other frames of ours emptied
    that have ended: their lines stay in the traceback. Causes and contexts, too."""
    caught = error.__traceback__
    if caught is not None and _is_ours(caught.tb_frame):
        error.__traceback__ = past_ours(caught) or caught.tb_next
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        for frame in _frames(link.__traceback__):
            if _is_ours(frame):
                try:
                    frame.clear()
                except RuntimeError:
                    pass  # it is still running
        link = link.__cause__ or link.__context__
    return error


def is_foreign(error: BaseException) -> bool:
    """True if a handler of signals of the host program has raised it: no guard may take it for an error of the code
    that was interrupted."""
    # Not by what the frames hold: to look at it would make each of them hold it once more.
    place = error.__traceback__ and error.__traceback__.tb_next  # past the guard
    if place is None or threading.get_ident() != threading.main_thread().ident or not hosts.here():
        return False
    handlers = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    while place is not None:
        if place.tb_frame.f_code in handlers:
            return True
        place = place.tb_next
    return False


def own(*kinds: type[_E]) -> tuple[type[_E], ...]:
    """For `except own(OSError):`, in what runs in the host program's thread: these kinds, or none of them where a
    handler of signals of the host program has raised it, which most make a TimeoutError. Asked only once something was
    raised."""
    error = sys.exception()
    return () if error is not None and is_foreign(error) else kinds


def _code_of(handler: Any) -> CodeType | None:
    """Of what Python calls for a signal, as far as it is written in Python."""
    handler = getattr(handler, "func", handler)  # of a partial
    handler = getattr(handler, "__func__", handler)
    if not hasattr(handler, "__code__"):
        handler = type(handler).__call__
    code = getattr(handler, "__code__", None)
    return code if isinstance(code, CodeType) else None


class _Hosts:
    """Whose what handlers of signals raise in the main thread is: the host program's; in a worker that of the task, but
    for the calls of ours that the task is in."""

    def __init__(self) -> None:
        self._pids: list[int] = []
        self._worker = 0

    def serve(self) -> None:
        """This process is a worker."""
        self._worker = os.getpid()

    def begin(self) -> None:
        self._pids.append(os.getpid())

    def end(self) -> None:
        self._pids.pop()

    def here(self) -> bool:
        pid = os.getpid()
        return pid != self._worker or (bool(self._pids) and self._pids[-1] == pid)


hosts = _Hosts()


def _frames(traceback: TracebackType | None) -> Iterator[FrameType]:
    """Those that it goes through, and those that had called them: each holds the next."""
    caller = None if traceback is None else traceback.tb_frame.f_back
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next
    while caller is not None:
        yield caller
        caller = caller.f_back


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_HOME)


def spare_of(error: BaseException) -> BaseException:
    """Another such exception, for who asks again: the one that was raised holds the frames of those it was raised to,
    and whoever keeps it, keeps them. The same one where there can be no other."""
    import copy  # for a run that has failed

    try:
        spare = copy.copy(error)
        if type(spare) is not type(error) or spare.args != error.args:
            return error
    except Exception:
        return error
    spare.__cause__, spare.__suppress_context__ = error.__cause__, error.__suppress_context__
    return spare
