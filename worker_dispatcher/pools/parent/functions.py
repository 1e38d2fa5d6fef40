"""The calls that a pool of processes runs: each is packed once, and goes once to each worker that has tasks of it."""

from __future__ import annotations

import struct
import sys
from collections import OrderedDict
from types import FunctionType

from worker_dispatcher.call import Call
from worker_dispatcher.osproc.system import close_all
from worker_dispatcher.pools.base import Setup
from worker_dispatcher.pools.parent.batching import Batching
from worker_dispatcher.script.main_module import Reader
from worker_dispatcher.wire import LARGE_PICKLE, Packed, pack_large, to_parts

KEPT = 64  # calls that a pool, and each of its workers, keeps: those used last
_NAMES_NUMPY = b"\x05numpy\x94"  # how a pickle names a module; each array's names that of its dtype


class Function:
    """One call of a pool. number: its name in messages, never given twice, 0 for what the pool was opened with;
    batching: what is known of its tasks; parts, fds: the call as it is sent, once `pack` has made them."""

    def __init__(self, number: int, call: Call | None) -> None:
        self.number, self.call = number, call
        self.batching = Batching()
        self.parts: list[bytes | memoryview] | None = None
        self.fds: list[int] = []

    def pack(self, reader: Reader) -> None:
        """Make it ready to be sent. Runs user code, and raises what that raises."""
        if self.parts is None and self.call is not None:
            self.parts, self.fds = to_parts(pack_large(self.call, reader))


class Functions:
    """Those that a pool was given last. Owned by the pool's driving thread."""

    def __init__(self) -> None:
        self._own = Function(0, None)
        self._kept: OrderedDict[int, Function] = OrderedDict()  # by id of the call, which is kept alive here
        self._number = 0

    def of(self, call: Call | None) -> Function:
        """What is known of a call; None: what the pool was opened with."""
        if call is None:
            return self._own
        found = self._kept.get(id(call))
        if found is None:
            self._number += 1
            found = self._kept[id(call)] = Function(self._number, call)
            if len(self._kept) > KEPT:
                close_all(self._kept.popitem(last=False)[1].fds)
        self._kept.move_to_end(id(call))
        return found

    def close(self) -> None:
        for function in self._kept.values():
            close_all(function.fds)
        self._kept.clear()


class Known:
    """The numbers that one worker knows."""

    def __init__(self) -> None:
        self._numbers: OrderedDict[int, None] = OrderedDict()
        self._last = 0

    def learn(self, number: int) -> bytes | None:
        """The head of the FUNCTION frame that must be sent before a task of this number; None if it is known.
        What was used longest ago is forgotten in its place."""
        if number == self._last or number == 0:
            return None
        self._last = number
        new, forgotten = number not in self._numbers, 0
        self._numbers[number] = None
        self._numbers.move_to_end(number)
        if len(self._numbers) > KEPT:
            forgotten = self._numbers.popitem(last=False)[0]
        return struct.pack("<QQ", number, forgotten) if new else None


def libraries_of(setup: Setup, packed: Packed) -> list[str]:
    """What each worker would have to import, and is imported once, where they are forked from."""
    found = packed.libraries
    numpy, function = sys.modules.get("numpy"), setup.call.function
    around = list(function.__globals__.values()) if isinstance(function, FunctionType) else []
    short = (piece for piece in (packed.head, *packed.rest) if len(piece) < LARGE_PICKLE)
    if numpy is not None and (any(one is numpy for one in around) or any(_NAMES_NUMPY in piece for piece in short)):
        found.append("numpy")  # a tenth of a second, and several where all do it at once
    return found
