"""What a run has of a pool whose workers it uses, and what the pool has of the run."""

from __future__ import annotations

import math
import queue
import threading
from bisect import insort
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from worker_dispatcher.call import Call
from worker_dispatcher.clock import now, sleep
from worker_dispatcher.errors import RunError, TaskTimeout
from worker_dispatcher.execute import catch
from worker_dispatcher.pools import base
from worker_dispatcher.pools.base import (
    ONE_BY_ONE_FROM,
    AttemptDone,
    Batch,
    BatchDone,
    Complaints,
    Done,
    Event,
    Name,
    NotStarted,
    Pool,
    PoolFailed,
    Setup,
    neighbours,
)
from worker_dispatcher.pools.in_flight import InFlight
from worker_dispatcher.pools.parent.batching import Batching
from worker_dispatcher.pools.weight import weight_of
from worker_dispatcher.records import CANCELLED, TIMEOUT, Failure

if TYPE_CHECKING:
    from worker_dispatcher.workpool.scheduler import Scheduler

_HOLD_MOST = 1 << 15  # tasks that a run hands over ahead, if they are tiny
_AHEAD = 0.1  # seconds of work that it hands over ahead, else
_GROWTH = 4  # how many times as much from one look to the next
_HOLD_BYTES = 8 << 20  # of results that may wait for the run, which may have to write each to a journal
_FORGETS = 0.9  # of the heaviest result seen, at each look
_FEED_MOST = 1024  # tasks handed over at once, unless there are more workers
_BREATH = 0.001  # seconds in which what is told comes together, while the pool has enough to do
_STOP_MOST = 3.0  # seconds that a stop waits for the end of what runs
_first = attrgetter("first")


