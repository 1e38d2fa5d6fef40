"""Jobs: all jobs of an engine, by id and by status."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from worker_dispatcher.engine.errors import ExecutorError, JobNotFoundError
from worker_dispatcher.engine.job import Job
from worker_dispatcher.engine.status import CREATED, FINAL, STATUSES

FILE = "jobs.sqlite"  # in the folder of an engine, or of Jobs
_KEPT = STATUSES[1:]


class JobStore:
    """The jobs of one status, by id. `values`, `keys` and `items` are lists: a job may move on meanwhile."""

    def __init__(self) -> None:
        self.mem: dict[str, Job] = {}

    def values(self) -> list[Job]:
        return list(self.mem.copy().values())  # of a copy: it may change while the list is made

    def keys(self) -> list[str]:
        return list(self.mem.copy())

    def items(self) -> list[tuple[str, Job]]:
        return list(self.mem.copy().items())

    def __getitem__(self, job_id: str) -> Job:
        return self.mem[job_id]

    def __contains__(self, job_id: object) -> bool:
        return job_id in self.mem

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.mem)


class Jobs:
    """All jobs that were submitted to an engine: in `pending`, `running`, `done`, `failed` and `cancelled`.

    Thread-safe to read. An ended job stays until it is removed: `clear_non_active`, `Engine.remove`.
    cache_path: a folder; Engine(jobs=Jobs(folder)) keeps its jobs there, in jobs.sqlite.
    """

    valid_statuses = _KEPT

    def __init__(self, cache_path: str | os.PathLike[str] | None = None) -> None:
        self.cache_path = cache_path
        self.is_from_cache = False
        self.forget_all()

    def forget_all(self) -> None:
        """Know of no job. For engines."""
        self._stores = {status: JobStore() for status in _KEPT}
        self._all: dict[str, Job] = {}

    def update_from_cache(self, clear_old: bool = True) -> None:
        """Have the jobs that are in the file, as they are there; results are loaded when they are asked for. An engine
        that is made with these then goes on with them, as with resume=True. clear_old: know of no others. Nothing to do
        where there is an engine: what it has and what is in its file are the same. Raises StoreError."""
        if any(job.engine is not None for job in self._all.values()):
            return
        if self.cache_path is None:
            raise ExecutorError("these jobs are in no file: Jobs(folder), or Engine(store=..., resume=True)")
        from worker_dispatcher.engine.resume import look_at
        from worker_dispatcher.engine.store import Reader

        jobs = look_at(Reader(Path(self.cache_path) / FILE))
        if clear_old:
            self.forget_all()
        for job in jobs:
            self.move(job, CREATED, job.status)
        self.is_from_cache = True

    @property
    def pending(self) -> JobStore:
        return self._stores["pending"]

    @property
    def running(self) -> JobStore:
        return self._stores["running"]

    @property
    def done(self) -> JobStore:
        return self._stores["done"]

    @property
    def failed(self) -> JobStore:
        return self._stores["failed"]

    @property
    def cancelled(self) -> JobStore:
        return self._stores["cancelled"]

    def get_job_by_id(self, job_id: str) -> Job:
        """Raises JobNotFoundError."""
        try:
            return self._all[job_id]
        except KeyError:
            raise JobNotFoundError(job_id) from None

    def find(self, job_id: str) -> Job | None:
        """None if there is none."""
        return self._all.get(job_id)

    def all_jobs(self) -> list[Job]:
        """In the order in which they were submitted."""
        return list(self._all.copy().values())

    def __iter__(self) -> Iterator[Job]:
        return iter(self.all_jobs())

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, job: object) -> bool:
        return (job.id if isinstance(job, Job) else job) in self._all

    def clear(self, statuses: Iterable[str]) -> None:
        """Forget the jobs of some statuses. Those that have not ended cannot be forgotten: cancel them first."""
        for status in statuses:
            if status not in FINAL:
                if self._stores[status].mem:
                    raise ExecutorError(f"jobs that are {status} cannot be forgotten; cancel them first")
                continue
            for job in self._stores[status].values():
                self.remove(job)

    def clear_non_active(self) -> None:
        """Forget what has ended."""
        self.clear(FINAL)

    def clear_all(self) -> None:
        """Forget all jobs. Raises ExecutorError if any has not ended."""
        self.clear([*FINAL, *(status for status in _KEPT if status not in FINAL)])

    def remove(self, job: Job) -> None:
        """Forget a job that has ended."""
        if job.engine is not None:
            job.engine.remove(job)

    # Called by the engine

    def move(self, job: Job, old: str, new: str) -> None:
        """A job has another status. One that has ended gives its id to another that is submitted."""
        if old != "pending" and old != "running":
            known = self._all.get(job.id, job)
            if known is not job:
                self.drop(known)
            self._all[job.id] = job
        if old in self._stores:
            self._stores[old].mem.pop(job.id, None)
        self._stores[new].mem[job.id] = job

    def drop(self, job: Job) -> None:
        for store in self._stores.values():
            store.mem.pop(job.id, None)
        self._all.pop(job.id, None)
