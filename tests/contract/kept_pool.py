"""A pool that is kept, on the core alone: a source of calls, a sink of futures, a driver in a thread of its own."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

from worker_dispatcher.call import Call
from worker_dispatcher.call_style import CallStyle
from worker_dispatcher.core.shared_driver import SharedDriver
from worker_dispatcher.pools.base import AttemptDone, Batch, BatchDone, Pool, Setup
from worker_dispatcher.pools.processes import ProcessPool
from worker_dispatcher.pools.threads import ThreadPool
from worker_dispatcher.records import CANCELLED

__all__ = ["KeptPool"]

STYLE = CallStyle(positional=True)
SETUP = Setup(Call(abs, STYLE, keep_exception=True))
POOLS: dict[str, Callable[[], Pool]] = {
    "threads": lambda: ThreadPool(SETUP, 2),
    "processes": lambda: ProcessPool(SETUP, (1, 1), method=None, environment={}),
    "grid": lambda: ProcessPool(SETUP, (2, 2), method=None, environment={}),
}


class Calls:
    """The source: a queue of batches of one task. Shared: its single steps."""

    def __init__(self) -> None:
        self.fresh, self.alone = deque[Batch](), deque[Batch]()

    def take(self, count: int) -> Batch | None:
        return self.fresh.popleft() if self.fresh else None

    def take_alone(self) -> Batch | None:
        return self.alone.popleft() if self.alone else None

    def waiting(self) -> int:
        return len(self.fresh)

    def call(self) -> Call | None:
        return self.fresh[0].call

    def due(self) -> float:
        return 0.0 if self.fresh else math.inf

    def crowd(self, within: float) -> int:
        return len(self.fresh)

    def alone_waiting(self) -> bool:
        return bool(self.alone)

    def release(self) -> None: ...
    def next_due(self) -> float:
        return math.inf

    def put_back(self, batch: Batch) -> None:
        (self.alone if batch.alone else self.fresh).append(batch)

    def put_back_at(self, due: float, batch: Batch) -> None:
        raise NotImplementedError  # nothing is tried again here


class KeptPool:
    """The sink, too: each end resolves a future. All public methods but those of the sink: from any thread."""

    def __init__(self, shape: str) -> None:
        self.calls, self.futures, self.closing = Calls(), dict[int, Future[Any]](), False
        self.functions, self.mutex, self.submitted = dict[Any, Call](), threading.Lock(), 0
        self.pool = POOLS[shape]()
        self.driver = SharedDriver(self.pool, self.calls, self, self, (), after=lambda: None)
        self.thread = threading.Thread(target=self.live)
        self.thread.start()

    def submit(self, function: Callable[[Any], Any], item: Any, timeout: float | None = None) -> Future[Any]:
        with self.mutex:
            self.submitted += 1
            call = self.functions.setdefault(function, Call(function, STYLE, keep_exception=True))
            future = self.futures[self.submitted] = Future()
            self.calls.fresh.append(Batch(self.submitted, (item,), call=call, timeout=timeout))
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

    def wait(self, event: AttemptDone, attempts: int) -> None:
        """The retries: none."""

    def finished(self, event: BatchDone, attempts: dict[int, int]) -> None:
        for task_id, result in zip(event.task_ids, event.results, strict=True):
            self.futures.pop(task_id).set_result(result)

    def ended(self, event: AttemptDone, attempts: int) -> None:
        failure, future = event.failure, self.futures.pop(event.task_id)
        if failure is None:
            future.set_result(event.result)
        elif failure.status == CANCELLED:
            future.set_exception(CancelledError())
        else:
            future.set_exception(failure.exception or RuntimeError(f"{failure.type}: {failure.message}"))

    def broken(self, error: BaseException) -> str:
        for future in self.futures.values():
            future.set_exception(error)
        self.futures.clear()
        return "exception"
