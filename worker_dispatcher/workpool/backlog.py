"""What waits to be run: the source of a pool's driver."""

from __future__ import annotations

import bisect
import heapq
import math
import operator
from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from worker_dispatcher.call import Call
from worker_dispatcher.clock import now
from worker_dispatcher.pools.base import Batch
from worker_dispatcher.workpool.calling import Item
from worker_dispatcher.workpool.future import DELAYED, ENDED, QUEUED, TaskFuture

if TYPE_CHECKING:
    from worker_dispatcher.limiter import Limiter
    from worker_dispatcher.workpool.group import TaskGroup


_FEW = 100  # entries of a heap: one of no more is not worth cleaning


class _Alarms:
    """Futures by the moment at which they are to be looked at, those that have ended left out."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, TaskFuture]] = []
        self._void = 0

    def __bool__(self) -> bool:
        return bool(self._heap)

    def add(self, at: float, future: TaskFuture) -> None:
        heapq.heappush(self._heap, (at, future.number, future))

    def leave_out(self) -> None:
        """One in it has ended."""
        self._void += 1
        if self._void > _FEW and 2 * self._void > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].phase != ENDED]
            heapq.heapify(self._heap)
            self._void = 0

    @property
    def first(self) -> float:
        while self._heap and self._heap[0][2].phase == ENDED:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def ring(self, at: float) -> Iterator[TaskFuture]:
        """Those whose moment has come, which are removed."""
        while self.first <= at:
            yield heapq.heappop(self._heap)[2]


class Backlog:
    """Tasks that are delayed, queued or waiting for another attempt.

    Owned by the driver's turn. Shared: _inbox, gone and _plain, to which any thread appends: a single step.
    _plain: tasks of priority 0 that may start at once, in order; _lanes: the same for other priorities. _limited: those
    that wait for a limiter; they go before others once it lets them. _parked: what must not start before another task
    of its group has ended.
    expired: called with a task whose deadline has passed. away: numbers of tasks whose last attempt still holds a
    thread: they wait for its end, which brings a turn. roomy: as of the pool; what waits for a limiter is not handed to
    a worker ahead of its turn, since others that the limiter lets begin later would begin beside it.
    """

    def __init__(self, given: dict[int, TaskFuture], left: set[int], expired: Callable[[TaskFuture], None]) -> None:
        self._given, self._left, self._expired = given, left, expired
        self.away: Collection[int] = ()
        self.roomy: Callable[[], bool] = lambda: True
        self.paused = False
        self._inbox: deque[TaskFuture] = deque()
        self.gone: deque[TaskFuture] = deque()
        self._plain: deque[TaskFuture] = deque()
        self._lanes: dict[int, deque[TaskFuture]] = {0: self._plain}
        self._order = [0]  # the priorities, the most urgent first
        self._alone: deque[Batch] = deque()
        self._delayed, self._deadlines = _Alarms(), _Alarms()
        self._behind = deque[TaskFuture]()  # whose time has come, and whose last attempt is not back
        self._parked: dict[TaskGroup, deque[TaskFuture]] = {}
        self._looked = 0.0  # when the pool was about to be fed last (monotonic)
        self._limited: dict[Limiter, list[tuple[int, int, TaskFuture]]] = {}  # heaps: the most urgent first, in order

    def add(self, future: TaskFuture) -> None:
        """From any thread."""
        settings = future.settings
        plain = not (settings.priority or future.due or settings.limiter) and future.stop_at == math.inf
        (self._plain if plain else self._inbox).append(future)

    # What waits for a moment

    def expect_deadline(self, future: TaskFuture) -> None:
        """Of a task that is elsewhere."""
        self._deadlines.add(future.stop_at, future)

    def release(self) -> None:
        self._looked = now()
        if not (self._inbox or self.gone or self._delayed or self._deadlines or self._behind):
            return
        for _ in range(len(self._inbox)):
            future = self._inbox.popleft()
            if future.stop_at < math.inf:
                self._deadlines.add(future.stop_at, future)
            if future.due > now():
                self._delay(future)
            else:
                self._queue(future)
        for _ in range(len(self.gone)):
            future = self.gone.popleft()
            if future.due:
                self._delayed.leave_out()
            if future.stop_at < math.inf:
                self._deadlines.leave_out()
        at = now()
        for future in self._deadlines.ring(at):
            self._expired(future)
        for future in self._delayed.ring(at):
            self._behind.append(future)
        for _ in range(len(self._behind)):
            future = self._behind.popleft()
            if future.number in self.away and future.phase != ENDED:
                self._behind.append(future)
            else:
                self._queue(future)

    def next_due(self) -> float:
        if self._inbox:
            return 0.0
        if not (self._delayed or self._deadlines or self._limited):
            return math.inf
        # What a limiter let start before the pool was fed waits for a worker; what it has let since nobody has seen.
        limits = [due for limiter in self._limited if (due := limiter.due) > self._looked]
        return min(self._delayed.first, self._deadlines.first, *limits)

    def _delay(self, future: TaskFuture) -> None:
        if future.wait_as(DELAYED):
            self._delayed.add(future.due, future)

    def _queue(self, future: TaskFuture, at: int | None = None) -> None:
        """at: its place among those of its priority; None: the last."""
        if not future.wait_as(QUEUED):
            return
        future.ready_at, settings = max(future.due, future.submitted_at), future.settings
        if settings.limiter is not None:
            heap = self._limited.setdefault(settings.limiter, [])
            heapq.heappush(heap, (-settings.priority, future.number, future))
            return
        lane = self._lane(settings.priority)
        if at is None:
            lane.append(future)
        else:
            lane.insert(at, future)

    def _lane(self, priority: int) -> deque[TaskFuture]:
        if priority not in self._lanes:
            self._lanes[priority] = deque()
            bisect.insort(self._order, priority, key=operator.neg)
        return self._lanes[priority]

    def unpark(self, group: TaskGroup) -> None:
        """The next one that waits for a group may be tried."""
        parked = self._parked.get(group)
        while parked and (future := parked.popleft()).phase == ENDED:
            pass
        if parked is not None:
            if future.phase != ENDED:
                self._queue(future, 0)
            if not parked:
                del self._parked[group]

    def forget(self, future: TaskFuture) -> None:
        """One that was in here has ended. From any thread."""
        if future.due or future.stop_at < math.inf:
            self.gone.append(future)

    # What a pool takes

    def waiting(self) -> int:
        """From any thread: it changes nothing."""
        count = sum(map(len, list(self._lanes.values()))) if len(self._lanes) > 1 else len(self._plain)
        return count + len(self._let()) if self._limited else count

    def _let(self) -> list[Limiter]:
        """The limiters that let a task start now, if a worker would begin it."""
        if not self.roomy():
            return []
        at = now()
        return [limiter for limiter, heap in list(self._limited.items()) if heap and limiter.due <= at]

    def _drop(self, future: TaskFuture) -> None:
        """One that was next has ended."""
        if future.group is not None:
            self.unpark(future.group)

    def _head(self) -> deque[TaskFuture] | None:
        """The lane whose first task is next."""
        at, order = 0, self._order
        while at < len(order):
            lane = self._lanes[order[at]]
            while lane and lane[0].phase == ENDED:
                self._drop(lane.popleft())
            if lane:
                return lane
            if order[at]:
                del self._lanes[order.pop(at)]
            else:
                at += 1
        return None

    def call(self) -> Call | None:
        for limiter in self._let() if self._limited else ():
            return self._limited[limiter][0][2].call
        lane = self._head()
        return lane[0].call if lane else None

    def due(self) -> float:
        return 0.0 if self.waiting() else math.inf

    def crowd(self, within: float) -> int:
        return self.waiting()

    def alone_waiting(self) -> bool:
        return bool(self._alone)

    def take_alone(self) -> Batch | None:
        while self._alone:
            batch = self._alone.popleft()
            if self._given[batch.first].phase != ENDED:
                return batch
            self.returned(batch.first)  # it has ended meanwhile, and must not start
        return None

    def take(self, count: int) -> Batch | None:
        if self.paused:
            return None
        if self._limited and (future := self._take_limited()) is not None:
            return self._batch(future, deque(), 1)
        while (lane := self._head()) is not None:
            future = lane.popleft()
            if self._has_room(future) and future.begin():
                return self._batch(future, lane, count)
        return None

    def _take_limited(self) -> TaskFuture | None:
        """A task whose limiter, and whose group, let it start now."""
        for limiter in self._let():
            heap = self._limited[limiter]
            while heap and limiter.due <= now():
                future = heap[0][2]
                if future.phase == ENDED:
                    heapq.heappop(heap)
                    self._drop(future)
                elif not self._has_room(future):  # before it costs the limiter anything; it is parked
                    heapq.heappop(heap)
                elif limiter.take() > 0.0:  # another pool came first
                    break
                elif heapq.heappop(heap)[2].begin():
                    return future
            if not heap:
                del self._limited[limiter]
        return None

    def _has_room(self, future: TaskFuture) -> bool:
        """Its group lets it start; if not, it is parked."""
        group = future.group
        if group is None or group.has_room():
            return True
        self._parked.setdefault(group, deque()).append(future)
        return False

    def _batch(self, first: TaskFuture, lane: deque[TaskFuture], count: int) -> Batch:
        """It, and up to count - 1 of those that come after it and are as it is."""
        call, settings, number = first.call, first.settings, first.number
        taken = [first]
        if first.group is None and not first.attempts:
            while len(taken) < count and lane:
                future, number = lane[0], number + 1
                alike = future.number == number and future.call is call and future.settings is settings
                if not alike or future.stop_at != first.stop_at or future.attempts or not future.begin():
                    break
                taken.append(lane.popleft())
        given = self._given
        for future in taken:
            given[future.number] = future
            if future.group is not None:
                future.group.running += 1
        items = [future.item for future in taken]
        if first.attempts and type(items[0]) is tuple:
            items[0] = Item(items[0], {}, first.id, settings.name, first.attempts + 1, None, first.stop_at)
        elif first.attempts:
            items[0] = items[0]._replace(attempt=first.attempts + 1)
        return Batch(first.number, items, call=call, timeout=settings.timeout, stop_at=first.stop_at)

    # What comes back

    def returned(self, number: int) -> TaskFuture | None:
        """The workers have a task no more; None if it had ended for everybody before, or waits here already."""
        if (future := self._given.pop(number, None)) is None:
            return None
        if future.group is not None:
            future.group.running -= 1
            self.unpark(future.group)
        if future.stop_at < math.inf:
            self._deadlines.leave_out()
        if future.phase == ENDED:
            self._left.discard(number)
            return None
        return future

    def put_back(self, batch: Batch) -> None:
        if batch.alone:
            self._alone.append(batch)
            return
        numbers = range(batch.first, batch.first + len(batch.items))
        back = [future for number in numbers if (future := self.returned(number)) is not None]
        if not back:
            return
        # Before what came after them, which may be long; behind those that have come back from another worker.
        lane, at = self._lane(back[0].settings.priority), 0
        while at < len(lane) and _order_of(lane[at]) < _order_of(back[0]):
            at += 1
        for future in reversed(back):
            self._queue(future, at)

    def put_back_at(self, due: float, batch: Batch) -> None:
        if (future := self.returned(batch.first)) is not None:
            future.attempts = batch.attempt - 1
            future.due = due
            self._delay(future)


def _order_of(future: TaskFuture) -> tuple[float, int]:
    return future.ready_at, future.number
