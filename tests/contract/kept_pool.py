"""A pool that is kept, on the core alone: a source of calls, a sink of futures, a driver in a thread of its own."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from worker_dispatcher.call_style import CallStyle
from worker_dispatcher.core.driver import Driver
from worker_dispatcher.execute import Call
from worker_dispatcher.pools.base import Batch, Ended, Finished, Pool, Setup
from worker_dispatcher.pools.processes import ProcessPool
from worker_dispatcher.pools.threads import ThreadPool

__all__ = ["KeptPool"]


def invoke(task: tuple[Callable[..., Any], tuple[Any, ...]]) -> Any:
    function, arguments = task
    return function(*arguments)


SETUP = Setup(Call(invoke, CallStyle(positional=True), keep_exception=True))
POOLS: dict[str, Callable[[], Pool]] = {
    "threads": lambda: ThreadPool(SETUP, 2),
    "processes": lambda: ProcessPool(SETUP, (1, 1), method=None, environment={}),
    "grid": lambda: ProcessPool(SETUP, (2, 2), method=None, environment={}),
}


class Calls:
    """The source. Shared: fresh, under its mutex; what came back belongs to the driver's thread."""

    def __init__(self) -> None:
        self.mutex, self.fresh, self.given = threading.Lock(), deque[Any](), 0
        self.back, self.alone = deque[Batch](), deque[Batch]()

    def take(self, count: int) -> Batch | None:
        if self.back:
            return self.back.popleft()
        with self.mutex:
            items = [self.fresh.popleft() for _ in range(min(count, len(self.fresh)))]
        self.given += len(items)
        return Batch(self.given - len(items) + 1, items) if items else None

    def take_alone(self) -> Batch | None:
        return self.alone.popleft() if self.alone else None

    def waiting(self) -> int:
        return len(self.fresh) + sum(len(batch.items) for batch in self.back)

    def call(self) -> None:
        """Always that of SETUP."""

    def due(self) -> float:
        return 0.0 if self.waiting() else math.inf

    def crowd(self, within: float) -> int:
        return self.waiting()

    def alone_waiting(self) -> bool:
        return bool(self.alone)

    def release(self) -> None: ...
    def next_due(self) -> float:
        return math.inf

    def put_back(self, batch: Batch) -> None:
        (self.alone if batch.alone else self.back).append(batch)

    def put_back_at(self, due: float, batch: Batch) -> None:
        raise NotImplementedError  # nothing is tried again here


class KeptPool:
    """The sink, too: each end resolves a future. `submit` and `shutdown` from any thread."""

    def __init__(self, shape: str) -> None:
        self.calls, self.futures, self.closing = Calls(), dict[int, Future[Any]](), False
        self.submitted = 0
        self.driver = Driver(POOLS[shape](), self.calls, self, self)
        self.thread = threading.Thread(target=self.live)
        self.thread.start()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with self.calls.mutex:
            self.submitted += 1
            self.futures[self.submitted] = future
            self.calls.fresh.append((function, arguments))
        self.driver.wake()
        return future

    def shutdown(self) -> None:
        self.closing = True
        self.driver.wake()
        self.thread.join()

    def live(self) -> None:
        try:
            self.driver.run(lambda: not self.closing or bool(self.futures))
        finally:
            self.driver.close()

    def wait(self, event: Ended, attempts: int) -> None:
        """The retries: none."""

    def finished(self, event: Finished, attempts: dict[int, int]) -> None:
        for task_id, result in zip(event.task_ids, event.results, strict=True):
            self.futures.pop(task_id).set_result(result)

    def ended(self, event: Ended, attempts: int) -> None:
        failure, future = event.failure, self.futures.pop(event.task_id)
        if failure is None:
            future.set_result(event.result)
        else:
            future.set_exception(failure.exception or RuntimeError(f"{failure.type}: {failure.message}"))

    def broken(self, error: BaseException) -> str:
        for future in self.futures.values():
            future.set_exception(error)
        self.futures.clear()
        return "exception"
