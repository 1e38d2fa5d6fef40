"""The inside of a WorkerPool: the books of its tasks, and the thread that drives its workers."""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from typing import Any

from worker_dispatcher.clock import Anchor, now
from worker_dispatcher.core.driver import Timer
from worker_dispatcher.core.shared_driver import SharedDriver
from worker_dispatcher.errors import PoolClosed, RunError
from worker_dispatcher.execute import catch
from worker_dispatcher.osproc.system import start_thread
from worker_dispatcher.pools.base import AttemptDone, BatchDone, Pool
from worker_dispatcher.pools.runners.task_queue import forked
from worker_dispatcher.records import CANCELLED as STATUS_CANCELLED
from worker_dispatcher.workpool.backlog import Backlog
from worker_dispatcher.workpool.callbacks import Callbacks
from worker_dispatcher.workpool.calling import pool_here
from worker_dispatcher.workpool.control import Control
from worker_dispatcher.workpool.future import (
    CANCELLED,
    ENDED,
    EXPIRED,
    FAILED,
    GIVEN,
    STATES,
    SUCCEEDED,
    TaskFuture,
)
from worker_dispatcher.workpool.idle_timer import IdleTimer
from worker_dispatcher.workpool.intake import Intake
from worker_dispatcher.workpool.lending import LENT, Lendings
from worker_dispatcher.workpool.lifetime import program_ends
from worker_dispatcher.workpool.outcome import call_back, late, verdict
from worker_dispatcher.workpool.overflow import Overflow
from worker_dispatcher.workpool.progress import EndsShown
from worker_dispatcher.workpool.settings import Settings
from worker_dispatcher.workpool.shapes import Shape

_numbers = itertools.count(1)

End = tuple[TaskFuture, str, Any, BaseException | None]


