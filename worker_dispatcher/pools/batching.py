"""How many tasks go into a batch, by the measured time per task; and how they are packed."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from worker_dispatcher.pools.base import Finished
from worker_dispatcher.wire import Packed, is_plain, pack, to_parts

__all__ = ["Batching", "pack_items"]

_BATCH_TIME = 0.0015  # seconds of work a batch aims at: far above the cost of a batch, far below what a wait costs
_BATCH_GROWTH = 8  # at most this many times the last batch: the first measured tasks may not be like the rest
_BATCH_BYTES = 1 << 18  # of packed items a batch aims at
_BATCH_MOST = 10_000


class Batching:
    """What is known of the tasks' size and time. last: how many the last batch held."""

    def __init__(self) -> None:
        self.last = 1
        self._per_task = 0.0  # seconds, a moving average; 0 while nothing is known
        self._bytes_per_task = 1.0

    def size(self, waiting: int, slots: int, all_slots: int, idle: bool) -> int:
        """For a worker of `slots` threads. waiting: tasks there are; idle: a thread of it waits for this batch."""
        if idle and not self._per_task:
            return 1
        wanted = _BATCH_TIME * slots / max(self._per_task, 1e-9) if self._per_task else slots
        share = waiting / (2 * all_slots)
        return max(
            1, int(min(wanted, self.last * _BATCH_GROWTH, share, _BATCH_BYTES / self._bytes_per_task, _BATCH_MOST))
        )

    def sent(self, count: int, size: int) -> None:
        """A batch of this many tasks and bytes was handed out."""
        self.last = count if self._per_task else max(self.last, count)
        self._bytes_per_task = max(size / count, 1.0)

    def measure(self, event: Finished) -> None:
        count = len(event.results)
        spent = max(event.ends[-1] - event.starts[0], 1e-7) / count
        weight = min(1.0, max(0.3, count / 100))
        self._per_task = spent if not self._per_task else self._per_task * (1 - weight) + spent * weight


def pack_items(items: Sequence[Any]) -> tuple[int, list[bytes | memoryview], list[int]]:
    """(bytes, parts and descriptors to send) of a batch's items. Runs user code."""
    if isinstance(items, range) or is_plain(items):
        packed = Packed(pickle.dumps(items, 5), (), True)
    else:
        packed = pack(list(items))
    return packed.size, *to_parts(packed)