class Handover:
    """Tasks of a run on their way to the workers of a pool and back: a source of the pool's driver.

    Owned by the turn of the pool's driver: what a source does, and held. Shared: _buffer, _alone and waits, under
    _mutex; events, in single steps. From the run's thread: put, take_back, sleep.
    The pool knows a task by its id and the number before the first, `_before`, which the call takes off again.
    _buffer: what the pool has not taken, numbered as the run does; held: what it has, numbered as the pool does.
    events: what the run is to be told. most: how many workers may have tasks at a time, None for all.
    """

    def __init__(self, setup: Setup, named: Name, pids: dict[int, int], most: int | None, *, one_each: bool) -> None:
        """one_each: a batch is run by one worker, task by task."""
        self.named, self._pids, self._most, self._one_each = named, pids, most, one_each
        self._before, self._call = 0, setup.call
        self._mutex = threading.Lock()
        self._buffer, self._alone, self.waits = deque[Batch](), deque[Batch](), 0
        self.held, self.events, self._news = InFlight(), deque[Event](), queue.SimpleQueue[None]()
        self._signalled = self._failed = self._ended = False

    def begin(self, before: int) -> None:
        self._before, self._call = before, self._call._replace(before=before)
        for number, pid in self._pids.items():
            self.named(number, pid)

    # For the run

    def put(self, batch: Batch) -> None:
        with self._mutex:
            self._queue(batch)

    def take_back(self) -> list[Event]:
        """What the pool has not taken; from now on it takes nothing."""
        with self._mutex:
            self._ended = True
            back = [*self._buffer, *self._alone]
            self._buffer.clear()
            self._alone.clear()
            self.waits = 0
        return [NotStarted(batch) for batch in back]

    def wake(self) -> None:
        if not self._signalled:
            self._signalled = True
            self._news.put(None)

    def sleep(self, until: float) -> None:
        """Wait for something to be told, but not past `until` nor a `wake`."""
        try:
            self._news.get(timeout=None if until == math.inf else max(0.0, until - now()))
        except queue.Empty:
            pass

    def collect(self) -> list[Event]:
        self._signalled = False
        return [self.events.popleft() for _ in range(len(self.events))]

    # For the pool: a source

    def waiting(self) -> int:
        return min(self.waits, self._room())

    def _room(self) -> int:
        if self._ended:
            return 0
        if self._most is None:
            return _HOLD_MOST
        if self._one_each:
            return _HOLD_MOST if self.held.batches < self._most else 0
        return max(0, self._most - self.held.count)

    def call(self) -> Call:
        return self._call

    def due(self) -> float:
        return 0.0 if self.waiting() else math.inf

    def crowd(self, within: float) -> int:
        return self.waiting()

    def alone_waiting(self) -> bool:
        return bool(self._alone) and self._room() > 0

    def take_alone(self) -> Batch | None:
        with self._mutex:
            batch = self._alone.popleft() if self._alone and self._room() > 0 else None
        return None if batch is None else self._handed_over(batch)

    def take(self, count: int) -> Batch | None:
        count = min(count, self._room())
        with self._mutex:
            if not self._buffer or count <= 0:
                return None
            batch = self._buffer.popleft()
            if len(batch.items) > count:
                self._buffer.appendleft(batch.part(count, len(batch.items)))
                batch = batch.part(0, count)
            self.waits -= len(batch.items)
        return self._handed_over(batch)

    def _handed_over(self, batch: Batch) -> Batch:
        batch = batch._replace(first=batch.first + self._before, call=self._call)
        self.held.add(batch.first, batch)
        return batch

    # What the pool says

    def tell(self, event: Event) -> None:
        """Something has happened to tasks of the run."""
        before = self._before
        if isinstance(event, BatchDone):
            ids = event.ids
            for first, count in [(event.first, len(event.results))] if ids is None else neighbours(ids):
                self.held.take(first, first + count)
            notes = {number - before: one for number, one in event.metadata.items()}
            own = None if ids is None else [number - before for number in ids]
            event = event._replace(first=event.first - before, ids=own, metadata=notes, call=None)
        elif isinstance(event, (AttemptDone, NotStarted)):
            self.held.take(event.batch.first, event.batch.first + len(event.batch.items))
            event = event._replace(batch=self._renumbered(event.batch))
            if isinstance(event, NotStarted) and self._put_back(event.batch):
                return
            if isinstance(event, AttemptDone) and event.failure is not None:
                event = event._replace(failure=_named(event.failure, event.task_id))
        self.events.append(event)
        self.wake()

    def _put_back(self, batch: Batch) -> bool:
        """Have the pool take it again; False if it is to take nothing more, or could begin it no more."""
        with self._mutex:
            if goes := not self._ended and now() < batch.stop_at:
                self._queue(batch)
            return goes

    def _queue(self, batch: Batch) -> None:
        """Under _mutex. What came before goes before: what comes after it may be long."""
        insort(self._alone if batch.alone else self._buffer, batch, key=_first)
        self.waits += 0 if batch.alone else len(batch.items)

    def _renumbered(self, batch: Batch) -> Batch:
        return batch._replace(first=batch.first - self._before, call=None)

    def fail(self, error: RunError) -> None:
        """The pool cannot go on."""
        if not self._failed:
            self._failed = True
            self.events.append(PoolFailed(error))
            self.wake()

    def end_held(self, pool: Pool) -> None:
        """End what the pool has of the run, or take it back."""
        for number in self.held.ids():
            pool.ask_to_stop(number)
            pool.kill(number)

    def give_up(self) -> list[Event]:
        """The ends of what the pool has, which it will not tell any more."""
        at, found = now(), list[Event]()
        for piece in self.held.take_all():
            for nth in range(piece.low, piece.high):
                one = self._renumbered(piece.batch.part(nth, nth + 1))
                found.append(AttemptDone(one, at, at, None, Failure("", "", status=CANCELLED), None, 0))
        return found


def _named(failure: Failure, task_id: int) -> Failure:
    """A failure in whose words the task has the number that the run knows."""
    if not isinstance(failure.exception, TaskTimeout):
        return failure
    late = TaskTimeout(task_id, failure.exception.timeout)
    return failure._replace(message=str(late), exception=late) if failure.status == TIMEOUT else failure


