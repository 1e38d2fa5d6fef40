"""What a task can do to its worker, and where: importable, since workers load it by name."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Odd(BaseException):
    """A BaseException that nobody expects."""


def _raise(error: BaseException) -> Callable[[], None]:
    def deed() -> None:
        raise error

    return deed


def _in_thread() -> None:
    thread = threading.Thread(target=sys.exit, args=(5,))
    thread.start()
    thread.join()


def _kill(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def _busy() -> None:
    while True:
        pass


def _deaf() -> None:
    """Blocks every signal that can be blocked, ignores those that can be ignored, and stays busy."""
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    if threading.current_thread() is threading.main_thread():
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
    _busy()


def _swallow() -> None:
    while True:
        try:
            time.sleep(60)
        except BaseException:
            continue


RAISES = {
    "Exception": _raise(Exception("told")),
    "SystemExit": _raise(SystemExit("told")),
    "KeyboardInterrupt": _raise(KeyboardInterrupt("told")),
    "GeneratorExit": _raise(GeneratorExit("told")),
    "StopIteration": _raise(StopIteration("told")),
    "Odd": _raise(Odd("told")),
}
ENDS = {
    "exit 0": (lambda: os._exit(0), "exited with code 0"),
    "exit 3": (lambda: os._exit(3), "exited with code 3"),
    "segfault": (lambda: ctypes.string_at(0), "(SIGSEGV)"),
    "abort": (os.abort, "(SIGABRT)"),
    "kill": (_kill(signal.SIGKILL), "(SIGKILL)"),
    "terminate": (_kill(signal.SIGTERM), "(SIGTERM)"),
    "close all descriptors": (lambda: os.closerange(0, 4096), "closed its connection"),
}
HANGS = {
    "stop": _kill(signal.SIGSTOP),
    "hang in C": lambda: pow(3, 10**9),
    "hang in Python": _busy,
    "sleep": lambda: time.sleep(3600),
    "deaf to signals": _deaf,
    "swallow exceptions": _swallow,
}
HARMLESS = {"sys.exit in a thread": _in_thread}

DEEDS: dict[str, Callable[[], Any]] = {
    **RAISES,
    **{name: deed for name, (deed, _) in ENDS.items()},
    **HANGS,
    **HARMLESS,
}


def do(deed: str) -> str:
    DEEDS[deed]()
    return deed


def do_in(deed: str, pid: int) -> str:
    """The deed, if this is that process."""
    return do(deed) if os.getpid() == pid else deed


def do_outside(deed: str, pid: int) -> str:
    return do(deed) if os.getpid() != pid else deed


class TrapOnPacking:
    def __init__(self, deed: str) -> None:
        self.deed = deed

    def __reduce__(self) -> Any:
        do(self.deed)
        return str, (self.deed,)


class TrapOnLoading:
    """Does it where it is loaded: anywhere, or only in (or only outside) one process."""

    def __init__(self, deed: str, only_in: int | None = None, not_in: int | None = None) -> None:
        self.deed, self.only_in, self.not_in = deed, only_in, not_in

    def __reduce__(self) -> Any:
        if self.only_in is not None:
            return do_in, (self.deed, self.only_in)
        if self.not_in is not None:
            return do_outside, (self.deed, self.not_in)
        return do, (self.deed,)


def item_for(place: str, deed: str) -> Any:
    """The guilty task's item."""
    if place == "packing the item":
        return TrapOnPacking(deed)
    if place == "loading the item":
        return TrapOnLoading(deed)
    return "guilty"


def work(id: int, config: dict[str, Any], task: Any) -> Any:
    if id == config["guilty"]:
        match config["place"]:
            case "running":
                do(config["deed"])
            case "packing the result":
                return TrapOnPacking(config["deed"])
            case "loading the result":
                return TrapOnLoading(config["deed"])
            case "loading the result in the parent":
                return TrapOnLoading(config["deed"], only_in=config["parent"])
    return id * 10


def after(id: int, config: dict[str, Any], result: Any) -> Any:
    if id == config["guilty"] and config["place"] == "on_done":
        do(config["deed"])
    return result


def dies_when_idle(id: int, config: dict[str, Any], task: Any) -> Any:
    """The first task leaves a thread behind that does the deed as soon as the worker waits for more."""
    if id == 1:
        main = threading.main_thread().ident
        assert main is not None

        def watch() -> None:
            waits = {"_read", "serve"}  # a solo worker waits in its channel's read, a grid's in the poll of serve
            while sys._current_frames()[main].f_code.co_name not in waits:
                time.sleep(0.001)
            time.sleep(0.02)
            do(config["deed"])
            Path(config["note"] + " done").touch()

        threading.Thread(target=watch, daemon=True).start()
        Path(config["note"]).write_text(str(os.getpid()))
    return id * 10
