"""What handlers of signals must not break; floor 0."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the module `signal` makes an Enum of each handler it looks at, which takes ten times as long
import os
import signal
import sys
import threading
from contextlib import ExitStack, nullcontext
from types import FrameType, TracebackType
from typing import Any, ClassVar

# Whose handlers programs have raise: to interrupt, to end, for a time that is over, and for whatever they like.
_HELD = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGPROF")
    if hasattr(signal, name)
)


class signals_held:
    """`with signals_held():` in the main thread: handlers written in Python wait for the end of the block, so that what
    they raise finds nothing half done. They are given the frame that has the block: what runs in it has ended by then,
    and would be kept by whoever keeps its frame. Costs about two microseconds."""

    __slots__ = ("_came", "_handlers")
    under_way: ClassVar[signals_held | None] = None  # the one whose end all handlers wait for

    def __enter__(self) -> None:
        self._came: list[int] = []
        self._handlers: list[tuple[int, Any]] = []
        getsignal = _signal.getsignal
        try:
            for number in _HELD:
                handler = getsignal(number)
                if callable(handler):
                    self._handlers.append((number, handler))
                    _signal.signal(number, self)
        except BaseException:  # one of those that are not held yet has raised
            self.put_back()
            raise
        signals_held.under_way = self

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._came.append(number)

    def put_back(self, *, forget: bool = False) -> None:
        """Nothing waits any more. forget: nor is what has come meanwhile handled."""
        signals_held.under_way = None
        if forget:
            self._came.clear()
        for number, handler in self._handlers:
            if _signal.getsignal(number) is self:
                _signal.signal(number, handler)

    def __exit__(self, _kind: object, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        try:
            self.put_back()
        except BaseException:  # one that came before the others were back
            self.put_back()
            raise
        finally:
            if self._came:
                handlers, frame = dict(self._handlers), sys._getframe(1)
                with ExitStack() as each:  # whatever the others raise
                    for number in reversed(self._came):
                        each.callback(handlers[number], number, frame)


def held() -> signals_held | nullcontext[None]:
    """`signals_held` in the main thread, where there is a handler that may raise; but for inside another such block.
    Handlers run in no other thread, and one of ours that only takes note says that it is calm."""
    if threading.get_ident() == threading.main_thread().ident and signals_held.under_way is None:
        getsignal = _signal.getsignal
        for number in _HELD:
            handler = getsignal(number)
            if callable(handler) and not getattr(handler, "calm", False):
                return signals_held()
    return nullcontext()


def wait_on(condition: threading.Condition, timeout: float | None = None) -> bool:
    """`condition.wait`, after which the caller has the lock, whatever a handler raises: the standard library's own may
    have let it go and not taken it again, and the error of that would be in the place of what was raised."""
    try:
        return condition.wait(timeout)
    except BaseException:
        if not condition._is_owned():  # type: ignore[attr-defined]
            condition.acquire()
        raise


def _hold_no_longer() -> None:
    """In a fork, which may never leave the block: nothing waits any more, and what came before is its parent's."""
    if (holding := signals_held.under_way) is not None:
        holding.put_back(forget=True)


os.register_at_fork(after_in_child=_hold_no_longer)