class Scheduler:
    """Takes tasks, has them run, and ends their futures. Everything that a WorkerPool is but its public face, which it
    does not know: a pool that nobody holds any more finishes what it has.

    Shared, under mutex: live, counts, submitted, closed. Owned by the driver's turn: given, left, what the backlog has.
    live: tasks that have not ended, by id. given: those that the workers have, by number; left: those of them that
    have ended for everybody else. changed: on mutex; told when tasks have ended, if anybody waits.
    """

    def __init__(
        self, shape: Shape, size: int, settings: Settings, capacity: int | None, on_full: str, name: str
    ) -> None:
        self.shape, self.size, self.settings = shape, size, settings
        self.capacity, self.on_full, self.name = capacity, on_full, name
        self.number = os.getpid() << 32 | next(_numbers)
        self.anchor = Anchor.take()
        self.mutex = threading.RLock()
        self.changed = threading.Condition(self.mutex)
        self.waiters = 0
        self.live: dict[Any, TaskFuture] = {}
        self.given: dict[int, TaskFuture] = {}
        self.left: set[int] = set()
        self.counts = dict.fromkeys(STATES, 0)
        self.submitted = self.rejected = 0
        self.closed = False
        self.error: BaseException | None = None  # why the pool cannot go on
        self.overflow: Overflow | None = None
        self.callbacks = Callbacks(name)
        self.control, self.intake = Control(self), Intake(self)
        self.over = threading.Event()  # the workers are gone
        self.ends: deque[list[End]] = deque()  # told to nobody yet
        self._telling: list[int] = []  # threads that call what futures were given as callbacks
        self._forked = forked()
        self._blocked = 0
        self.backlog = Backlog(self.given, self.left, self._expired)
        self.timers: list[Timer] = []
        self.lendings = Lendings(self.backlog)
        self.pool: Pool | None = None
        self.driver: SharedDriver | None = None

    def done(self, number: int, result: Any, started: float, ended: float, worker: int) -> None:
        """A task that was offered has ended. Called by the thread that hears of it."""
        future = self.given.pop(number)  # it has no group, else it would not have been offered
        if future.finish():
            future.started, future.ended, future.worker, future.attempts = started, ended, worker, 1
            self.settle([(future, SUCCEEDED, result, None)])
        else:
            self.left.discard(number)
        if self.driver is not None:
            self.driver.freed()

    def check_ours(self) -> None:
        """Raises PoolClosed in a fork of the process that has made the pool. Asked before any lock is taken: there,
        one may be held for ever by a thread that is not there."""
        if self._forked[0]:
            raise PoolClosed("this pool belongs to the process that has made it; make one here")

    def check_open(self) -> None:
        """Raises PoolClosed, or what has broken the pool."""
        self.check_ours()
        self.check_takes()

    def check_takes(self) -> None:
        """`check_open`, where it is known whose the pool is."""
        if program_ends.is_set():
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        if self.error is not None:
            raise self._broken_error() from self.error
        if self.closed:
            # The words that concurrent.futures has for it.
            raise PoolClosed("cannot schedule new futures after shutdown")

    def _broken_error(self) -> BrokenExecutor:
        return self.shape.broken(f"a worker could not begin, and the pool is not usable any more: {self.error!r}")

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around a wait on `changed`."""
        self.waiters += 1
        try:
            yield
        finally:
            self.waiters -= 1

    # Driving

    def open(self) -> None:
        """Start the driver: the pool has its first task."""
        pool, overflow = self.shape.open_pool(self.shape.slots_of(self.size), self.lendings.named), self.overflow
        timers: list[Timer] = [] if overflow is None else [overflow]
        if self.shape.idle is not None:
            timers.append(IdleTimer(pool, self.shape.idle))
        self.timers += timers
        driver = SharedDriver(pool, self.backlog, self, self, self.timers, self._tell)
        self.backlog.away, self.backlog.roomy = getattr(pool, "left_behind", ()), lambda: pool.roomy
        if overflow is not None:
            self.backlog.away = overflow.held_beside(self.backlog.away)
        if hasattr(pool, "told"):
            pool.told = driver.nudge
        try:
            start_thread(threading.Thread(target=self._live, args=(driver,), name=f"{self.name}-driver", daemon=True))
        except BaseException:
            pool.close()  # the next task tries again
            for timer in timers:
                self.timers.remove(timer)
            raise
        self.pool, self.driver = pool, driver

    def _going(self) -> bool:
        if self.closed and self.lendings:
            self.lendings.fail(RunError("worker.pool was shut down while the run used it"))
        return not self.closed or bool(self.live or self.lendings)

    def _live(self, driver: SharedDriver) -> None:
        """The driver's thread."""
        try:
            driver.run(self._going)
            if driver.stopped:
                self.lendings.fail(RunError("worker.pool was shut down while the run used it"))
                driver.end()
        except BaseException as error:
            self.error = self.error or error
            raise
        finally:
            with self.mutex:
                self.closed = True
            self.settle([*self._claim_all()])
            self._tell()
            if self.overflow is not None:
                self.overflow.close()
            driver.close()
            if self.shape.beginning is not None:
                self.shape.beginning.forget()
            self.callbacks.close()
            for shown in [timer for timer in self.timers if isinstance(timer, EndsShown)]:
                shown.close()
            self.over.set()
            with self.changed:
                self.changed.notify_all()

    def _claim_all(self) -> Iterator[End]:
        """The end of each task that is left when the pool has stopped."""
        with self.mutex:
            futures = list(self.live.values())
        for future in futures:
            if future.finish():
                if self.error is not None:
                    error = self._broken_error()
                    error.__cause__ = self.error
                    yield future, FAILED, None, error
                else:
                    yield future, CANCELLED, None, None

    # What the driver says: the sink, and the retries

    def finished(self, event: BatchDone, attempts: dict[int, int]) -> None:
        if event.first >= LENT:
            self.lendings.tell(event.first, event)
            return
        returned, ends = self.backlog.returned, list[End]()
        starts, times, numbers = event.starts, event.ends, event.worker
        for at, number in enumerate(event.task_ids):
            future = returned(number)
            if future is None or not future.finish():
                continue
            future.started, future.ended = starts[at], times[at]
            future.attempts = attempts.get(number, 1) if attempts else 1
            future.worker = numbers if isinstance(numbers, int) else numbers[at]
            ends.append((future, SUCCEEDED, event.results[at], None))
        self.ends.append(ends)

    def ended(self, event: AttemptDone, attempts: int) -> None:
        if (number := event.task_id) >= LENT:
            self.lendings.tell(number, event)
            return
        if (future := self.backlog.returned(number)) is None or not future.finish():
            return
        future.started, future.ended, future.worker = event.started, event.ended, event.worker
        future.attempts = max(attempts, 1)
        if event.failure is None:
            self.ends.append([(future, SUCCEEDED, event.result, None)])
        else:
            self.ends.append([(future, *verdict(future, event, self.shape.apart))])

    def broken(self, error: BaseException) -> str:
        self.error = error
        failed = RunError(f"worker.pool cannot go on: {error}")
        failed.__cause__ = error
        self.lendings.fail(failed)
        return "broken"

    def wait(self, event: AttemptDone, attempts: int) -> float | None:
        """Seconds until the next attempt of a task that has failed, None if there is none."""
        future = self.given.get(event.task_id)
        if future is None or future.phase == ENDED or attempts > future.settings.retries or event.failure is None:
            return None
        if event.failure.status == STATUS_CANCELLED:
            return None
        _, _, error = verdict(future, event, self.shape.apart)
        assert error is not None
        again, raised = catch(future.settings.retries_on, error)
        wait, late = catch(lambda: float(future.settings.backoff(attempts))) if again else (0.0, None)
        if (raised := raised or late) is not None and event.failure.exception is not None:
            event.failure.exception.add_note(f"  it was not tried again: retry_on or backoff raised {raised!r}")
        if not again or raised is not None or not wait >= 0 or now() + wait >= future.stop_at:
            return None
        return float(wait)

    def _expired(self, future: TaskFuture) -> None:
        """The deadline of a task has passed. Called in the driver's turn."""
        given = future.phase == GIVEN
        if given:
            self.left.add(future.number)  # before its end: see `Control`
        begun = self.pool.runs(future.number) if given and self.pool is not None else None
        if not future.finish():
            self.left.discard(future.number)
            return
        future.note_begun(begun)
        if given and self.pool is not None:
            self.pool.kill(future.number)
        elif self.overflow is not None:
            self.overflow.leave(future)
        self.ends.append([(future, EXPIRED, None, late(future))])

    # Ends

    def _tell(self) -> None:
        """After a turn: tell what has ended in it."""
        if self.waiters and self.backlog.paused:  # for what runs to end: it may also have come back
            with self.changed:
                self.changed.notify_all()
        while self.ends:
            try:
                ends = self.ends.popleft()
            except IndexError:  # another thread tells it
                return
            self.settle(ends)

    def settle(self, ends: Sequence[End]) -> None:
        """Tell the ends of tasks."""
        self.call_callbacks(self.book(ends))

    def book(self, ends: Sequence[End]) -> list[TaskFuture]:
        """Books first, so that whoever hears of an end finds them right; then all futures, then callbacks: one that
        blocks must not keep the result of another task back. Returns those that have callbacks in the caller's thread.
        """
        live, counts = self.live, self.counts
        with self.mutex:
            for future, state, _, _ in ends:
                future.state = state
                live.pop(future.known_as, None)
                counts[state] += 1
            if self.overflow is not None:
                self.overflow.forget(future for future, *_ in ends)
            if self.waiters or (self.closed and not live):
                self.changed.notify_all()
            last = self.closed and not live
        calls: list[TaskFuture] = []
        told: list[TaskFuture] = []
        for future, state, value, error in ends:
            if future.settle(state, value, error):
                calls.append(future)
            if future.group is not None:
                future.group.ended(future)
            if (settings := future.settings).on_done is not None or settings.hooks is not None:
                told.append(future)
        for future in told:
            call_back(self.callbacks, future)
        if last and self.driver is not None:
            self.driver.wake()
        return calls

    def call_callbacks(self, calls: Sequence[TaskFuture]) -> None:
        """Those that the futures of tasks which have ended were given."""
        if calls:
            self._telling.append(threading.get_ident())
            try:
                for future in calls:
                    future.call_callbacks()
            finally:
                self._telling.remove(threading.get_ident())

    # Waits inside

    def is_inside(self) -> bool:
        """The caller is a task of this pool."""
        return pool_here() == self.number

    @property
    def in_callback(self) -> bool:
        """The caller is a callback of this pool."""
        return self.callbacks.is_here or threading.get_ident() in self._telling or self.drives_here()

    def drives_here(self) -> bool:
        """The caller is what the pool waits for before it does anything else."""
        return self.driver is not None and self.driver.is_here

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """While a task of the pool waits for another one, its worker does not count."""
        if self.shape.kind == "coroutine":
            raise RuntimeError(
                "a coroutine that waits so stops the loop, and all others: await asyncio.wrap_future(...)"
            )
        self._stand_in(1)
        try:
            yield
        finally:
            self._stand_in(-1)

    def _stand_in(self, more: int) -> None:
        def resize() -> None:
            self._blocked += more
            self.fit()

        assert self.driver is not None
        self.driver.call(resize)

    @property
    def places(self) -> int:
        """How many tasks may be in workers' hands at once, those that wait for another one included."""
        return self.size + self._blocked

    def fit(self) -> None:
        """Have as many workers as there are to be. Called in the driver's turn."""
        assert self.pool is not None
        self.pool.resize(self.shape.slots_of(self.places))

    def show_ends(self, total: int, *, whole: bool) -> EndsShown:
        """What shows the ends of some tasks while they run: see EndsShown."""
        shown = EndsShown(self.timers, total, whole=whole)
        if self.driver is not None:
            self.driver.wake()
        return shown

    # Lifetime

    @property
    def is_ours(self) -> bool:
        """It belongs to this process, and not to one that this is a fork of."""
        return not self._forked[0]

    def let_go(self) -> None:
        """Take nothing more, and end when all is done. Waits for nothing: a garbage collector may call it anywhere."""
        self.closed = True
        self.backlog.paused = False
        if self.driver is not None and self.pool is not None and self.is_ours:
            self.driver.ask(self.pool.resume)
