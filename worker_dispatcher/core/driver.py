"""The driver: moves tasks from a source through a pool to a sink, in whichever thread calls `run`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from worker_dispatcher.clock import LONGEST_WAIT, now
from worker_dispatcher.pools import base
from worker_dispatcher.pools.base import AttemptDone, Batch, BatchDone, Event, NotStarted, Pool, PoolFailed
from worker_dispatcher.records import CANCELLED
from worker_dispatcher.signals import held

__all__ = ["OVER", "Alarm", "Driver", "Retries", "Sink", "Source", "Timer"]

OVER = -1.0  # what a turn gives where `run` is to return


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

    It works in turns, in the thread that calls `run`, and sleeps in between. Owned by that thread: all that pool,
    source and sink are asked. Shared: _reasons and _asked, each a single step. From handlers of signals, and from
    other threads: `stop`, `ask` and `wake` only.
    longest: seconds that `run` may sleep.
    """

    def __init__(
        self,
        pool: Pool,
        source: Source,
        sink: Sink,
        retries: Retries,
        timers: Sequence[Timer] = (),
        *,
        longest: float = LONGEST_WAIT,
    ) -> None:
        self._pool, self._source, self._sink, self._retries, self._timers = pool, source, sink, retries, timers
        self._longest = longest
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

    def wake(self) -> None:
        """Look again whether there is something to do. From any thread or signal handler."""
        self._pool.wake()

    def run(self, going: Callable[[], bool]) -> None:
        """Drive until `going` is false or `stop` was called. going: asked each time the pool has been fed."""
        self._going = going
        while (due := self._turn()) >= 0:
            self._pool.sleep(due)

    def _turn(self) -> float:
        """Take what has happened, do what is due, and feed the pool. Until when nothing is to do (monotonic), negative
        where `run` is to return."""
        pool, source, timers = self._pool, self._source, self._timers
        with held():  # whatever a handler raises: what has ended has ended
            for event in pool.collect():
                self.take(event)
        for timer in timers:
            if timer.due <= now():
                self._mind(timer.look())
        while self._asked:
            self._asked.popleft()()
        if self._reasons:
            return OVER
        self._feed()
        if not self._going():
            return OVER
        due = min(source.next_due(), pool.due, now() + self._longest)
        for timer in timers:
            due = min(due, timer.due)
        return due

    def _feed(self) -> None:
        self._source.release()
        self._pool.feed(self._source)

    def end(self) -> None:
        """After `stop`: end what runs. Each task that the pool has, or that waits for another attempt, ends in the sink
        or goes back to the source."""
        for event in self._pool.stop():
            self.take(event)
        for task_id, event in list(self._waiting.items()):
            self._mind(self._sink.ended(event, self._tried[task_id]))
        self._waiting.clear()
        self._tried.clear()

    def close(self) -> None:
        """Close the pool; returns when its workers are gone. Idempotent."""
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
