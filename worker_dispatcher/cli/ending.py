"""How a command ends: exit codes, signals, and what it cannot do."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from worker_dispatcher.dispatch.banner import print as say
from worker_dispatcher.dispatch.interrupt import interrupts_ask

OK, FAILED, BAD, CHECK_FAILED = 0, 1, 2, 99


class CannotRun(Exception):
    """What a command cannot do: shown without a traceback, and the command ends with BAD."""


def end_with(code: int) -> int:
    """The program is about to end with this code, which a Ctrl-C that comes now does not change. In the main thread."""
    if threading.current_thread() is threading.main_thread() and callable(signal.getsignal(signal.SIGINT)):
        signal.signal(signal.SIGINT, lambda *_: os._exit(code))  # the user's threads may keep the interpreter alive
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # after that the interpreter takes handlers away
    return code


def tell(command: str | None, text: str) -> None:
    """Say something on standard error, apart from what the command prints."""
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
def held(ask: Callable[[], None] = lambda: None, *, last: bool = False) -> Iterator[Callable[[], bool]]:
    """What is inside runs to its end: each Ctrl-C calls `ask` instead of raising. Gives a function that tells whether
    there was one. last: the program does nothing after it; further presses then do nothing until `end_with`."""
    pressed = False

    def press() -> None:
        nonlocal pressed
        pressed = True
        ask()

    with interrupts_ask(press, lambda: last and pressed):
        yield lambda: pressed
