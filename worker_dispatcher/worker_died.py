"""WorkerDied, apart from errors.py because its base class costs 20 ms to import; floor 0."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool

from worker_dispatcher.errors import WorkerDispatcherError

__all__ = ["WorkerDied"]


class WorkerDied(WorkerDispatcherError, BrokenProcessPool):
    """The process that ran a task ended before the task did. It speaks of one task, not of the pool.

    cause: how the process ended, for example "killed by signal 9 (SIGKILL)".
    """

    def __init__(self, task_id: int, cause: str) -> None:
        self.task_id, self.cause = task_id, cause
        super().__init__(task_id, cause)

    def __str__(self) -> str:
        return f"task #{self.task_id}: its worker process {self.cause}"