class Lent:
    """The workers of a pool, as the pool of a run: what the run's driver feeds is taken by the pool's driver, and what
    that hears of it comes back. Closing it closes nothing but the loan.

    Owned by the run's thread. Waits: `sleep`.
    _out: tasks that were handed over, and whose ends have not been collected.
    """

    def __init__(self, scheduler: Scheduler, setup: Setup, workers: int, named: Name) -> None:
        pool = scheduler.pool
        assert pool is not None
        self._scheduler, self._setup, self._size = scheduler, setup, workers
        self.place, self.apart, self.pids, self.complaints = pool.place, pool.apart, pool.pids, Complaints()
        most = workers if workers < scheduler.size else None
        self.tasks = Handover(setup, named, pool.pids, most, one_each=scheduler.shape.kind == "process")
        self._stopping = self._closed = self._full = False
        self._out, self._hold, self._weight, self._times = 0, 2 * workers, 1.0, Batching()
        self._slow = setup.recorded  # no task is handed over that no worker is free for

    def prepare(self, workers: int) -> bool:
        return True

    def feed(self, source: base.Source) -> None:
        tasks, driver, fed, hold = self.tasks, self._scheduler.driver, False, self._to_hold()
        while not self._stopping and (room := hold - self._out) > 0:
            batch = source.take_alone() or source.take(min(room, max(self._size, _FEED_MOST)))
            if batch is None:
                break
            tasks.put(batch)
            self._out += len(batch.items)
            fed = True
        self._full = self._out >= hold
        if fed and driver is not None and driver.hungry:
            driver.wake()

    def _to_hold(self) -> int:
        """How many tasks are to be out: few at first, so that a lazy iterable stays lazy; more once they are known to
        be short, so that the pool can deal them out by the batch."""
        size, took = self._size, self._times.per_task
        if self._slow:
            return size
        if self._full and took:
            wanted = max(2 * size, min(_HOLD_MOST, int(size * _AHEAD / took)))
            self._hold = min(_GROWTH * self._hold, wanted)
        return min(self._hold, max(size, int(_HOLD_BYTES / self._weight)))

    @property
    def roomy(self) -> bool:
        return not self._full

    @property
    def due(self) -> float:
        return 0.0 if self.tasks.events else math.inf

    def sleep(self, until: float) -> None:
        self.tasks.sleep(until)
        if self.tasks.waits > self._size:
            sleep(_BREATH)

    def collect(self) -> list[Event]:
        events = self.tasks.collect()
        for event in events:
            if isinstance(event, BatchDone):
                self._out -= len(event.results)
                self._times.measure(event)
                self._weigh(event)
            elif isinstance(event, (AttemptDone, NotStarted)):
                self._out -= len(event.batch.items)
        return events

    def _weigh(self, event: BatchDone) -> None:
        self._weight = max(catch(weight_of, event.results[-1])[0] or 1.0, _FORGETS * self._weight)
        self._slow = self._setup.recorded and event.ends[-1] - event.starts[-1] >= ONE_BY_ONE_FROM

    def wake(self) -> None:
        self.tasks.wake()

    hurry = wake

    def stop(self) -> list[Event]:
        self._stopping = True
        scheduler, tasks, back = self._scheduler, self.tasks, self.tasks.take_back()
        pool = scheduler.pool
        assert pool is not None
        scheduler.control.in_turn(lambda: tasks.end_held(pool))
        until, events = now() + _STOP_MOST, list[Event]()
        while tasks.held.count and now() < until and not scheduler.over.is_set():
            tasks.sleep(min(until, now() + 0.1))  # a pool that is over says nothing more
            events += self.collect()
        self.close()
        events += self.collect()
        return [*back, *(event for event in events if not isinstance(event, PoolFailed)), *tasks.give_up()]

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._scheduler.control.in_turn(self._return)

    def _return(self) -> None:
        scheduler = self._scheduler
        scheduler.lendings.remove(self.tasks)
        if scheduler.driver is not None and not scheduler.lendings:
            scheduler.driver.draw_from(scheduler.backlog)

    def offered_end(self) -> None:
        """No task is offered."""

    # What a run never asks of its pool

    def offer(self, batch: Batch, done: Done) -> bool:
        return False

    def pause(self) -> None:
        raise NotImplementedError

    def resume(self) -> None:
        raise NotImplementedError

    def resize(self, slots: Sequence[int]) -> None:
        raise NotImplementedError

    def retire(self, idle: float) -> float:
        raise NotImplementedError

    def runs(self, task_id: int) -> tuple[float, int] | None:
        raise NotImplementedError

    def ask_to_stop(self, task_id: int) -> bool:
        raise NotImplementedError

    def withdraw(self, task_id: int) -> None:
        raise NotImplementedError

    def kill(self, task_id: int) -> None:
        raise NotImplementedError
