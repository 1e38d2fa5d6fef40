"""How many tasks of a call a worker process gets at once, by the measured time per task; and how they are packed."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from worker_dispatcher.execute import SMALL
from worker_dispatcher.pools.base import AttemptDone, BatchDone
from worker_dispatcher.script.main_module import Reader
from worker_dispatcher.wire import Packed, pack_large, to_parts

__all__ = ["Batching", "pack_items"]

# Seconds of work, for each thread, a batch aims at: a few of the tasks of most programs, so that not each is fetched by
# itself, and threads do not run dry while the parent waits for its turn. What is not begun can be taken back.
_BATCH_TIME = 0.04
_CREW_TIME = 0.1  # the same in a grid: where its threads keep all cores busy, the parent waits longer for its turn
_LAST_TIME = 0.002  # the same toward the end, where to be dealt few tasks at a time would take longer than they do
_BATCH_GROWTH = 8  # at most this many times the last batch: the first measured tasks may not be like the rest
_BATCH_BYTES = 1 << 18  # of packed items a batch aims at
_BATCH_MOST = 10_000
_SMALL_TEXT = 1000  # characters or bytes: far from where a pickle goes into pages of its own


class Batching:
    """What is known of the tasks' size and time. last: how many the last batch held."""

    def __init__(self) -> None:
        self.last = 1
        self._per_task = 0.0  # seconds, a moving average; 0 while nothing is known
        self._bytes_per_task = 1.0

    @property
    def per_task(self) -> float:
        """Seconds that a task takes, as far as is known."""
        return self._per_task

    @property
    def bytes_per_task(self) -> float:
        """Of a task as it is packed, at least 1."""
        return self._bytes_per_task

    def size(self, waiting: int, slots: int, all_slots: int, free: int) -> int:
        """For a worker of `slots` threads. waiting: tasks there are; free: how many of its threads have none."""
        most = min(_BATCH_BYTES / self._bytes_per_task, _BATCH_MOST)
        each = min(free, waiting * slots // all_slots, most)  # one for each thread that waits
        if free and not self._per_task:
            return max(1, int(each))
        share = waiting * slots / (2 * all_slots)
        if slots > 1:
            share = max(share, min(2 * share, _LAST_TIME * slots / max(self._per_task, 1e-9)))
        seconds = _BATCH_TIME if slots == 1 else _CREW_TIME
        wanted = seconds * slots / self._per_task if self._per_task else slots
        return max(1, int(max(each, min(wanted, self.last * _BATCH_GROWTH, share, most))))

    def sent(self, count: int, size: int) -> None:
        """A batch of this many tasks and bytes was handed out."""
        self.last = count if self._per_task else max(self.last, count)
        self._bytes_per_task = max(size / count, 1.0)

    def measure(self, event: BatchDone | AttemptDone) -> None:
        if isinstance(event, AttemptDone):
            count, spent = 1, event.ended - event.started
        elif len(event.ends) == 1:
            count, spent = 1, event.ends[0] - event.starts[0]
        elif isinstance(event.worker, int):  # one after the other
            count, spent = len(event.results), event.ends[-1] - event.starts[0]
        else:
            count, spent = len(event.results), sum(event.ends) - sum(event.starts)
        spent = max(spent, 1e-7) / count
        weight = min(1.0, max(0.3, count / 100))
        self._per_task = spent if not self._per_task else self._per_task * (1 - weight) + spent * weight


def _is_small(value: Any) -> bool:
    kind = type(value)
    return kind in SMALL or ((kind is str or kind is bytes) and len(value) < _SMALL_TEXT)


def pack_items(items: Sequence[Any], reader: Reader) -> tuple[int, list[bytes | memoryview], list[int]]:
    """(bytes, parts and descriptors to send) of a batch's items. Runs user code."""
    if len(items) == 1 and type(items[0]) is tuple and all(map(_is_small, items[0])):
        head = pickle.dumps(list(items), 5)
        return len(head), [head, b"", b""], []
    if isinstance(items, range):
        packed = Packed(pickle.dumps(items, 5), (), True)
    else:
        packed = pack_large(items if type(items) is list else list(items), reader)
    return packed.size, *to_parts(packed)
