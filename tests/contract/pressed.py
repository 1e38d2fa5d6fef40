"""A program whose first call is pressed at one of its moments, each in a fork of its own:
pressed.py shape signal moments folder.

A moment is the nth line of ours that the main thread runs in the call: exact, where a clock would be a guess. moments:
how many of them, or names of functions of ours, of which each is pressed in its first line.
"""

from __future__ import annotations

import linecache
import os
import signal
import sys
import tempfile
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
    "journal": {},
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
    config = {"task": task, "worker": worker, "verbose": False}
    if shape == "journal":
        with tempfile.TemporaryDirectory() as folder:
            return worker_dispatcher.start(config | {"journal": f"{folder}/run.db", "progress": True})
    return worker_dispatcher.start(config)


def command() -> Any:
    code = main_of_command(["run", f"{__file__}:work", "--list", "4", "--processes", "--workers", "2", "--quiet"])
    if code == 130:
        raise KeyboardInterrupt
    return code or list(range(4))


class Watch(TimeoutError, ValueError, RuntimeError, TypeError, LookupError):
    """What the alarm raises: a TimeoutError, as most do, and all else besides that a guard of ours may look for."""


def ring(number: int, frame: FrameType | None) -> None:
    raise Watch


def at_line(nth: int, press: Callable[[FrameType], object], within: str = "") -> Callable[..., Any]:
    """A tracer that presses once, at the nth line of ours; within: a function, of which lines count."""
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(HOME):
            return None
        if event == "line" and within in ("", frame.f_code.co_name) and not _leaves_a_block(frame):
            lines += 1
            if lines == nth:
                press(frame)
        return trace

    trace.lines = lambda: lines  # type: ignore[attr-defined]
    return trace


def _leaves_a_block(frame: FrameType) -> bool:
    """A line of `with` runs once more when its block is left: a tracer is called there, and what it raises leaves a
    lock taken, but the interpreter never calls a handler there."""
    code, line = frame.f_code, frame.f_lineno
    if not linecache.getline(code.co_filename, line).lstrip().startswith("with "):
        return False
    return frame.f_lasti > min(start for start, _, of in code.co_lines() if of == line)


def pressed(shape: str, number: int, nth: int, within: str = "") -> str:
    """What is wrong with a call that is pressed at a moment; empty if nothing is."""
    where = []

    def press(frame: FrameType) -> None:
        where.append(f"{frame.f_code.co_filename.removeprefix(HOME)}:{frame.f_lineno}")
        os.kill(os.getpid(), number)

    left: BaseException | None = None
    try:
        sys.settrace(at_line(nth, press, within))
        call(shape)
    except BaseException as error:
        left = error
    finally:
        sys.settrace(None)
    if not where:
        return f"{within} does not run" if within else ""  # this time it had fewer lines
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


def main(shape: str, name: str, moments: str, folder: str) -> None:
    number = getattr(signal, name)
    signal.signal(signal.SIGALRM, ring)
    note = Path(folder, "note")
    if not moments.isdigit():
        for within in moments.split(","):
            if wrong := in_a_fork(lambda within=within: pressed(shape, number, 1, within), note):
                print(f"{within}: {wrong}", flush=True)
        print("tried", flush=True)
        return
    lines = int(in_a_fork(lambda: count(shape), note))
    for nth in range(1, lines, max(1, lines // int(moments))):
        if wrong := in_a_fork(lambda nth=nth: pressed(shape, number, nth), note):
            print(f"line {nth} of {lines}: {wrong}", flush=True)
    print("tried", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *sys.argv[2:5])
