"""How tasks come into a pool: made, let in by its books, and handed to an idle worker or to the backlog."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from worker_dispatcher.clock import now
from worker_dispatcher.core.shared_driver import SharedDriver
from worker_dispatcher.errors import DuplicateTask
from worker_dispatcher.pool_full import PoolFull
from worker_dispatcher.pools.base import Batch
from worker_dispatcher.signals import held, wait_on
from worker_dispatcher.workpool.calling import Item, PoolCalls
from worker_dispatcher.workpool.future import AWAY, ENDED, TaskFuture
from worker_dispatcher.workpool.settings import Settings

if TYPE_CHECKING:
    from worker_dispatcher.workpool.scheduler import Scheduler


class Intake:
    """Takes tasks for a scheduler. Thread-safe: what it changes is the scheduler's, under its mutex.

    An exception in the midst of it, as Ctrl-C raises one in the main thread, would leave it half done; so it waits.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._numbers = itertools.count(1)
        self._calls = PoolCalls(scheduler.number, scheduler.shape.kind, scheduler.given)

    def make(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], settings: Settings
    ) -> TaskFuture:
        """A future that is not submitted yet."""
        if not callable(function):
            raise TypeError(f"expected a function and its arguments, got {function!r}: was it called already?")
        scheduler = self._scheduler
        defaults = scheduler.settings
        own = settings.options is not defaults.options
        call, args = self._calls.of(function, args, defaults.options)
        number = next(self._numbers)
        future = TaskFuture(scheduler, number, call, args, settings, now())
        if kwargs or own or settings.deadline is not None or settings.name is not None:
            options = (settings.options or {}) if own else None
            future.item = Item(args, kwargs, number, settings.name, 1, options, future.stop_at)
        return future

    @staticmethod
    def call_it(future: TaskFuture, task_id: Any) -> None:
        """Give a future that is not submitted yet another id than its number."""
        future.id = future.key = task_id
        item = future.item
        if type(item) is tuple:
            future.item = Item(item, {}, task_id, future.settings.name, 1, None, future.stop_at)
        else:
            future.item = item._replace(id=task_id)

    def submit(self, future: TaskFuture, *, block: bool | None = None, put_timeout: float | None = None) -> TaskFuture:
        """Take a task in; raises PoolClosed, PoolFull or DuplicateTask."""
        if self._scheduler.capacity is None:
            with held():
                self._submit((future,))
        else:
            self._take((future,), self._submit, block, put_timeout)
        return future

    def has_taken(self, future: TaskFuture) -> bool:
        """It was let in."""
        return future.phase == ENDED or self._scheduler.live.get(future.known_as) is future

    def submit_all(self, futures: Sequence[TaskFuture]) -> None:
        """Take tasks in, all or none, and look for workers once."""
        self._take(futures, self._submit_all, None, None)

    def _take(
        self,
        futures: Sequence[TaskFuture],
        submit: Callable[[Sequence[TaskFuture]], None],
        block: bool | None,
        put_timeout: float | None,
    ) -> None:
        scheduler = self._scheduler
        if scheduler.capacity is None:
            with held():
                submit(futures)
            return
        block = scheduler.on_full == "block" if block is None else block
        until = math.inf if put_timeout is None else now() + put_timeout
        while True:
            try:
                try:
                    with held():
                        submit(futures)
                finally:  # also of those whom a signal meets that came meanwhile
                    self._send(futures)
                return
            except PoolFull:
                if not block or now() >= until or len(futures) > scheduler.capacity:
                    with scheduler.mutex:
                        scheduler.rejected += len(futures)
                    raise
            self._await_room(futures, until)  # out of the block: a wait that can be interrupted

    def _send(self, futures: Sequence[TaskFuture]) -> None:
        """What is for the overflow goes there. In the thread that submits, which its executor may block."""
        if (overflow := self._scheduler.overflow) is None:
            return
        leaving = [future for future in futures if future.phase == AWAY]
        try:
            for future in leaving:
                overflow.send(future)
        except BaseException as error:  # such as Ctrl-C, while the executor blocked
            overflow.keep(leaving, error)
            raise

    def _submit(self, futures: Sequence[TaskFuture]) -> None:
        (future,) = futures
        self._admit(futures)
        scheduler, driver = self._scheduler, self._scheduler.driver
        if future.phase == AWAY:
            return
        if driver is None:
            scheduler.backlog.add(future)
        elif future.due or not driver.hungry:
            scheduler.backlog.add(future)
            if (future.due or future.stop_at) < driver.wakes_at:
                driver.nudge()
        elif not self._offer(driver, future):
            scheduler.backlog.add(future)
            driver.nudge()

    def _submit_all(self, futures: Sequence[TaskFuture]) -> None:
        self._admit(futures)
        scheduler, driver = self._scheduler, self._scheduler.driver
        for future in futures:
            if future.phase != AWAY:
                scheduler.backlog.add(future)
        if driver is not None and (driver.hungry or scheduler.backlog.next_due() < driver.wakes_at):
            driver.wake()

    def _offer(self, driver: SharedDriver, future: TaskFuture) -> bool:
        """Give a task to an idle worker, if it may start at once and nothing else waits."""
        settings, scheduler = future.settings, self._scheduler
        backlog = scheduler.backlog
        waits = backlog.paused or backlog.waiting() or future.due or future.stop_at < math.inf
        if waits or settings.limiter is not None or future.group is not None or not future.begin():
            return False
        scheduler.given[future.number] = future
        batch = Batch(future.number, (future.item,), call=future.call, timeout=settings.timeout)
        if driver.offer(batch, scheduler.done):
            return True
        del scheduler.given[future.number]
        future.unbegin()
        return False

    def _admit(self, futures: Sequence[TaskFuture]) -> None:
        """Write tasks into the books: all or none."""
        scheduler = self._scheduler
        scheduler.check_ours()  # the mutex may be another thread's, of before the fork
        with scheduler.mutex:
            scheduler.check_takes()
            away = () if scheduler.capacity is None else self._find_room(futures)
            live = scheduler.live
            if named := [future for future in futures if future.key is not None]:
                fresh: set[Any] = set()
                for future in named:
                    if future.key in live or future.key in fresh:
                        raise DuplicateTask(future.id)
                    fresh.add(future.key)
            if scheduler.driver is None:
                scheduler.open()
            scheduler.submitted += len(futures)
            if scheduler.overflow is not None:
                scheduler.overflow.mark(away)
            for future in futures:
                live[future.known_as] = future

    def _find_room(self, futures: Sequence[TaskFuture]) -> Sequence[TaskFuture]:
        """Those of some tasks that the overflow is to run; raises PoolFull where the others find no room."""
        # What has come home may be above the capacity.
        more, overflow = min(self._too_many(futures), len(futures)), self._scheduler.overflow
        away = [] if more <= 0 or overflow is None else overflow.choose(futures, more)
        if len(away) < more:
            here = self._too_many(()) + (capacity := self._scheduler.capacity or 0)
            raise PoolFull(f"the pool has {here} tasks that have not ended, and a capacity of {capacity}")
        return away

    def _too_many(self, futures: Sequence[TaskFuture]) -> int:
        """How many tasks there would be above the capacity, with some more; away ones do not count."""
        scheduler = self._scheduler
        if scheduler.capacity is None:
            return 0
        away = 0 if scheduler.overflow is None else len(scheduler.overflow.away)
        return len(scheduler.live) - away + len(futures) - scheduler.capacity

    def _await_room(self, futures: Sequence[TaskFuture], until: float) -> None:
        scheduler = self._scheduler
        if scheduler.in_callback or scheduler.is_inside():
            raise RuntimeError("a task or callback of a full pool cannot wait for room in it: pass block=False")
        with scheduler.changed, scheduler.waiting():
            while self._too_many(futures) > 0 and (left := until - now()) > 0:
                scheduler.check_open()
                wait_on(scheduler.changed, None if left == math.inf else left)
