"""Where tasks come from: the user's list, and what came back to be run again."""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from worker_dispatcher.clock import now
from worker_dispatcher.dispatch.schedule import Schedule
from worker_dispatcher.execute import guarded
from worker_dispatcher.pools.base import Batch
from worker_dispatcher.records import Ledger

__all__ = ["AHEAD", "Intake", "TaskList", "TaskSource", "task_list"]

AHEAD = 0.05  # seconds before its due that a task is released: what a batch takes to reach a worker, with a margin
_DUES_MOST = 16_384  # due times of tasks not taken yet that are worked out ahead: more than a driver hands out at once
_LATE_MOST = 1024  # late tasks to drop at once: the driver hears nothing meanwhile


class TaskList:
    """The user's tasks, each drawn once, in order. total: how many there are, None if unknown.

    drawing: the user's iterator is running; the one place in a run where Ctrl-C may raise.
    ahead: how many are known to the ledger, and wait to be taken.
    """

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.drawn = self.ahead = 0
        self.drawing = False
        self.error: BaseException | None = None  # what the user's iterator raised; nothing is drawn after it
        self.wake: Callable[[], None] = lambda: None  # tells the driver that there is something to draw

    def available(self) -> int:
        """How many could be drawn without waiting."""
        return 0 if self.error is not None or self.total is None else self.total - self.drawn

    @property
    def ended(self) -> bool:
        return self.error is not None or self.drawn == self.total

    def draw(self, count: int) -> Sequence[Any]:
        """The next tasks, at most `count`."""
        raise NotImplementedError

    def take(self, count: int, ledger: Ledger, dues: array[float] | None) -> Batch | None:
        """The next tasks, at most `count`, as a batch that the ledger knows from now on; None if there is none now.
        dues: when each is due (monotonic), or None."""
        items = self.draw(count)
        if not len(items):
            return None
        dues = None if dues is None else dues[: len(items)]
        return Batch(ledger.draw(len(items), dues), items, dues=dues)

    def end(self) -> None:
        """Nothing more is wanted."""

    def left_over(self) -> int:
        """How many tasks the user's iterable has given that were never drawn, once the run has ended."""
        return 0

    def interrupt(self) -> None:
        """Ctrl-C, in the thread that draws: KeyboardInterrupt if it is in the user's code, else nothing."""
        if self.drawing:
            self.drawing = False  # once: the next one may find us in our own code already
            raise KeyboardInterrupt

    def _next(self, items: Iterator[Any]) -> Any:
        """The next task, or _NO_MORE. What the iterator raises is kept in `error`."""
        try:
            self.drawing = True
            found = next(items, _NO_MORE)
            self.drawing = False
        except BaseException as error:
            self.drawing = False
            self.error = error
            return _NO_MORE
        return found


_NO_MORE = object()
_ENDLESS = 1 << 62  # more tasks than any run will have


class _Sequence(TaskList):
    """A list, tuple or range: slices of it."""

    def __init__(self, items: Sequence[Any]) -> None:
        super().__init__(len(items))
        self._items = items

    def draw(self, count: int) -> Sequence[Any]:
        items = self._items[self.drawn : self.drawn + count]
        self.drawn += len(items)
        return items


class _Counted(TaskList):
    """A count, or None for no end: that many tasks, each an empty dict of its own."""

    def available(self) -> int:
        return _ENDLESS if self.total is None else super().available()

    def draw(self, count: int) -> Sequence[Any]:
        count = min(count, self.available())
        self.drawn += count
        return [{} for _ in range(count)]


class _Cycled(TaskList):
    """What knows its length, begun again at its end. Advanced in the driver's thread."""

    def __init__(self, items: Iterable[Any]) -> None:
        super().__init__(None)
        self._items = _rounds(items)

    def available(self) -> int:
        return 0 if self.ended else _ENDLESS

    def draw(self, count: int) -> Sequence[Any]:
        found: list[Any] = []
        while len(found) < count:
            if (item := self._next(self._items)) is _NO_MORE:
                self.total = self.drawn + len(found)
                break
            found.append(item)
        self.drawn += len(found)
        return found


def _rounds(items: Iterable[Any]) -> Iterator[Any]:
    """Again and again, until it has nothing to give: what knows its length may still be there only once."""
    some = True
    while some:
        some = False
        for item in items:
            some = True
            yield item


class _Sized(TaskList):
    """Any other iterable that knows its length: advanced in the driver's thread, which is the caller's."""

    def __init__(self, items: Iterable[Any], total: int) -> None:
        super().__init__(total)
        self._iterator: Iterator[Any] = iter(items)

    def draw(self, count: int) -> Sequence[Any]:
        found: list[Any] = []
        for _ in range(count):
            if (item := self._next(self._iterator)) is _NO_MORE:
                if self.error is None:
                    self.total = self.drawn + len(found)
                break
            found.append(item)
        self.drawn += len(found)
        return found


