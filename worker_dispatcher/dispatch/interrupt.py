"""Ctrl-C during a call of ours in the main thread: never lost, and while a run is driven a request to stop, not an
exception in the middle of anything."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

from worker_dispatcher.tracebacks import hosts

__all__ = ["Presses", "interrupts_ask"]


class Presses:
    """A whole call: `with Presses() as presses, presses.raising:`. No Ctrl-C that comes meanwhile is lost:
    KeyboardInterrupt leaves the call, whatever code of the user or a guard has made of the one that was raised.

    Only in the main thread, and only where Python's own handler is in place: a handler of the host program stays, also
    one that is put there meanwhile. ask: what a press calls. raising: while inside, the first one raises.
    """

    def __init__(self, *, goes_on: bool = False) -> None:
        """goes_on: there is more to do after `raising`."""
        self.count, self.goes_on = 0, goes_on
        self.ask: Callable[[], None] = _nothing
        self._main = threading.current_thread() is threading.main_thread()

    @property
    def raising(self) -> _Raising:
        return _Raising(self)

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        self.count += 1
        self.ask()

    def told(self) -> None:
        """Whoever is in the call has heard of all presses so far, and has said so in a way of its own."""
        self.count = 0

    def __enter__(self) -> Presses:
        # Nothing is raised before the call is inside `raising`, or after: what is put here is taken away again.
        if self._main:
            hosts.begin()
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
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
            signal.signal(signal.SIGINT, signal.default_int_handler)

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
        self._presses.ask = _nothing  # once: the next one may find us where things are put in order
        raise KeyboardInterrupt


@contextmanager
def interrupts_ask(ask: Callable[[], None], stays: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """While inside, Ctrl-C calls `ask` instead of raising KeyboardInterrupt, in a call that Presses watch over; one
    that somebody has swallowed before is told at once. stays: true at the end, where it is to go on so."""
    presses = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    if not isinstance(presses, Presses):
        yield
        return
    before, presses.ask = presses.ask, ask
    if presses.count:
        ask()
    try:
        yield
    finally:
        if not stays():
            presses.ask = before


def _nothing() -> None:
    """Takes note, and no more."""
