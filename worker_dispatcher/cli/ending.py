"""How a command ends: exit codes, signals, what it cannot do, and who no longer reads what it says."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from worker_dispatcher.dispatch.banner import print as say
from worker_dispatcher.dispatch.interrupt import interrupts_ask

__all__ = ["BAD", "CHECK_FAILED", "FAILED", "OK", "Refused", "held", "interruptible", "let_go_of_outputs", "tell"]

OK, FAILED, BAD, CHECK_FAILED = 0, 1, 2, 99


class Refused(Exception):
    """What a command cannot do: shown without a traceback, and the command ends with BAD."""


def tell(command: str | None, text: str) -> None:
    """Say something on standard error, where it is in nobody's way."""
    say(f"worker-dispatcher{f' {command}' if command else ''}: {text}", file=sys.stderr)


@contextmanager
def interruptible() -> Iterator[Callable[[], int]]:
    """SIGTERM and SIGHUP (the terminal was closed) interrupt the command as Ctrl-C does, so that what is done is
    written. Gives the exit code of a command that was interrupted: 128 and the signal's number, as in a shell."""
    came = signal.SIGINT

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = signal.Signals(number)
        press = signal.getsignal(signal.SIGINT)
        if not callable(press):  # a shell's background job ignores Ctrl-C; it must not ignore this
            raise KeyboardInterrupt
        press(signal.SIGINT, frame)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup has SIGHUP ignored
                before[number] = signal.signal(number, interrupt)
    try:
        yield lambda: 128 + came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held(ask: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """What is done inside is done to its end: Ctrl-C calls `ask`, as often as it is pressed. Gives whether it was."""
    pressed = False

    def press() -> None:
        nonlocal pressed
        pressed = True
        ask()

    with interrupts_ask(press):
        yield lambda: pressed


def let_go_of_outputs() -> None:
    """Flush standard output and error. One that nobody reads any more (`| head`) is no failure, and the interpreter
    shall not complain of it at its end either."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            try:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
            except (OSError, ValueError, AttributeError):
                pass  # there is no such stream at all
