"""Ctrl-C during a run that the main thread drives: a request to stop, not an exception in the middle of anything."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["interrupts_ask"]


@contextmanager
def interrupts_ask(ask: Callable[[], None], stays: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """While inside, SIGINT calls `ask` instead of raising KeyboardInterrupt.

    Only in the main thread, and only where Python's own handler is in place: a handler of the host program
    stays. The handler is put back at the end, unless it `stays`: for a program that is to end now.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return

    def handler(_signal: int, _frame: FrameType | None) -> None:
        ask()

    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        if not stays():
            signal.signal(signal.SIGINT, signal.default_int_handler)
