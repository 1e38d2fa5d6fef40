"""The workers of a pool for those who use them beside the pool's own tasks: a run that has the pool in its config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker_dispatcher.call import Call
from worker_dispatcher.errors import PoolClosed, RunError
from worker_dispatcher.pools import base
from worker_dispatcher.pools.base import Batch, Event, Name, NotStarted, Pool, Setup
from worker_dispatcher.workpool.backlog import Backlog

if TYPE_CHECKING:
    from worker_dispatcher.workpool.lent import Handover
    from worker_dispatcher.workpool.scheduler import Scheduler

LENT = 1 << 40  # the pool's own numbers of tasks are below


class Lendings:
    """Those that use the workers of a pool beside its own tasks; with one of them it is the source of the pool's
    driver, and takes from each in turn. Owned by the driver's turn; `named`: from any thread."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog, self._sources = backlog, list[base.Source]([backlog])
        self._lent: dict[int, Handover] = {}  # by the number before that of its first task, in units of LENT
        self._given = 0  # how many there have been
        self._at = 0  # whose turn it is to be taken from

    def __len__(self) -> int:
        return len(self._lent)

    def add(self, lent: Handover) -> None:
        self._given += 1
        lent.begin(self._given * LENT)
        self._lent[self._given] = lent
        self._sources.append(lent)

    def remove(self, lent: Handover) -> None:
        self._lent = {key: one for key, one in self._lent.items() if one is not lent}
        self._sources = [self._backlog, *self._lent.values()]

    def named(self, number: int, pid: int) -> None:
        """A worker of the pool has begun."""
        for lent in list(self._lent.values()):
            lent.named(number, pid)

    # What comes back

    def tell(self, first: int, event: Event) -> None:
        """Something has happened to tasks that are somebody's, from this number on."""
        if (lent := self._lent.get(first // LENT)) is not None:
            lent.tell(event)

    def fail(self, error: RunError) -> None:
        """The pool cannot go on."""
        for lent in self._lent.values():
            lent.fail(error)

    def put_back(self, batch: Batch) -> None:
        if batch.first < LENT:
            self._backlog.put_back(batch)
        else:
            self.tell(batch.first, NotStarted(batch))

    def put_back_at(self, due: float, batch: Batch) -> None:
        self._backlog.put_back_at(due, batch)

    # What the pool takes

    def release(self) -> None:
        self._backlog.release()

    def next_due(self) -> float:
        return self._backlog.next_due()

    def _in_turn(self) -> list[base.Source]:
        at = self._at % len(self._sources)
        return self._sources[at:] + self._sources[:at]

    def waiting(self) -> int:
        return sum(source.waiting() for source in self._sources)

    def call(self) -> Call | None:
        return next((source.call() for source in self._in_turn() if source.waiting()), None)

    def due(self) -> float:
        return min(source.due() for source in self._sources)

    def crowd(self, within: float) -> int:
        return self.waiting()

    def alone_waiting(self) -> bool:
        return any(source.alone_waiting() for source in self._sources)

    def take_alone(self) -> Batch | None:
        return next((batch for source in self._sources if (batch := source.take_alone()) is not None), None)

    def take(self, count: int) -> Batch | None:
        for source in self._in_turn():
            self._at += 1
            if (batch := source.take(count)) is not None:
                return batch
        return None


def lend(scheduler: Scheduler, setup: Setup, workers: int, named: Name) -> Pool:
    """The workers of a pool, so many of them at a time, as the pool of a run. Raises RunError."""
    from worker_dispatcher.workpool.lent import Lent  # pools that are never lent do without

    if scheduler.is_inside():
        raise RunError("a task of worker.pool cannot wait for a run in the same pool; use another pool, or none")
    try:
        with scheduler.mutex:
            scheduler.check_open()
            if scheduler.driver is None:
                scheduler.open()
    except PoolClosed as error:
        raise RunError(f"worker.pool cannot be used: {error}") from error
    lent, driver = Lent(scheduler, setup, workers, named), scheduler.driver
    assert driver is not None

    def begin() -> bool:
        scheduler.lendings.add(lent.tasks)
        driver.draw_from(scheduler.lendings)
        return True

    if scheduler.control.in_turn(begin) is None:
        raise RunError("worker.pool was shut down before the run began")
    return lent
