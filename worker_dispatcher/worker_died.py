"""WorkerDied, apart from errors.py because its base class costs 20 ms to import; floor 0."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool
from typing import Any

from worker_dispatcher.errors import PACKAGE, WorkerDispatcherError, task_words


class WorkerDied(WorkerDispatcherError, BrokenProcessPool):
    """The process that ran a task ended before the task did. It speaks of one task, not of the pool.

    task_id: of a run, from 1; of a pool, its name or its id.
    cause: how the process ended, for example "was killed by signal 9 (SIGKILL)"; worker: its number, as in the logs.
    """

    __module__ = PACKAGE

    def __init__(self, task_id: Any, cause: str, worker: int | None = None) -> None:
        self.task_id, self.cause, self.worker = task_id, cause, worker
        super().__init__(task_id, cause, worker)

    def __str__(self) -> str:
        process = "its worker process" if self.worker is None else f"worker process {self.worker}"
        return f"{task_words(self.task_id)}: {process} {self.cause}"
