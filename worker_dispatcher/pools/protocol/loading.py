"""How a worker process takes in the user's function, config and tasks; and lets out what they have printed."""

from __future__ import annotations

import operator
import struct
import sys
from collections.abc import Callable, Sequence
from pickle import loads
from typing import Any

from worker_dispatcher.call import Call
from worker_dispatcher.execute import catch, failure_from
from worker_dispatcher.osproc.channel import Frame
from worker_dispatcher.osproc.system import close_all
from worker_dispatcher.pools.base import Setup
from worker_dispatcher.records import Failure
from worker_dispatcher.wire import WAY_OUT, WAYS_TO_SHARE, culprit, from_parts, is_shared_by_inheritance, unpack

__all__ = ["Calls", "flush", "inherit", "is_loading", "load", "load_setup", "not_sent", "unloadable", "while_loading"]

Loaded = tuple[Any, BaseException | None]

_flush = operator.methodcaller("flush")
_loading = False
_inherited: Setup | None = None


def is_loading() -> bool:
    """True in a worker that is loading the user's function, config or tasks: what runs now is a module's import."""
    return _loading


def inherit(setup: Setup) -> None:
    """In a fork of the parent: what it is to run is there, as it is, with all that only a fork can share."""
    global _inherited
    _inherited = setup


def load_setup(parts: Sequence[memoryview], fds: list[int]) -> Loaded:
    """What this worker is to run: see `load`."""
    if _inherited is not None:
        return _inherited, None
    if not fds:
        return _load_setup(parts, fds)
    from worker_dispatcher.pools.protocol.inheritance import received

    with received(fds):
        found = _load_setup(parts, fds)
    close_all(fds)
    return found


def _load_setup(parts: Sequence[memoryview], fds: list[int]) -> Loaded:
    told, error = load(parts, fds)
    return (None if error is not None else Setup.of(told)), error


def load(parts: Sequence[memoryview], fds: list[int]) -> Loaded:
    """What the parts of a frame hold, or what was raised on loading it. Runs user code."""
    if parts[0] and not parts[1]:  # a pickle and nothing else
        return while_loading(loads, parts[0])
    return while_loading(lambda: unpack(*from_parts(parts, fds)))


def while_loading(function: Callable[..., Any], *arguments: Any) -> tuple[Any, BaseException | None]:
    """What a function returns that may import the user's modules, or what it has raised."""
    global _loading
    _loading = True
    try:
        return catch(function, *arguments)
    finally:
        _loading = False


class Calls:
    """The calls that a worker process knows, by number: 0 is its setup's, the others come in FUNCTION frames."""

    def __init__(self, setup: Setup) -> None:
        self._known: dict[int, tuple[Any, BaseException | None]] = {0: (setup.call, None)}
        self._frames: dict[int, Frame] = {}  # of calls that no task has needed yet

    def learn(self, frame: Frame) -> None:
        """Take in one call, and forget another."""
        number, forgotten = struct.unpack("<QQ", frame.parts[0])
        self._frames[number] = frame
        self._known.pop(forgotten or -1, None)
        if (unused := self._frames.pop(forgotten, None)) is not None:
            close_all(unused.fds)

    def of(self, number: int) -> tuple[Any, BaseException | None]:
        """A call, or what was raised on loading it. Runs user code: a task that needs the call is on the slate."""
        if (frame := self._frames.pop(number, None)) is not None:
            self._known[number] = load(frame.parts[1:], frame.fds)
        return self._known[number]


def unloadable(call: Call, error: BaseException) -> Failure:
    """The failure of a task that cannot be loaded."""
    failure = failure_from(call, error)
    return failure._replace(message=f"the task cannot be loaded in the worker: {failure.message}")


def _unsendable(error: BaseException, message: str) -> str:
    """A message of what was raised on packing, and of what part."""
    where = culprit(error)
    if is_shared_by_inheritance(error):
        return f"{message}; {WAYS_TO_SHARE}"
    return message if where is None else f"{message}; it uses {where}; {WAY_OUT}"


def not_sent(call: Call, error: BaseException, what: str) -> Failure:
    """The failure of a task of which a part could not be packed. what: cannot be sent where, in words."""
    failure = failure_from(call, error)
    return failure._replace(message=f"{what}: {_unsendable(error, failure.message)}")


def flush() -> None:
    """Let out what tasks have printed, before anybody hears that they have ended."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            catch(_flush, stream)  # one of the user's may have no such method
