"""WorkerPool in the place of the executors of concurrent.futures, with the arguments that these take."""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures
from concurrent.futures import process
from typing import Any

from worker_dispatcher import WorkerPool
from worker_dispatcher.errors import RemoteTraceback


class StandIn(WorkerPool):
    """With the attributes that tests look at in passing, on the way to what they are about."""

    @property
    def _max_workers(self) -> int:
        return self.max_workers

    @property
    def _broken(self) -> bool:
        return self._scheduler.error is not None


class ThreadPoolExecutor(StandIn):
    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        super().__init__(max_workers, name=thread_name_prefix, initializer=initializer, initargs=initargs)


class ProcessPoolExecutor(StandIn):
    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
    ) -> None:
        super().__init__(
            max_workers,
            kind="process",
            mp_context=mp_context,
            initializer=initializer,
            initargs=initargs,
            max_tasks_per_child=max_tasks_per_child,
        )


def install() -> None:
    """Whoever asks concurrent.futures for an executor gets ours from now on."""
    futures.ThreadPoolExecutor = ThreadPoolExecutor  # type: ignore[misc, assignment]
    futures.ProcessPoolExecutor = ProcessPoolExecutor  # type: ignore[misc, assignment]
    process._RemoteTraceback = RemoteTraceback  # type: ignore[misc, assignment]
