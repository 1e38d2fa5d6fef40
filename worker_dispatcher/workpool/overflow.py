"""What a full pool does not take itself: tasks that another executor runs, and that come home if it fails."""

from __future__ import annotations

import heapq
import itertools
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from functools import partial
from typing import TYPE_CHECKING, Any

from worker_dispatcher.clock import now
from worker_dispatcher.errors import RemoteTraceback
from worker_dispatcher.execute import describe
from worker_dispatcher.pools.base import AttemptDone, Batch, NotStarted
from worker_dispatcher.records import CRASHED, TIMEOUT, Failure
from worker_dispatcher.worker_died import WorkerDied
from worker_dispatcher.workpool.away import Report, run_away
from worker_dispatcher.workpool.future import AWAY, CANCELLED, ENDED, TaskFuture
from worker_dispatcher.workpool.outcome import task_of

if TYPE_CHECKING:
    from worker_dispatcher.workpool.scheduler import Scheduler

_LOOKS = 8  # how often, in the length of its timeout, it is looked whether a task has begun
_STEP = 0.005  # seconds between two such looks, at least


class Overflow:
    """Has tasks of a full pool run by another executor; a timer of the pool's driver.

    What comes back goes through the driver as if a worker had said it, so that retries, counts and ends are the same.
    Shared: away, _inner, _left, in single steps. Owned by the driver's turn: _looks.
    away: numbers of the tasks that are there. _inner: the executor's futures of these. _left: of tasks that were over
    their time there, and go on: what can end a thread of somebody else?
    """

    def __init__(self, scheduler: Scheduler, executor: Executor, told: Callable[..., Any] | None) -> None:
        self._scheduler, self._executor, self._told = scheduler, executor, told
        self.away: set[int] = set()
        self._inner: dict[int, Future[Any]] = {}
        self._left: dict[int, Future[Any]] = {}
        self._looks: list[tuple[float, int, TaskFuture, float | None]] = []  # when, which, and since when it runs

    # Which tasks go

    def choose(self, futures: Sequence[TaskFuture], most: int) -> list[TaskFuture]:
        """Those of some new tasks that are to go there: so many, if so many may."""
        if self._scheduler.backlog.paused:
            return []
        return list(itertools.islice(filter(_may_leave, reversed(futures)), most))

    def mark(self, futures: Iterable[TaskFuture]) -> None:
        """They are away from now on, and `send` follows. Under mutex."""
        for future in futures:
            future.phase, future.where = AWAY, "overflow"
            self.away.add(future.number)

    def forget(self, futures: Iterable[TaskFuture]) -> None:
        """They have ended."""
        self.away.difference_update(future.number for future in futures)

    # There and back

    def send(self, future: TaskFuture) -> None:
        """Submit one that is marked: in the thread that submits it, which the executor may block."""
        scheduler, number = self._scheduler, future.number
        assert scheduler.driver is not None
        if future.stop_at < math.inf or future.settings.timeout is not None:
            scheduler.driver.ask(partial(self._expect, future))
        try:
            inner = self._executor.submit(run_away, future.call.away(), number, future.item, os.getpid())
        except BaseException as error:  # whatever the executor raises, and Ctrl-C: the task is not lost for it
            self._fail(future, error)
            if not isinstance(error, Exception):
                raise
            return
        self._inner[number] = inner
        inner.add_done_callback(partial(self._heard, future))
        if future.phase == ENDED:  # meanwhile
            self._end_inner(number, kill=True)

    def keep(self, futures: Iterable[TaskFuture], error: BaseException) -> None:
        """Those that are marked and were not sent come home."""
        for future in futures:
            if future.phase == AWAY and future.number not in self._inner:
                self._fail(future, error)

    def _expect(self, future: TaskFuture) -> None:
        """In the driver's turn: from now on its time is watched."""
        if future.stop_at < math.inf:
            self._scheduler.backlog.expect_deadline(future)
        if future.settings.timeout is not None:
            self._look_again(future, None)

    def _heard(self, future: TaskFuture, inner: Future[Any]) -> None:
        """The executor's future is done. In whichever thread."""
        at, driver = now(), self._scheduler.driver
        assert driver is not None
        self._left.pop(future.number, None)
        error = CancelledError() if inner.cancelled() else inner.exception()
        if error is None and isinstance(report := inner.result(), Report):
            failure = report.failure
            if failure is not None and failure.traceback and failure.exception is not None:
                failure.exception.__cause__ = RemoteTraceback(failure.traceback)
            event = AttemptDone(_batch_of(future), at - report.took, at, report.result, failure, None, 0)
        elif isinstance(error, WorkerDied):
            event = _failed(future, at, Failure("WorkerDied", error.cause, status=CRASHED))
        elif error is None or inner.cancelled() or isinstance(error, BrokenExecutor):
            self._fail(future, error or TypeError(f"{self._executor!r} gave {inner.result()!r}"))
            return
        else:  # such as arguments that cannot be sent
            event = _failed(future, at, Failure(*describe(error), exception=error))
        driver.ask(partial(self._take, future, event))

    def _fail(self, future: TaskFuture, error: BaseException) -> None:
        """The executor has failed for a task, which comes home: from any thread."""
        assert self._scheduler.driver is not None
        self._scheduler.driver.ask(partial(self._come_home, future, error))

    def _come_home(self, future: TaskFuture, error: BaseException) -> None:
        if self._take(future, NotStarted(_batch_of(future))) and self._told is not None:
            self._scheduler.callbacks.call(partial(self._told, task_of(future)), error)

    def _take(self, future: TaskFuture, event: AttemptDone | NotStarted) -> bool:
        """In the driver's turn: what has become of a task that was away; False if that is of no interest any more."""
        scheduler, number = self._scheduler, future.number
        assert scheduler.driver is not None
        self._inner.pop(number, None)
        if not future.come_home():
            return False
        self.away.discard(number)
        scheduler.given[number] = future
        if future.group is not None:
            future.group.running += 1
        scheduler.driver.take(event)
        if future.phase != ENDED:
            future.where = ""
        return True

    # Ends from here

    def withdraw(self, future: TaskFuture) -> bool:
        """End a task that the executor has not begun; False if it has, or if it is not there."""
        inner = self._inner.get(future.number)
        return inner is not None and future.phase == AWAY and inner.cancel() and future.recall()

    def end(self, future: TaskFuture, state: str = CANCELLED, *, kill: bool = False) -> bool:
        """In the driver's turn: end a task for everybody here, whatever the executor does; False if it is not there."""
        if not future.recall():
            return False
        self._end_inner(future.number, kill=kill)
        self._scheduler.ends.append([(future, state, None, None)])
        return True

    def leave(self, future: TaskFuture) -> None:
        """It has ended here."""
        self._end_inner(future.number, kill=True)

    def _end_inner(self, number: int, *, kill: bool) -> None:
        """Have the executor not begin it. What it has begun only a pool of ours can end."""
        inner = self._inner.pop(number, None)
        if inner is not None and not inner.cancel() and isinstance(inner, TaskFuture):
            inner.owner.control.cancel_soon(inner, kill=kill)

    def close(self) -> None:
        """Nobody here waits for anything any more."""
        for number in list(self._inner):
            self._end_inner(number, kill=True)

    # Timeouts: no executor says when a task begins, only whether it has

    @property
    def due(self) -> float:
        return self._looks[0][0] if self._looks else math.inf

    def look(self) -> None:
        at = now()
        while self.due <= at:
            _, number, future, since = heapq.heappop(self._looks)
            inner = self._inner.get(number)
            if future.phase != AWAY or (inner is not None and inner.done()):
                continue
            if since is not None and inner is not None:
                self._left[number] = inner
                self._end_inner(number, kill=True)
                if inner.done():
                    self._left.pop(number, None)
                self._take(future, _failed(future, since, Failure("", "", status=TIMEOUT)))
            else:
                self._look_again(future, at if inner is not None and Future.running(inner) else None)

    def _look_again(self, future: TaskFuture, since: float | None) -> None:
        timeout = future.settings.timeout or 0.0
        wait = max(timeout / _LOOKS, _STEP) if since is None else timeout
        heapq.heappush(self._looks, (now() + wait, future.number, future, since))

    def held_beside(self, others: Collection[int]) -> Collection[int]:
        """Numbers of tasks whose last attempt goes on, here (others) or there: the next one waits for its end."""
        return _Both(others, self._left)


class _Both(Collection[int]):
    def __init__(self, *parts: Collection[int]) -> None:
        self._parts = parts

    def __contains__(self, number: object) -> bool:
        return any(number in part for part in self._parts)

    def __iter__(self) -> Iterator[int]:
        return itertools.chain.from_iterable(self._parts)

    def __len__(self) -> int:
        return sum(map(len, self._parts))


def _may_leave(future: TaskFuture) -> bool:
    """It may start at once, wherever."""
    group = future.group
    free = future.settings.limiter is None and (group is None or group.max_workers is None)
    return free and not future.due and future.stop_at > now()


def _batch_of(future: TaskFuture) -> Batch:
    return Batch(future.number, (future.item,), call=future.call)


def _failed(future: TaskFuture, since: float, failure: Failure) -> AttemptDone:
    return AttemptDone(_batch_of(future), since, now(), None, failure, None, 0)
