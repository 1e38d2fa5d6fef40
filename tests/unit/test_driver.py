"""The driver with a pool that is staged: what it waits for before it raises."""

from __future__ import annotations

from typing import Any

from worker_dispatcher.clock import Anchor, now
from worker_dispatcher.config import parse
from worker_dispatcher.dispatch.drive import Driver
from worker_dispatcher.dispatch.plan import make_plan
from worker_dispatcher.dispatch.tasklist import task_list
from worker_dispatcher.pools.base import Ended, Raised
from worker_dispatcher.records import Failure, Ledger


class LatePool:
    """Its one task fails at once; the exception object and the process's id come one by one, in waits that follow."""

    def __init__(self) -> None:
        self.pids: dict[int, int] = {}
        self.complaints: list[str] = []
        self._news = [self._fails, self._brings, self._names]

    def feed(self, source: Any) -> None:
        source.take(1)

    def wait(self, until: float) -> list[Any]:
        return self._news.pop(0)()

    def _fails(self) -> list[Any]:
        at = now()
        return [Ended(1, "KL502", at - 2, at, None, Failure("ValueError", "no such order", "trace"), None, 1)]

    def _brings(self) -> list[Any]:
        return [Raised(1, ValueError("no such order"))]

    def _names(self) -> list[Any]:
        self.pids[1] = 4711
        return []

    def stop(self) -> list[Any]:
        return []

    def hurry(self) -> None:
        """Nobody waits."""

    def wake(self) -> None:
        """Nobody sleeps."""

    def close(self) -> None:
        """Nothing is held."""


def test_a_failed_tasks_exception_waits_for_the_id_of_its_process() -> None:
    config = parse({"task": {"list": ["KL502"], "function": lambda task: task}, "worker": {"use_processing": True}})
    anchor = Anchor.take()
    driver = Driver(
        make_plan(config, 1, anchor),
        task_list(config.task.list, 1),
        Ledger(anchor),
        on_error="raise",
        max_failures=None,
    )

    driver.run(LatePool)

    assert isinstance(driver.error, ValueError)
    where = "  task #1 of 1, attempt 1, ran 2.00 s in worker process 1 (pid 4711); input 'KL502'"
    assert driver.error.__notes__[0] == where
