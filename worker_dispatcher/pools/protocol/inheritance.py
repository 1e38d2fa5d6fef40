"""Locks, queues, pipes and shared values of multiprocessing among what a worker is given at its start.

multiprocessing hands these on only to a process that it starts; to it we look as if we were one: what they are pickles,
and their descriptors travel with the first message that a worker gets.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

from worker_dispatcher.tracebacks import own
from worker_dispatcher.wire import is_shared_by_inheritance

__all__ = ["handed_on", "received"]

_received: Sequence[int] = ()  # while a worker loads what it was given


class _Sink:
    def write(self, data: Any) -> int:
        return len(data)


class _Descriptor:
    """What multiprocessing makes of a descriptor, and asks for it again in the worker."""

    def __init__(self, place: int) -> None:
        self._place = place

    def detach(self) -> int:
        return os.dup(_received[self._place])


class _Start:
    """A process that multiprocessing starts, as it thinks. fds: those that the process gets."""

    DupFd = _Descriptor

    def __init__(self, fds: list[int]) -> None:
        self._fds = fds

    def duplicate_for_child(self, fd: int) -> int:
        self._fds.append(os.dup(fd))
        return len(self._fds) - 1


class _Handed:
    """Stands for an object until it is loaded."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[bytes]]:
        import pickle

        return pickle.loads, (self._data,)


def handed_on(values: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[int]]:
    """The values as they can be sent, and descriptors to send with them, and then to close."""
    fds: list[int] = []
    if "multiprocessing.context" not in sys.modules:
        return values, fds
    return tuple(_handed(value, fds) if _goes_to_children_only(value) else value for value in values), fds


def _goes_to_children_only(value: Any) -> bool:
    from multiprocessing.reduction import ForkingPickler

    if type(value).__module__ == "multiprocessing.connection":
        return True
    try:
        ForkingPickler(_Sink(), 5, True, lambda _: None).dump(value)
    except own(Exception) as error:  # any but the one is told of when all is packed
        return is_shared_by_inheritance(error)
    return False


def _handed(value: Any, fds: list[int]) -> _Handed:
    from multiprocessing import context
    from multiprocessing.reduction import ForkingPickler

    before = context.get_spawning_popen()
    context.set_spawning_popen(_Start(fds))  # type: ignore[arg-type]
    try:
        return _Handed(bytes(ForkingPickler.dumps(value)))
    finally:
        context.set_spawning_popen(before)


@contextmanager
def received(fds: Sequence[int]) -> Any:
    """While a worker loads what it was given, with these descriptors."""
    global _received
    _received = fds
    try:
        yield
    finally:
        _received = ()
