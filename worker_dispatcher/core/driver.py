"""The driver: moves tasks from a source through a pool to a sink, in whichever thread calls `run`."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from worker_dispatcher.clock import LONGEST_WAIT, now
from worker_dispatcher.pools import base
from worker_dispatcher.pools.base import AttemptDone, Batch, BatchDone, Done, Event, NotStarted, Pool, PoolFailed
from worker_dispatcher.records import CANCELLED

__all__ = ["Alarm", "Driver", "Retries", "Sink", "Source", "Timer"]

_OVER = -1.0


T = TypeVar("T")


class Source(base.Source, Protocol):
    """What a driver asks of a source, beside what a pool does. Used in the driver's thread only."""

    def release(self) -> None:
        """Let go of what may run by now. Called before each time that the pool is fed."""

    def next_due(self) -> float:
        """When `release` has something to do next (monotonic), or infinite."""

    def put_back(self, batch: Batch) -> None:
        """To be run again as soon as there is room."""

    def put_back_at(self, due: float, batch: Batch) -> None:
        """To be run again at a moment (monotonic)."""


class Sink(Protocol):
    """Where ends go: each task's once. Each method returns why the driver must stop, or None. Called in the driver's
    thread; raises nothing."""

    def finished(self, event: BatchDone, attempts: dict[int, int]) -> str | None:
        """Tasks have ended ok. attempts: how many each took, by id, where more than one."""

    def ended(self, event: AttemptDone, attempts: int) -> str | None:
        """A task has ended for good. attempts: how many have ended; one that was cancelled does not count."""

    def broken(self, error: BaseException) -> str | None:
        """The pool cannot go on."""


class Retries(Protocol):
    """Whether a failed task is tried again. Called in the driver's thread; raises nothing."""

    def wait(self, event: AttemptDone, attempts: int) -> float | None:
        """Seconds until its next attempt, None if there is none. attempts: how many have failed."""


class Timer(Protocol):
    """What wants to be looked at by the clock. Used in the driver's thread only."""

    @property
    def due(self) -> float:
        """When to look next (monotonic), or infinite."""

    def look(self) -> str | None:
        """It is due; returns why the driver must stop, or None."""


class Alarm:
    """A timer that stops the driver. due: when (monotonic)."""

    def __init__(self, due: float, why: str) -> None:
        self.due, self._why = due, why

    def look(self) -> str:
        return self._why


