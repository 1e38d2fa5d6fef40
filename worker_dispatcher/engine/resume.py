"""What an engine's store has comes back: jobs that have ended with what they gave, the others to be run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from worker_dispatcher.clock import now, wall
from worker_dispatcher.engine.errors import StoreError
from worker_dispatcher.engine.events import Submitted
from worker_dispatcher.engine.future import JobFuture
from worker_dispatcher.engine.job import Job, ResultOf
from worker_dispatcher.engine.rows import CALL, Row
from worker_dispatcher.engine.status import CANCELLED, CREATED, DONE, FINAL, PENDING, RUNNING
from worker_dispatcher.engine.store import Kept, Reader, Store

if TYPE_CHECKING:
    from worker_dispatcher.engine.dispatcher import Dispatcher
    from worker_dispatcher.engine.engine import Engine

_End = Callable[[], tuple[Any, BaseException | None]]


class KeptFuture(JobFuture):
    """Of a job that had ended before this process began: what it gave is loaded when it is asked for."""

    def __init__(self, job: Job, end: _End) -> None:
        super().__init__(job)
        self._end: _End | None = end
        self._loading = threading.Lock()
        self.show(None, None, cancelled=False)

    def _load(self) -> None:
        with self._loading:
            if self._end is not None:
                self._result, self._exception = self._end()
                self._end = None

    def result(self, timeout: float | None = None) -> Any:
        self._load()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._load()
        return super().exception(timeout)


class LostJob(Job):
    """A job of a store whose function, or an argument, is not to be had here: it can only fail. why: what is told."""

    where, uses = "local", ()

    def __init__(self, row: Row, why: StoreError) -> None:
        super().__init__(_nothing, name=row.name, id=row.id)
        self.why = why

    def call(self, result_of: ResultOf) -> NoReturn:
        raise self.why

    def _shown(self) -> dict[str, Any]:
        return {"name": self.name, "why": self.why}


def _nothing() -> None:
    """What a LostJob would call."""


def bring_back(engine: Engine, dispatcher: Dispatcher, store: Store) -> None:
    """Have the jobs of a store in an engine that has none yet: those that have ended as they did; the others pending,
    until the engine is started. Raises StoreError where the store is damaged. Runs code of the user's classes."""
    waiting: list[Job] = []
    for row, job in _jobs_of(store):
        job.engine = engine
        job.entry.attempt = row.attempts
        job.kept = kept = Kept(row.number, row.kind, row.needs, row.interrupted + (row.status == RUNNING), has_row=True)
        kept.is_back, kept.is_lost = True, isinstance(job, LostJob)
        if row.status in FINAL:
            dispatcher.restore(job, row.status)
            show_end(store, row, job)
        else:
            waiting.append(job)
    lost = [job for job in waiting if isinstance(job, LostJob)]
    at = now()
    for some in (lost, [job for job in waiting if job not in lost] if lost else waiting):
        if some:
            dispatcher.feed(Submitted([job.prepare(engine, at) for job in some], at, wall()))
        dispatcher.pause()


def look_at(store: Reader) -> list[Job]:
    """The jobs of a file as they are there, without an engine; what ran is pending. Raises StoreError."""
    jobs = []
    for row, job in _jobs_of(store):
        job.entry.attempt, job.entry.status = row.attempts, PENDING if row.status == RUNNING else row.status
        if row.status in FINAL:
            show_end(store, row, job)
        jobs.append(job)
    return jobs


def _jobs_of(store: Reader) -> list[tuple[Row, Job]]:
    rows, store.rows = store.rows, []
    return [(row, _job_of(store, row)) for row in rows]


def _job_of(store: Reader, row: Row) -> Job:
    try:
        job = store.load(row, CALL)
        if not isinstance(job, Job) or job.id != row.id:
            raise StoreError(store.path, f"what stands for job {row.name} ({row.id}) is none", row.id)
    except StoreError as error:
        if error.is_damage:
            raise
        return LostJob(row, error)
    return job


def show_end(store: Reader, row: Row, job: Job) -> None:
    """Have a job that has ended look as it does in the store."""
    job.submitted_at, job.begun_at, job.ended_at = row.submitted, row.begun, row.ended
    job.is_told = True
    if row.status == CANCELLED:
        job.future.show(None, None, cancelled=True)
    else:
        job.future = KeptFuture(job, partial(store.end_of, row))


def take_place(dispatcher: Dispatcher, job: Job) -> bool:
    """A job is about to be submitted, perhaps in the place of one of the store that has its id and that nobody has
    submitted since. True if there is nothing to run: that one is done, or runs."""
    with dispatcher.mutex:
        other = dispatcher.jobs.find(job.id)
        if other is None or other is job or other.kept is None or not other.kept.is_back:
            return False
        job.kept = other.kept
        job.kept.is_lost = False
        if other.status not in (RUNNING, DONE):
            job.entry.attempt = other.entry.attempt
            dispatcher.withdraw(other)
            return False
        job.kept.is_back = False
        entry, future = other.entry, other.future
        job.entry, entry.job, job.future = entry, job, future
        future.stands_for(job)
        job.running, job.is_told = other.running, other.is_told
        job.submitted_at, job.begun_at, job.ended_at = other.submitted_at, other.begun_at, other.ended_at
        dispatcher.jobs.move(job, CREATED, entry.status)
        return True


def refuse_unfinished(store: Store) -> None:
    """Raises StoreError where jobs of a store have not ended: who does not resume would lose them."""
    left = [row for row in store.rows if row.status in (PENDING, RUNNING)]
    if left:
        count = "1 job that has" if len(left) == 1 else f"{len(left)} jobs that have"
        text = f"has {count} not ended, such as {left[0].name} ({left[0].id}): Engine(..., resume=True) goes on with"
        raise StoreError(
            store.path, f"{text} them; to begin anew, remove the file or give this engine a path of its own"
        )
