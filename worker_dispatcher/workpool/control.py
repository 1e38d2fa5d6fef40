"""What may be done to a pool while it works: end tasks and take them out, pause, resize, wait, and shut it down."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from worker_dispatcher.clock import now
from worker_dispatcher.errors import WorkerWarning
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.signals import held, wait_on
from worker_dispatcher.workpool.future import (
    CANCELLED,
    DELAYED,
    ENDED,
    GIVEN,
    QUEUED,
    RESCUED,
    Task,
    TaskFuture,
)
from worker_dispatcher.workpool.outcome import task_of

if TYPE_CHECKING:
    from worker_dispatcher.workpool.scheduler import Scheduler


_GONE_MOST = 1000  # ended tasks that may wait for the driver to forget them
_AFTER_KILL = 5.0  # seconds that a shutdown whose time is over gives the workers to be gone


class PoolStats(NamedTuple):
    """What a pool has done and has to do. At every quiet moment `submitted` is the sum of the six ends (succeeded to
    rescued) and of the tasks that have not ended (delayed, queued, running, away).

    rejected: by a full pool, and not in submitted. delayed: also those that wait for another attempt. away: in the
    overflow. abandoned: tasks that have ended for everybody, and still hold a worker. hook_errors: callbacks that
    raised.
    """

    submitted: int
    rejected: int
    succeeded: int
    failed: int
    timeout: int
    expired: int
    cancelled: int
    rescued: int
    delayed: int
    queued: int
    running: int
    away: int
    abandoned: int
    workers: int
    hook_errors: int


class Control:
    """The verbs of a pool, over its scheduler. Thread-safe; holds nothing of its own."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def in_turn(self, action: Callable[[], Any]) -> Any:
        """What an action gives that has the pool for itself; None where there are no workers (any more)."""
        driver = self._scheduler.driver
        if driver is None or not self._scheduler.is_ours:
            return None
        with held():
            return driver.call(action)

    def has_begun(self, future: TaskFuture) -> bool:
        """A worker runs a task that the workers have."""
        pool = self._scheduler.pool
        return pool is not None and self.in_turn(lambda: pool.runs(future.number)) is not None

    # Ending tasks

    def withdraw(self, future: TaskFuture, state: str = CANCELLED) -> bool:
        """End a task that the workers do not have; False if they do, or it has ended."""
        scheduler = self._scheduler
        if not scheduler.is_ours:
            return False
        with held():
            if not future.withdraw() and (scheduler.overflow is None or not scheduler.overflow.withdraw(future)):
                return False
            scheduler.backlog.forget(future)
            calls = scheduler.book([(future, state, None, None)])
        scheduler.call_callbacks(calls)
        if len(scheduler.backlog.gone) > _GONE_MOST and scheduler.driver is not None:
            scheduler.driver.nudge()
        return True

    def cancel(self, future: TaskFuture, *, kill: bool) -> bool:
        """End a task wherever it is; False if it has ended."""
        self._scheduler.check_ours()
        if self.withdraw(future):
            return True
        if future.phase == ENDED:
            return False
        return bool(self.in_turn(lambda: self._end_given(future, kill=kill)))

    def drop(self, future: TaskFuture) -> bool:
        """End a task that has not begun, also where a worker has it already; False if it has, or has ended."""
        return self._take_out(future, CANCELLED, running=False)

    def cancel_soon(self, future: TaskFuture, *, kill: bool) -> None:
        """`cancel`, by whoever has another pool for itself, and may not wait for this one."""
        if not self.withdraw(future) and self._scheduler.driver is not None:
            self._scheduler.driver.ask(partial(self._end_given, future, kill=kill))

    def _end_given(self, future: TaskFuture, *, kill: bool) -> bool:
        """In the driver's turn: end a task that the workers have."""
        if (overflow := self._scheduler.overflow) is not None and overflow.end(future, kill=kill):
            return True
        if future.phase != GIVEN:
            return self.withdraw(future)
        self._call_back(future)
        if future.phase != GIVEN:
            return self.withdraw(future)
        scheduler, number = self._scheduler, future.number
        assert scheduler.pool is not None
        begun = scheduler.pool.ask_to_stop(number)
        return self._end(future, CANCELLED, kill=kill or not begun)

    def _end(self, future: TaskFuture, state: str, *, kill: bool) -> bool:
        """In the driver's turn: tell the end of a task that the workers have, and have them give it up."""
        scheduler, number = self._scheduler, future.number
        scheduler.left.add(number)  # before its end: a worker's thread that comes to it first takes it out
        begun = None if scheduler.pool is None else scheduler.pool.runs(number)
        if not future.finish():
            scheduler.left.discard(number)
            return False
        future.note_begun(begun)
        if kill and scheduler.pool is not None:
            scheduler.pool.kill(number)
        scheduler.ends.append([(future, state, None, None)])
        return True

    def rescue(self, *, running: bool) -> list[Task]:
        """Take out what has not begun; running: what has, too, which is ended."""
        scheduler, taken = self._scheduler, list[Task]()
        scheduler.check_ours()
        with scheduler.mutex:
            futures = list(scheduler.live.values())
        for future in futures:
            task = task_of(future)
            if self._take_out(future, RESCUED, running=running):
                taken.append(task)
        return taken

    def _take_out(self, future: TaskFuture, state: str, *, running: bool) -> bool:
        """End one that has not begun; running: also one that has. False if it is not so."""
        return self.withdraw(future, state) or bool(self.in_turn(partial(self._take_given, future, state, running)))

    def _take_given(self, future: TaskFuture, state: str, running: bool) -> bool:
        """In the driver's turn: the same for one that the workers or the overflow have."""
        scheduler, number = self._scheduler, future.number
        if scheduler.overflow is not None and running and scheduler.overflow.end(future, state, kill=True):
            return True
        assert scheduler.pool is not None
        self._call_back(future)
        if future.phase != GIVEN:
            return self.withdraw(future, state)
        if not running:
            return False
        scheduler.pool.ask_to_stop(number)
        return self._end(future, state, kill=True)

    def _call_back(self, future: TaskFuture) -> None:
        """In the driver's turn: have the workers give back a task that they have not begun: it is not GIVEN then."""
        driver, pool, number = self._scheduler.driver, self._scheduler.pool, future.number
        if future.phase == GIVEN and driver is not None and pool is not None and pool.runs(number) is None:
            driver.call_back(number)

    # Waiting

    def refuse_waits(self, what: str) -> None:
        """Raises RuntimeError where the caller would wait for itself, or for nobody."""
        scheduler = self._scheduler
        scheduler.check_ours()
        if scheduler.in_callback:  # which may run in the context of a task
            raise RuntimeError(f"{what} would wait for the callback that calls it; have another thread do it")
        if scheduler.is_inside():
            raise RuntimeError(f"{what} would wait for the task that calls it")

    def await_(self, fact: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until a fact is true that changes as tasks end; False if it is not within so many seconds."""
        scheduler = self._scheduler
        until = None if timeout is None else now() + timeout
        with scheduler.changed, scheduler.waiting():
            while not fact():
                left = None if until is None else until - now()
                if left is not None and left <= 0:
                    return False
                wait_on(scheduler.changed, left)
        return True

    def join(self, timeout: float | None) -> bool:
        self.refuse_waits("join()")
        return self.await_(lambda: not self._scheduler.live, timeout)

    # Workers

    def resize(self, size: int) -> None:
        scheduler = self._scheduler
        scheduler.check_ours()
        scheduler.size = size
        self.in_turn(scheduler.fit)

    def pause(self, timeout: float | None) -> None:
        self.refuse_waits("pause()")
        scheduler = self._scheduler
        self._set_paused(True)
        if scheduler.driver is not None:
            self.await_(lambda: len(scheduler.given) <= len(scheduler.left), timeout)

    def resume(self) -> None:
        if self._scheduler.backlog.paused and self._scheduler.is_ours:
            self._set_paused(False)

    def _set_paused(self, paused: bool) -> None:
        """Both at once: of two that come together, the last one decides for backlog and workers."""
        scheduler = self._scheduler

        def change() -> None:
            assert scheduler.pool is not None
            scheduler.backlog.paused = paused
            if paused:
                scheduler.pool.pause()
            else:
                scheduler.pool.resume()

        with scheduler.mutex:
            if scheduler.driver is None:
                scheduler.backlog.paused = paused
                return
        self.in_turn(change)

    def stats(self) -> PoolStats:
        scheduler = self._scheduler
        scheduler.check_ours()
        with scheduler.mutex:
            phases = [future.phase for future in scheduler.live.values()]
            known = dict(scheduler.counts)
            known["submitted"], known["rejected"] = scheduler.submitted, scheduler.rejected
        pool = scheduler.pool
        known["delayed"], known["queued"] = phases.count(DELAYED), phases.count(QUEUED)
        given, known["workers"] = phases.count(GIVEN), 0
        known["away"] = len(phases) - known["delayed"] - known["queued"] - given
        known["abandoned"] = len(scheduler.left) + len(scheduler.backlog.away)
        if pool is not None and not scheduler.over.is_set():
            known["workers"] = len(pool.pids)
        # What workers have been handed ahead waits. After a resize there may yet be more of them than there are to be.
        known["running"] = min(given, max(known["workers"], scheduler.places))
        known["queued"] += given - known["running"]
        known["hook_errors"] = scheduler.callbacks.errors
        return PoolStats(**known)

    # The end

    def shutdown(self, wait: bool, *, cancel_futures: bool, kill: bool, timeout: float | None) -> None:
        scheduler = self._scheduler
        if not scheduler.is_ours:  # its workers, and who would end its tasks, are in the process that has made it
            scheduler.closed = True
            return
        if wait and not scheduler.over.is_set():
            self.refuse_waits("shutdown(wait=True)")
        with scheduler.mutex:
            scheduler.closed = True
            scheduler.changed.notify_all()  # who waits for room hears of it
            futures = list(scheduler.live.values()) if cancel_futures or kill else []
        # What a worker is being started for has begun, as in concurrent.futures.
        begun = {*[future for future in futures if future.phase == GIVEN][: scheduler.size]}
        for future in futures:
            if kill:  # what the workers have ends with them
                self.withdraw(future)
            elif future not in begun:
                self._take_out(future, CANCELLED, running=False)
        self.resume()
        if scheduler.driver is None:
            scheduler.callbacks.close()
            return
        if kill:
            scheduler.driver.stop("killed", hurry=True)
        else:
            scheduler.driver.wake()
        if wait and not scheduler.over.wait(timeout):
            self._give_up(timeout or 0.0)

    def _give_up(self, timeout: float) -> None:
        """The time of a shutdown is over."""
        scheduler = self._scheduler
        with scheduler.mutex:
            left = len(scheduler.live)
        assert scheduler.driver is not None
        scheduler.driver.stop("killed", hurry=True)
        scheduler.over.wait(_AFTER_KILL)
        if left:
            tasks = "1 task that had" if left == 1 else f"{left} tasks that had"
            text = f"shutdown has cancelled {tasks} not ended after {timeout:g} s"
            warnings.warn(text, WorkerWarning, stacklevel=4)
