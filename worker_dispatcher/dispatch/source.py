"""Which task is next: what came back to be run again, then fresh ones as the schedule releases them."""

from __future__ import annotations

import bisect
import itertools
import math
from array import array
from collections import deque
from typing import Any

from worker_dispatcher.clock import now
from worker_dispatcher.dispatch.schedule import Schedule
from worker_dispatcher.dispatch.tasklist import TaskList
from worker_dispatcher.pools.base import Batch
from worker_dispatcher.records import Records

AHEAD = 0.05  # seconds before its due that a task is released: what a batch takes to reach a worker, with a margin
_FREE_SOON = 0.005  # seconds after a task's due time within which a worker counts as free for it
_DUES_MOST = 16_384  # due times of tasks not taken yet that are worked out ahead: more than a driver hands out at once
_LATE_MOST = 1024  # late tasks to drop at once: the driver hears nothing meanwhile


class TaskSource:
    """The pool's source: what came back first, then fresh tasks as the schedule releases them.

    Used by the driver's thread only. Tasks are released some time ahead of their dues, so that a worker has each in
    hand and can start it on time.
    """

    def __init__(
        self,
        tasks: TaskList,
        records: Records,
        schedule: Schedule,
        *,
        drops: bool = False,
        timeout: float | None = None,
        stop_at: float = math.inf,
        ahead: float = AHEAD,
    ) -> None:
        """drops: see `take_late`. timeout, stop_at: the limits of every task, as in Batch. ahead: seconds before its
        due that a task is released."""
        self._released = ahead
        self._timeout, self._stop_at = timeout, stop_at
        self._tasks, self._records, self._schedule, self._drops = tasks, records, schedule, drops
        self._ticks = schedule.ticks()
        self._more = schedule.timed  # intervals to come
        self._dues = array("d")  # of fresh tasks, released or not
        self._at = 0  # those before have been taken
        self._interval = -1  # the last of them
        self._taken = self._scheduled = 0  # due times that tasks were taken for; that there have been
        self._begins: deque[tuple[int, int]] = deque()  # which of them begins which interval that has no task yet
        self._began: float | None = None
        self._back: deque[Batch] = deque()
        self._back_count = 0
        self._alone: deque[Batch] = deque()
        self._later: list[tuple[float, int, Batch]] = []
        self._order = itertools.count()
        self._horizon = math.inf if not schedule.timed else -math.inf

    def first_burst(self, most: int) -> int:
        """How many tasks are due at the very start, or `most` if there are more. Before `begin`."""
        first, count = None, 0
        for _, offsets in self._schedule.ticks():
            first = offsets[0] if first is None else first
            together = bisect.bisect_right(offsets, first)
            count += together
            if together < len(offsets) or count >= most:
                break
        return min(count, most)

    def begin(self, at: float) -> None:
        """The run's time begins at a moment (monotonic)."""
        self._began = at
        self._load(at)

    def _load(self, began: float) -> bool:
        """Have some more due times at hand; False if there are none."""
        number, offsets = next(self._ticks, (0, None))
        if offsets is None:
            self._more = False
            return False
        if number != self._interval:
            self._interval = number
            self._begins.append((self._scheduled, number))
        self._scheduled += len(offsets)
        if 2 * self._at > len(self._dues):
            del self._dues[: self._at]
            self._at = 0
        self._dues.extend([began + offset for offset in offsets])
        return True

    def _lacks(self) -> bool:
        """True if a task that could be taken now has no due time at hand. Never more at hand than that takes: there
        may be many more due times than tasks."""
        left = len(self._dues) - self._at
        if not self._more or left > min(self._tasks.available(), _DUES_MOST):
            return False
        return not left or self._dues[-1] <= self._horizon

    @property
    def ahead(self) -> int:
        """How many tasks the records know that have not been taken; once this has ended, they never will be."""
        return self._tasks.ahead

    @property
    def ended(self) -> bool:
        """True once nothing fresh will come any more."""
        return self._tasks.ended or (self._schedule.timed and not self._more and self._at == len(self._dues))

    def put_back(self, batch: Batch) -> None:
        """To be run again as soon as there is room."""
        if batch.alone:
            self._alone.append(batch)
        else:
            self._back.append(batch)
            self._back_count += len(batch.items)

    def put_back_at(self, due: float, batch: Batch) -> None:
        """To be run again at a moment (monotonic)."""
        import heapq  # for retries only, as below

        heapq.heappush(self._later, (due, next(self._order), batch))

    def next_due(self) -> float:
        """When `release` or `take_late` has something to do next (monotonic), or infinite."""
        due = self._later[0][0] if self._later else math.inf
        if self._began is not None and not self._tasks.ended and self._records.room():
            due = 0.0 if self._lacks() else min(due, self._unreleased() - self._released)
        return min(due, self.fresh_due() + _FREE_SOON) if self._drops else due

    def _unreleased(self) -> float:
        """When the first task that `release` has not let go is due."""
        at = bisect.bisect_right(self._dues, self._horizon, self._at)
        return self._dues[at] if at < len(self._dues) else math.inf

    def release(self) -> None:
        """Let go of what is due soon."""
        at = now()
        if self._later:
            import heapq

            while self._later and self._later[0][0] <= at:
                self.put_back(heapq.heappop(self._later)[2])
        if self._began is not None:
            self._horizon = at + self._released
            while self._lacks() and self._load(self._began):
                pass

    def _due_by(self, moment: float, most: int) -> int:
        """How many fresh tasks are due by a moment, at most so many."""
        return min(bisect.bisect_right(self._dues, moment, self._at) - self._at, most)

    def _fresh(self) -> int:
        available = min(self._tasks.available(), self._records.room())
        return self._due_by(self._horizon, available) if self._schedule.timed else available

    def take_late(self) -> Batch | None:
        """Some fresh tasks that are to be dropped, since no worker was free for them in time; None if there are none.
        Whatever the pool has room for has been taken before."""
        if not self._drops:
            return None
        return self._take_fresh(self._due_by(now() - _FREE_SOON, min(self._tasks.available(), _LATE_MOST)))

    def call(self) -> None:
        """That of the run, always."""

    def waiting(self) -> int:
        return self._back_count if self._tasks.ended else self._back_count + self._fresh()

    def due(self) -> float:
        if self._back:
            return 0.0 if self._back[0].dues is None else self._back[0].dues[0]
        return self.fresh_due()

    def fresh_due(self) -> float:
        """`due` of the tasks that come for the first time."""
        if not self._fresh():
            return math.inf
        return self._dues[self._at] if self._schedule.timed else 0.0

    def crowd(self, within: float) -> int:
        fresh = self._fresh()
        if self._schedule.timed and fresh:
            fresh = self._due_by(self._dues[self._at] + within, fresh)
        return self._back_count + fresh

    def alone_waiting(self) -> bool:
        return bool(self._alone)

    def take_alone(self) -> Batch | None:
        return self._alone.popleft() if self._alone else None

    def left(self) -> dict[int, Any]:
        """The items of tasks that the records know and that nobody has, by id."""
        back = ((batch.first, batch.items) for batch in (*self._back, *self._alone))
        return {
            task_id: item
            for first, items in itertools.chain(back, self._tasks.left())
            for task_id, item in enumerate(items, first)
        }

    def take(self, count: int) -> Batch | None:
        if self._back:
            batch = self._back.popleft()
            if len(batch.items) > count:
                self._back.appendleft(batch.part(count, len(batch.items)))
                batch = batch.part(0, count)
            self._back_count -= len(batch.items)
            return batch
        return self._take_fresh(min(count, self._fresh()))

    def _take_fresh(self, count: int) -> Batch | None:
        if count <= 0:
            return None
        dues = self._dues[self._at : self._at + count] if self._schedule.timed else None
        first, items = self._tasks.take(count, self._records, dues)
        taken = len(items)
        if not taken:
            return None
        if dues is not None:
            dues = dues[:taken]
            self._at += taken
            while self._begins and self._begins[0][0] < self._taken + taken:
                place, number = self._begins.popleft()
                self._records.open_interval(number, first + place - self._taken)
            self._taken += taken
        return Batch(first, items, False, dues, 1, None, self._timeout, self._stop_at)