class Intake(TaskList):
    """An iterable of unknown length, drawn by the caller's thread while the driver runs in another.

    Shared: everything, under _changed. The buffer is small at first, so that a lazy iterable stays lazy, and
    grows only when the driver runs it dry although the iterable had filled it.
    """

    def __init__(self, items: Iterable[Any], at_least: int) -> None:
        super().__init__(None)
        self._items = itertools.chain.from_iterable((items,))  # asks the iterable for its iterator at the first task
        self._room = at_least
        self._buffer: deque[Any] = deque()
        self._changed = threading.Condition()
        self._over = False
        self._was_full = False

    def available(self) -> int:
        return len(self._buffer)

    @property
    def ended(self) -> bool:
        return self._over and not self._buffer

    def draw(self, count: int) -> Sequence[Any]:
        with self._changed:
            found = [self._buffer.popleft() for _ in range(min(count, len(self._buffer)))]
            if not self._buffer and self._was_full:
                self._room = min(2 * self._room, 4096)
                self._was_full = False
            self._changed.notify()
        self.drawn += len(found)
        return found

    def pour(self) -> None:
        """Draw until the iterable or the run ends. Called in the caller's thread; keeps what the iterable raises."""
        if self._over:
            return
        while (item := self._next(self._items)) is not _NO_MORE and self._put(item):
            pass
        self.end()

    def _put(self, item: Any) -> bool:
        with self._changed:
            while len(self._buffer) >= self._room and not self._over:
                self._was_full = True
                self._changed.wait()
            # While the buffer holds something the driver does not wait for more: the pool is full.
            waited_for = not self._buffer
            self._buffer.append(item)  # also after the end: it was given to us, and counts as not run
            wanted = not self._over
        if waited_for:
            self.wake()
        return wanted

    def end(self) -> None:
        """Nothing more is wanted, or nothing more comes. Any thread."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self.wake()

    def left_over(self) -> int:
        return len(self._buffer)


def task_list(given: Any, workers: int, *, cycle: bool = False) -> TaskList:
    """The tasks of a checked `task.list`. workers: how many tasks at least an Intake holds ready.

    cycle: what knows its length begins again at its end, and the schedule ends the run.
    """
    if isinstance(given, int) or given is None:
        return _Counted(None if cycle else given)
    if isinstance(given, (list, tuple)):
        given = tuple(given)
    length, error = guarded(lambda: len(given))  # a range may be longer than len() can say
    if error is None and cycle and length:
        return _Cycled(given)
    if isinstance(given, (tuple, range)) and error is None:
        return _Sequence(given)
    if error is None:
        return _Sized(given, length)
    return Intake(given, 2 * workers)


class TaskSource:
    """The pool's source: what came back first, then fresh tasks as the schedule releases them.

    Used by the driver's thread only. Tasks are released AHEAD of their dues, so that a worker has each in hand and
    can start it on time.
    """

    def __init__(self, tasks: TaskList, ledger: Ledger, schedule: Schedule) -> None:
        self._tasks, self._ledger, self._schedule = tasks, ledger, schedule
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
        """How many tasks the ledger knows that have not been taken; once this has ended, they never will be."""
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
        heapq.heappush(self._later, (due, next(self._order), batch))

    def next_due(self) -> float:
        """When `release` has something to do next (monotonic), or infinite."""
        due = self._later[0][0] if self._later else math.inf
        if self._began is not None and not self._tasks.ended and self._ledger.room():
            due = 0.0 if self._lacks() else min(due, self._unreleased() - AHEAD)
        return due

    def _unreleased(self) -> float:
        """When the first task that `release` has not let go is due."""
        at = bisect.bisect_right(self._dues, self._horizon, self._at)
        return self._dues[at] if at < len(self._dues) else math.inf

    def release(self) -> None:
        """Let go of what is due soon."""
        at = now()
        while self._later and self._later[0][0] <= at:
            self.put_back(heapq.heappop(self._later)[2])
        if self._began is not None:
            self._horizon = at + AHEAD
            while self._lacks() and self._load(self._began):
                pass

    def _due_by(self, moment: float, most: int) -> int:
        """How many fresh tasks are due by a moment, at most so many."""
        return min(bisect.bisect_right(self._dues, moment, self._at) - self._at, most)

    def _fresh(self) -> int:
        available = min(self._tasks.available(), self._ledger.room())
        return self._due_by(self._horizon, available) if self._schedule.timed else available

    def take_late(self, before: float) -> Batch | None:
        """Some fresh tasks that were due before a moment, None if there are none: for whoever drops them."""
        return self._take_fresh(self._due_by(before, min(self._tasks.available(), _LATE_MOST)))

    def waiting(self) -> int:
        return self._back_count + self._fresh()

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
        batch = self._tasks.take(count, self._ledger, dues)
        if batch is not None and dues is not None:
            self._at += len(batch.items)
            while self._begins and self._begins[0][0] < self._taken + len(batch.items):
                place, number = self._begins.popleft()
                self._ledger.open_interval(number, batch.first + place - self._taken)
            self._taken += len(batch.items)
        return batch