class Driver:
    """Feeds a pool from a source, tries failed tasks again, and tells a sink how each has ended.

    It works in turns, one at a time: in the thread that calls `run`, which sleeps in between, and in those that call
    `nudge`. Owned by the turn, under _turning: all that pool, source and sink are asked. Shared: _reasons, _asked,
    _again, each a single step. From handlers of signals: `stop`, `ask` and `wake` only.
    hungry: a worker would begin another task at once. What is added to the source while it is false is found by a turn
    that comes anyway.
    wakes_at: until when `run` sleeps (monotonic). What is added to the source for later is found by that turn.
    after: called when a turn is over, by the thread that has made it. longest: seconds that `run` may sleep.
    """

    def __init__(
        self,
        pool: Pool,
        source: Source,
        sink: Sink,
        retries: Retries,
        timers: Sequence[Timer] = (),
        *,
        after: Callable[[], None] = lambda: None,
        longest: float = LONGEST_WAIT,
    ) -> None:
        self._pool, self._source, self._sink, self._retries, self._timers = pool, source, sink, retries, timers
        self._after, self._longest, self._apart = after, longest, pool.apart
        self._turning = threading.Lock()
        self._turner = 0  # the thread that is in a turn
        self._runner = 0  # the one that is in `run`
        self._again = self.hungry = self._closed = False
        self.wakes_at = math.inf
        self._going: Callable[[], bool] = lambda: True
        self._tried: dict[int, int] = {}  # failed attempts of the tasks in _waiting
        self._waiting: dict[int, AttemptDone] = {}  # the last attempt of tasks that will have, or have, another
        self._reasons: list[str] = []  # to append is one step for all threads
        self._asked: deque[Callable[[], object]] = deque()  # so is to append here, and to take away

    @property
    def stopped(self) -> str | None:
        """The first reason that `stop` was given, or None."""
        return self._reasons[0] if self._reasons else None

    def stop(self, why: str, *, hurry: bool = False) -> None:
        """Have `run` return as soon as possible. hurry: `close` is not to wait for worker.exit. From any thread or
        signal handler."""
        self._reasons.append(why)
        if hurry:
            self._pool.hurry()
        else:
            self._pool.wake()

    def ask(self, action: Callable[[], object]) -> None:
        """Have `run` call this between two waits, such as what a pool can do. From any thread or signal handler."""
        self._asked.append(action)
        self._pool.wake()

    @property
    def is_here(self) -> bool:
        """The caller is in a turn, or in `run`."""
        return threading.get_ident() in (self._turner, self._runner)

    def wake(self) -> None:
        """Look again whether there is something to do. From any thread or signal handler."""
        self._pool.wake()

    def run(self, going: Callable[[], bool]) -> None:
        """Drive until `going` is false or `stop` was called. going: asked each time the pool has been fed."""
        self._going, sleep, self._runner = going, self._pool.sleep, threading.get_ident()
        while True:
            with self._turning:
                self._again = False
                self._turner = threading.get_ident()
                self.wakes_at = math.inf  # what comes from now on need not have been seen
                due = self.wakes_at = self._turn()
                self._turner = 0
            self._after()
            if due < 0:
                self._runner = 0  # another thread may get its number
                return
            if not self._again:
                sleep(due)
                while self._apart and self._hear_end() and not self._again:
                    sleep(due)

    def _hear_end(self) -> bool:
        """Tell of a task that was offered and has ended, if nothing else has happened: then no turn is needed."""
        with self._turning:
            ended = None if self._closed else self._pool.offered_end()
        if ended is None:
            return False
        done, told = ended
        done(*told)
        return True

    def draw_from(self, source: Source) -> None:
        """From now on, in a turn, this is the source: it has all that the one before had."""
        self._source = source

    def call(self, action: Callable[[], T]) -> T | None:
        """What an action gives that needs the pool for itself: it is called here, between two turns, or in this
        thread's own. None, and it is not called, once the driver is closed. From any thread; not from handlers of
        signals."""
        if self._turner == threading.get_ident():
            self._again = True
            return action()
        with self._turning:
            if self._closed:
                return None
            self._turner = threading.get_ident()
            try:
                found = action()
            finally:
                self._turner = 0
        self._pool.wake()
        self._after()
        return found

    def nudge(self) -> None:
        """There is something to do: do it here and now, or have it done by the thread that is doing such. From any
        thread, while another one is in `run`; not from handlers of signals."""
        self._again = True
        # Whoever finds the lock taken has said so before: who has it looks at that once it has let it go.
        while self._again and self._turning.acquire(blocking=False):
            try:
                self._again = False
                self._turner = threading.get_ident()
                due = self._turn()
            finally:
                self._turner = 0
                self._turning.release()
            if due < self.wakes_at:
                self._pool.wake()
            self._after()

    def offer(self, batch: Batch, done: Done) -> bool:
        """Give one task to an idle worker, past the source; see `Pool.offer`. From any thread, while another one is in
        `run`; not from handlers of signals. Call `freed` once it has ended."""
        pool = self._pool
        if not pool.apart:
            taken = pool.offer(batch, done)
        elif self._turning.acquire(blocking=False):
            try:
                self._turner = threading.get_ident()  # what it packs may call
                taken = pool.offer(batch, done)
            finally:
                self._turner = 0
                self._turning.release()
            if self._again:
                self.nudge()
        else:
            return False
        if taken and batch.timeout is not None and pool.due < self.wakes_at:
            pool.wake()
        return taken

    def freed(self) -> None:
        """A task that was offered has ended: its worker may take another."""
        self.hungry = True
        if self._source.waiting():
            self.nudge()

    def _turn(self) -> float:
        """Take what has happened, do what is due, and feed the pool. Until when nothing is to do (monotonic), negative
        where `run` is to return."""
        pool, source, timers = self._pool, self._source, self._timers
        if self._closed:
            return _OVER
        for event in pool.collect():
            self.take(event)
        for timer in timers:
            if timer.due <= now():
                self._mind(timer.look())
        while self._asked:
            self._asked.popleft()()
        if self._reasons:
            return _OVER
        source.release()
        self.hungry = True  # what comes from now on need not have been seen
        pool.feed(source)
        if not pool.roomy:
            self.hungry = False
            # A task that was offered may have ended between the two lines.
            if pool.roomy:
                self.hungry = self._again = True
        if not self._going():
            return _OVER
        due = min(source.next_due(), pool.due, now() + self._longest)
        for timer in timers:
            due = min(due, timer.due)
        return due

    def end(self) -> None:
        """After `stop`: end what runs. Each task that the pool has, or that waits for another attempt, ends in the sink
        or goes back to the source."""
        with self._turning:
            for event in self._pool.stop():
                self.take(event)
            for task_id, event in list(self._waiting.items()):
                self._mind(self._sink.ended(event, self._tried[task_id]))
            self._waiting.clear()
            self._tried.clear()

    def close(self) -> None:
        """Close the pool; returns when its workers are gone. Idempotent."""
        with self._turning:
            self._closed = True
        self._pool.close()

    def _mind(self, why: str | None) -> None:
        if why is not None:
            self._reasons.append(why)

    def take(self, event: Event) -> None:
        """Something has happened to tasks, here or elsewhere: who says it from elsewhere `ask`s for the call."""
        match event:
            case BatchDone():
                self._finished(event)
            case AttemptDone():
                self._ended(event)
            case NotStarted():
                self._source.put_back(event.batch)
            case PoolFailed():
                self._mind(self._sink.broken(event.error))

    def _finished(self, event: BatchDone) -> None:
        attempts: dict[int, int] = {}
        if self._waiting:
            for task_id in self._waiting.keys() & event.task_ids:
                del self._waiting[task_id]
                attempts[task_id] = self._tried.pop(task_id) + 1
        self._mind(self._sink.finished(event, attempts))

    def _ended(self, event: AttemptDone) -> None:
        task_id, failure = event.task_id, event.failure
        cancelled = failure is not None and failure.status == CANCELLED
        tried = self._tried.pop(task_id, 0) + (not cancelled)
        self._waiting.pop(task_id, None)
        if failure is not None and not self._reasons and (wait := self._retries.wait(event, tried)) is not None:
            self._tried[task_id], self._waiting[task_id] = tried, event
            self._source.put_back_at(now() + wait, event.batch.again(tried + 1))
        else:
            self._mind(self._sink.ended(event, tried))
