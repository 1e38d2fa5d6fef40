"""Which worker process gets the next tasks, and for how long none need be listened to."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence

from worker_dispatcher.clock import now
from worker_dispatcher.pools.base import Source
from worker_dispatcher.pools.parent.worker_handle import WorkerHandle

__all__ = ["SPAN", "STUCK_AFTER", "by_load", "has_room", "next_end", "rob", "roomiest", "unheard", "wanted"]

SPAN = 0.002  # seconds of due times that go to a grid process at once; and what it takes for a task's end to be known
STUCK_AFTER = 0.005  # seconds without a word after which a worker with room may take another's waiting tasks
_REST = 0.01  # seconds that what the workers say may wait for us
_REST_SHARE = 4  # and at most the share of what a worker has ahead: tasks may be shorter than those before


def by_load(handles: Sequence[WorkerHandle]) -> list[tuple[float, int]]:
    """(tasks held for each slot, place in handles): a heap, for `roomiest`."""
    loads = [(handle.held.count / handle.slots, nth) for nth, handle in enumerate(handles)]
    heapq.heapify(loads)
    return loads


def roomiest(handles: Sequence[WorkerHandle], loads: list[tuple[float, int]], ahead: int) -> WorkerHandle | None:
    """The worker with the most room, None if there is none with any. ahead: tasks it may hold beyond its slots.

    loads: as they were, or less than they are by now. To look at all workers before each batch would be most of what
    it costs a parent of many to hand one out.
    """
    while loads:
        load, nth = loads[0]
        handle = handles[nth]
        if not has_room(handle, ahead):
            heapq.heappop(loads)
        elif load < (held := handle.held.count / handle.slots):
            heapq.heapreplace(loads, (held, nth))
        else:
            return handle
    return None


def has_room(handle: WorkerHandle, ahead: int) -> bool:
    """It may be given another task."""
    return handle.held.count < handle.slots + (ahead if handle.life.was_ready else 0) and handle.open


def unheard(handles: Sequence[WorkerHandle], task: float) -> float:
    """For how many seconds nobody need listen to any worker: each has several times as much work ahead, and what it
    says meanwhile waits for us, whatever becomes of it. task: seconds."""
    ahead = _REST * _REST_SHARE if handles else 0.0
    for r in handles:
        if not (r.terse and r.open) or r.channel.unsent:
            return 0.0
        ahead = min(ahead, max(0.0, r.held.count / r.slots - 1) * task)
    return ahead / _REST_SHARE


def wanted(source: Source, handles: Sequence[WorkerHandle], task: float) -> int:
    """How many idle workers the next timed tasks need. A worker whose task will have ended by then counts as idle, as
    long as there is no sign that it takes longer. task: seconds."""
    at, due = now(), source.due()
    free = sum(1 for r in handles if r.held.count and at < r.due + task < due)
    return source.crowd(task) - free + source.alone_waiting()


def next_end(handles: Sequence[WorkerHandle], task: float) -> float:
    """When the next timed task should have ended (monotonic); if it has not, `wanted` has another answer."""
    at = now()
    return min((end for r in handles if r.held.count and (end := r.due + task) > at), default=math.inf)


def rob(handles: Sequence[WorkerHandle], roomy: Callable[[], bool]) -> None:
    """What waits behind long tasks goes to a worker with a thread to spare, if there is one: then it is roomy."""
    at = now()
    stuck = [handle for handle in handles if handle.has_waiting and at - handle.heard_at >= STUCK_AFTER]
    if stuck and roomy():
        for handle in stuck:
            handle.revoke()
