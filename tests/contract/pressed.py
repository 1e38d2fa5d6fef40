"""A program whose first call is pressed at one of its moments, each in a fork of its own:
pressed.py shape signal moments folder.

A moment is the nth line of ours that the main thread runs in the call: exact, where a clock would be a guess.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import worker_dispatcher
from worker_dispatcher.cli import main as main_of_command

HOME = os.path.join(os.path.dirname(worker_dispatcher.__file__), "")
SHAPES: dict[str, dict[str, Any]] = {
    "threads": {},
    "lazy": {},
    "processes": {"use_processing": True},
    "grid": {"parallel_processing": {"enabled": True}},
}


def work(task: int) -> int:
    time.sleep(0.01)
    return task


def bye() -> None:
    time.sleep(0.05)


def call(shape: str) -> Any:
    if shape == "command":
        return command()
    tasks = iter(range(4)) if shape == "lazy" else range(4)
    task = {"list": tasks, "function": work, "config": {"a": work}}
    worker = {"number": 2, "exit": bye, **SHAPES[shape]}
    return worker_dispatcher.start({"task": task, "worker": worker, "verbose": False})


def command() -> Any:
    code = main_of_command(["run", f"{__file__}:work", "--list", "4", "--processes", "--workers", "2", "--quiet"])
    if code == 130:
        raise KeyboardInterrupt
    return code or list(range(4))


class Watch(Exception):
    """What the alarm raises."""


def ring(number: int, frame: FrameType | None) -> None:
    raise Watch


def at_line(nth: int, press: Callable[[FrameType], object]) -> Callable[..., Any]:
    """A tracer that presses once, at the nth line of ours."""
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(HOME):
            return None
        if event == "line":
            lines += 1
            if lines == nth:
                press(frame)
        return trace

    trace.lines = lambda: lines  # type: ignore[attr-defined]
    return trace


def pressed(shape: str, number: int, nth: int) -> str:
    """What is wrong with a call that is pressed at a moment; empty if nothing is."""
    where = []

    def press(frame: FrameType) -> None:
        where.append(f"{frame.f_code.co_filename.removeprefix(HOME)}:{frame.f_lineno}")
        os.kill(os.getpid(), number)

    left: BaseException | None = None
    try:
        sys.settrace(at_line(nth, press))
        call(shape)
    except BaseException as error:
        left = error
    finally:
        sys.settrace(None)
    if not where:
        return ""  # this time it had fewer lines
    if not isinstance(left, Watch if number == signal.SIGALRM else KeyboardInterrupt):
        return f"{where[0]}: {left!r} left the call"
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return f"{where[0]}: the handler is another one"
    if (results := call(shape)) != [0, 1, 2, 3]:
        return f"{where[0]}: the next call gave {results}"
    return ""


def in_a_fork(work: Callable[[], str], note: Path) -> str:
    """What it says in a child, whatever becomes of that."""
    pid = os.fork()
    if not pid:
        text = "it did not come to its end"
        try:
            text = work()
        finally:
            note.write_text(text)
            os._exit(0)
    until = time.monotonic() + 60
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "it hangs"
        time.sleep(0.005)
    return note.read_text()


def count(shape: str) -> str:
    trace = at_line(0, id)
    sys.settrace(trace)
    call(shape)
    sys.settrace(None)
    return str(trace.lines())  # type: ignore[attr-defined]


def main(shape: str, name: str, moments: int, folder: str) -> None:
    number = getattr(signal, name)
    signal.signal(signal.SIGALRM, ring)
    note = Path(folder, "note")
    lines = int(in_a_fork(lambda: count(shape), note))
    for nth in range(1, lines, max(1, lines // moments)):
        if wrong := in_a_fork(lambda nth=nth: pressed(shape, number, nth), note):
            print(f"line {nth} of {lines}: {wrong}", flush=True)
    print("tried", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
