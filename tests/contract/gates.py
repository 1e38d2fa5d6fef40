"""Tasks of a pool that a test holds and lets go. In a light module of its own: a worker loads it by name in no time."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Gate:
    """Tasks that have begun stand before it until it is opened. It is a folder, so that every process finds it.

    hold, note, fail: tasks, see the functions of these names. They travel as functions do, not with each task: what
    they take to load counts for no timeout.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hold = functools.partial(hold, str(folder))
        self.note = functools.partial(note, str(folder))
        self.note_or_hold = functools.partial(note_or_hold, str(folder))
        self.fail = functools.partial(fail, str(folder))

    def begun(self) -> list[str]:
        """The names of those that have begun, in order."""
        return _begun(self.folder)

    def open(self) -> None:
        (self.folder / "open").touch()


def _begun(folder: str | Path) -> list[str]:
    path = Path(folder, "begun")
    return path.read_text().split() if path.exists() else []


def note(folder: str, name: str = "noted") -> str:
    """Only note the name."""
    descriptor = os.open(Path(folder, "begun"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{name}\n".encode())
    os.close(descriptor)
    return name


def fail(folder: str, name: str, times: int = 1) -> str:
    """Note the name, and raise KeyError so many times."""
    note(folder, name)
    if _begun(folder).count(name) <= times:
        raise KeyError(name)
    return name


def hold(folder: str, name: str = "held") -> str:
    """Note the name, and wait; gives the name."""
    note(folder, name)
    while not Path(folder, "open").exists():
        time.sleep(0.005)
    return name


def note_or_hold(folder: str, name: str) -> str:
    """Wait only under the name "held"."""
    return hold(folder, name) if name == "held" else note(folder, name)


async def note_or_hold_softly(folder: str, name: str) -> str:
    """The same for coroutines."""
    return await hold_softly(folder, name) if name == "held" else note(folder, name)


async def hold_softly(folder: str, name: str = "held") -> str:
    """The same for coroutines."""
    note(folder, name)
    while not Path(folder, "open").exists():
        await asyncio.sleep(0.005)
    return name


_SOFTLY: dict[Any, Callable[..., Any]] = {hold: hold_softly, note_or_hold: note_or_hold_softly}


def of(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a pool of this kind takes it: "coroutine" takes only coroutine functions."""
    if kind != "coroutine" or inspect.iscoroutinefunction(function):
        return function
    if isinstance(function, functools.partial) and function.func in _SOFTLY:
        return functools.partial(_SOFTLY[function.func], *function.args)
    if function is time.sleep:
        return asyncio.sleep

    async def called(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return called if isinstance(function, functools.partial) else functools.wraps(function)(called)


def double(value: int) -> int:
    return 2 * value


def wrong(text: str) -> None:
    raise KeyError(text)
