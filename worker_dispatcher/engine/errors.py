"""What can go wrong with jobs.

WorkerDispatcherError
└── ExecutorError
    ├── InvalidStateError        the job is not in a status in which that can be done
    ├── JobNotFoundError (KeyError)
    ├── DependencyCycle (ValueError)     jobs that would wait for each other for ever
    ├── UpstreamFailed           a job that was to fail with what it needs
    └── StoreError (ValueError)  the file of the jobs cannot be used

subprocess.SubprocessError
└── CommandFailed                a command has ended with another code than 0; see osproc/command.py
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from worker_dispatcher.errors import WorkerDispatcherError

if TYPE_CHECKING:
    from worker_dispatcher.engine.job import Job


class ExecutorError(WorkerDispatcherError):
    """Root of what the engine raises on its own account."""

    __module__ = "worker_dispatcher.engine"


class InvalidStateError(ExecutorError):
    """The job is not in a status in which that can be done. valid_status: those in which it can; hint: what to do, or
    why it is so."""

    __module__ = "worker_dispatcher.engine"

    def __init__(self, job: Job | str, valid_status: Sequence[str], hint: str = "") -> None:
        self.valid_status = list(valid_status)
        self.hint = hint if hint or isinstance(job, str) else _hint(job)
        self.job = str(job)
        super().__init__(self.job, self.valid_status, self.hint)

    def __str__(self) -> str:
        text = f"{self.job} should be {' or '.join(self.valid_status)} for that"
        return f"{text}: {self.hint}" if self.hint else text


def _hint(job: Job) -> str:
    """What to do about the status of a job, or why it has it."""
    if job.status == "created":
        return "submit it first"
    if job.status == "failed":
        return f"it failed with {job.exception()!r}"
    waits = "wait for it first, as engine.wait_job(job) and job.future.result() do"
    return waits if job.status in ("pending", "running") else ""


class JobNotFoundError(ExecutorError, KeyError):
    """The engine knows no job of this id."""

    __module__ = "worker_dispatcher.engine"

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(job_id)

    def __str__(self) -> str:
        return f"this engine has no job with the id {self.job_id!r}"


class DependencyCycle(ExecutorError, ValueError):
    """Jobs would wait for each other for ever. jobs: what they are called, in the order of the waits."""

    __module__ = "worker_dispatcher.engine"

    def __init__(self, jobs: Sequence[str]) -> None:
        self.jobs = list(jobs)
        super().__init__(self.jobs)

    def __str__(self) -> str:
        first = self.jobs[0]
        return f"these jobs would wait for each other for ever: {' after '.join([*self.jobs, first])}"


class UpstreamFailed(ExecutorError):
    """A job with on_upstream='fail' whose upstream has not succeeded. upstream: its id; reason: what became of it."""

    __module__ = "worker_dispatcher.engine"

    def __init__(self, upstream: str, reason: str) -> None:
        self.upstream, self.reason = upstream, reason
        super().__init__(upstream, reason)

    def __str__(self) -> str:
        return self.reason


class StoreError(ExecutorError, ValueError):
    """The file of an engine's jobs cannot be used, or used any further; or what it has of a job cannot be had.
    path: the file; problem: what is wrong, and what to do; job_id: of the job it is about, if it is about one;
    is_damage: the file is not as it was written."""

    __module__ = "worker_dispatcher.engine"

    def __init__(self, path: str, problem: str, job_id: str | None = None, is_damage: bool = False) -> None:
        self.path, self.problem, self.job_id, self.is_damage = path, problem, job_id, is_damage
        super().__init__(path, problem, job_id, is_damage)

    def __str__(self) -> str:
        return f"store of jobs {self.path}: {self.problem}"
