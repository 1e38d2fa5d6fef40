"""Ctrl-C during a call of ours in the main thread: never lost, and while a run is driven a request to stop, not an
exception in the middle of anything."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from worker_dispatcher.tracebacks import hosts

if TYPE_CHECKING:
    from worker_dispatcher.dispatch.execution import Execution


class Presses:
    """A whole call: `with Presses() as presses, presses.raising:`. No Ctrl-C that comes meanwhile is lost:
    KeyboardInterrupt leaves the call, whatever code of the user or a guard has made of the one that was raised.

    Only in the main thread, and only where Python's own handler is in place: a handler of the host program stays, also
    one that is put there meanwhile. ask: what a press calls. raising: while inside, the first one raises. calm: now
    no press raises, but in code of the user's that asks for it.
    """

    def __init__(self, *, goes_on: bool = False) -> None:
        """goes_on: there is more to do after `raising`."""
        self.count, self.goes_on, self.calm = 0, goes_on, False
        self.ask: Callable[[], None] = _nothing
        self._main = threading.current_thread() is threading.main_thread()

    @property
    def raising(self) -> _Raising:
        return _Raising(self)

    def __call__(self, _signal: int, frame: FrameType | None) -> None:
        self.count += 1
        _loops.stop(frame)
        self.ask()

    def told(self) -> None:
        """Forget the presses so far: the code in the call has handled them, and has reported them itself."""
        self.count = 0

    def __enter__(self) -> Presses:
        # No press raises here, before the call is inside `raising`: so __exit__ always takes the handler away again.
        if self._main:
            hosts.begin()
            handler = signal.getsignal(signal.SIGINT)
            if handler is signal.default_int_handler or handler is _loops:  # Python's own, or what stands for it
                signal.signal(signal.SIGINT, self)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        self.put_back()
        if self._main:
            hosts.end()
        self.raise_if_swallowed(error)

    def put_back(self) -> None:
        """Python's own handler is in its place again. Idempotent, and called twice: what a handler of another signal
        raises may come in the midst of the first."""
        if self._main and signal.getsignal(signal.SIGINT) is self:
            signal.signal(signal.SIGINT, _loops if _loops.under_way else signal.default_int_handler)

    def raise_if_swallowed(self, error: BaseException | None) -> None:
        """error: what is about to leave the call."""
        if self.count and not isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt from error


class _Raising:
    """See `Presses`."""

    def __init__(self, presses: Presses) -> None:
        self._presses = presses

    def __enter__(self) -> None:
        self._presses.ask = self._raise
        if self._presses.count:
            self._raise()

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        self._presses.ask = _nothing
        if not self._presses.goes_on:
            self._presses.put_back()
        self._presses.raise_if_swallowed(error)

    def _raise(self) -> None:
        self._presses.ask = _nothing  # once: a second press may come during clean-up
        raise KeyboardInterrupt


@contextmanager
def interrupts_ask(ask: Callable[[], None], stays: Callable[[], bool] | None = None) -> Iterator[None]:
    """While inside, Ctrl-C calls `ask` instead of raising KeyboardInterrupt, in a call that Presses watch over; one
    that somebody has swallowed before is told at once. stays: true at the end, where it is to go on so; None: never."""
    presses = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    if not isinstance(presses, Presses):
        yield
        return
    before, presses.ask, presses.calm = presses.ask, ask, True
    if presses.count:
        ask()
    try:
        yield
    finally:
        if stays is None or not stays():
            presses.ask, presses.calm = before, False


class Loop:
    """`with Loop(run) as loop:` around all that the main thread does while it iterates a launched run, or waits for
    it: Ctrl-C stops the run. Where it finds us in the frame that has this, and not in the body of the user's loop, that
    is all it does, and whoever is there looks at `pressed`; else, and at a second press, KeyboardInterrupt is raised as
    ever. Nothing in other threads, and where a handler of the host program is in place: what that raises goes through.
    """

    def __init__(self, run: Execution) -> None:
        self.run, self.pressed = run, False
        self._pid, self._frame = os.getpid(), 0  # the number of the frame: to hold it would keep all that it holds

    def __enter__(self) -> Loop:
        self._frame = id(sys._getframe(1))
        if threading.current_thread() is threading.main_thread():
            _loops.under_way.append(self)
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                signal.signal(signal.SIGINT, _loops)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        if self in _loops.under_way:
            _loops.under_way.remove(self)
        # A loop that another thread drops, or the last of a fork: a handler that stands for Python's own may stay.
        here = threading.current_thread() is threading.main_thread() and not _loops.under_way
        if here and signal.getsignal(signal.SIGINT) is _loops:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if isinstance(error, KeyboardInterrupt):
            self.run.cancel("interrupt")  # a handler of the host program may have raised it; harmless once it has ended
        elif self.pressed and not isinstance(error, GeneratorExit):  # by which the body's own end leaves the loop
            raise self.error() from error

    def stop(self, frames: set[int]) -> bool:
        """Ctrl-C came while these frames ran: stop the run. True if the code in our own frame handles the rest."""
        if self._pid != os.getpid():  # in a fork it is the parent's to stop
            return False
        heard, self.pressed = self._frame in frames and not self.pressed, True
        self.run.cancel("interrupt")
        return heard

    def error(self) -> KeyboardInterrupt:
        """The exception of a press; the run itself raises none, so that one press gives one KeyboardInterrupt."""
        error = KeyboardInterrupt()
        for note in self.run.kept_notes():
            error.add_note(note)
        return error


class _Loops:
    """The handler of Ctrl-C while there are loops. under_way: in the order in which they began, which need not be that
    in which they end; of the main thread."""

    def __init__(self) -> None:
        self.under_way: list[Loop] = []

    def stop(self, frame: FrameType | None) -> bool:
        """Stop all runs. True if the code in the frame of one of the loops handles the rest."""
        frames: set[int] = set()
        while frame is not None and self.under_way:
            frames.add(id(frame))
            frame = frame.f_back
        heard = [loop.stop(frames) for loop in self.under_way]
        return any(heard)

    def __call__(self, _signal: int, frame: FrameType | None) -> None:
        if not self.stop(frame):
            raise self.under_way[-1].error() if self.under_way else KeyboardInterrupt


_loops = _Loops()


def _nothing() -> None:
    """What `ask` is where a press is only counted."""
