"""Jobs: all jobs of an engine, by id and by status."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from worker_dispatcher.engine.errors import JobNotFoundError
from worker_dispatcher.engine.job import Job
from worker_dispatcher.engine.status import FINAL, STATUSES

_KEPT = STATUSES[1:]


class JobStore:
    """The jobs of one status, by id. `values`, `keys` and `items` are lists: a job may move on meanwhile."""

    def __init__(self) -> None:
        self.mem: dict[str, Job] = {}

    def values(self) -> list[Job]:
        return list(self.mem.values())

    def keys(self) -> list[str]:
        return list(self.mem)

    def items(self) -> list[tuple[str, Job]]:
        return list(self.mem.items())

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
    """

    valid_statuses = _KEPT

    def __init__(self) -> None:
        self._stores = {status: JobStore() for status in _KEPT}
        self._all: dict[str, Job] = {}

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
        return list(self._all.values())

    def __iter__(self) -> Iterator[Job]:
        return iter(self.all_jobs())

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, job: object) -> bool:
        return (job.id if isinstance(job, Job) else job) in self._all

    def clear(self, statuses: Iterable[str]) -> None:
        """Forget the jobs of some statuses. Those that have not ended cannot be forgotten: cancel them first."""
        from worker_dispatcher.engine.errors import ExecutorError

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
        if old in self._stores:
            self._stores[old].mem.pop(job.id, None)
        self._stores[new].mem[job.id] = job
        self._all[job.id] = job

    def drop(self, job: Job) -> None:
        for store in self._stores.values():
            store.mem.pop(job.id, None)
        self._all.pop(job.id, None)
