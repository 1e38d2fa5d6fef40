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

    def __init__(self) -> None:
        self.count = 0
        self.ask: Callable[[], None] = _nothing
        self._main = threading.current_thread() is threading.main_thread()

    @property
    def raising(self) -> _Raising:
        return _Raising(self)

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        self.count += 1
        self.ask()

    def __enter__(self) -> Presses:
        # Nothing is raised before the call is inside `raising`, or after: what is put here is taken away again.
        if self._main:
            hosts.begin()
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                signal.signal(signal.SIGINT, self)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        if not self._main:
            return
        hosts.end()
        if signal.getsignal(signal.SIGINT) is self:
            signal.signal(signal.SIGINT, signal.default_int_handler)
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

    def __exit__(self, *_: object) -> None:
        self._presses.ask = _nothing

    def _raise(self) -> None:
        self._presses.ask = _nothing  # once: the next one may find us where things are put in order
        raise KeyboardInterrupt


@contextmanager
def interrupts_ask(ask: Callable[[], None], stays: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """While inside, SIGINT calls `ask` instead of raising KeyboardInterrupt. Where: as `Presses`.

    The handler is put back at the end, unless it `stays`: for a program that is to end now.
    """
    found = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    if isinstance(found, Presses):
        before, found.ask = found.ask, ask
        if found.count:  # somebody has swallowed it
            ask()
        try:
            yield
        finally:
            found.ask = before
        return
    if found is not signal.default_int_handler:
        yield
        return

    def handler(_signal: int, _frame: FrameType | None) -> None:
        ask()

    try:
        signal.signal(signal.SIGINT, handler)
        yield
    finally:
        if not stays() and signal.getsignal(signal.SIGINT) is handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _nothing() -> None:
    """Takes note, and no more."""
