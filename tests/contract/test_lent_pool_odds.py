"""A run on the workers of a WorkerPool: what goes wrong around its tasks, and what they log, is its own."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from notes import wait_for

from worker_dispatcher import WorkerPool, get_logs, start
from worker_dispatcher.pools.base import Batch
from worker_dispatcher.workpool.lent import Handover

pytestmark = pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")


@pytest.fixture(params=["process", "grid"])
def pool(request: pytest.FixtureRequest) -> Iterator[WorkerPool]:
    with WorkerPool(2, kind=request.param) as made:
        yield made


class Unsendable:
    def __reduce__(self) -> Any:
        raise KeyError("not to be packed")


class Unloadable:
    def __reduce__(self) -> Any:
        return _raise, ()


def _raise() -> None:
    raise KeyError("not to be loaded")


def give(task: Any) -> Any:
    return Unsendable() if task == "a result" else task


@pytest.mark.parametrize("item", [Unsendable(), Unloadable(), "a result"], ids=["unsendable", "unloadable", "result"])
def test_retry_on_is_asked_for_what_cannot_be_sent_too(pool: WorkerPool, item: Any) -> None:
    for retry_on, attempts in ((ValueError, 1), (KeyError, 2)):
        task = {"function": give, "list": [item], "retries": 1, "retry_on": retry_on, "backoff": {"initial": 0}}
        results = start({"task": task, "worker": {"pool": pool}, "verbose": False})
        assert results[0].error["type"] == "KeyError"
        assert get_logs()[0]["attempts"] == attempts


def log(number: int) -> int:
    logging.getLogger("app.lent").warning("task %d", number)
    return number


def test_what_workers_of_a_pool_log_reaches_the_handlers_of_the_program(
    pool: WorkerPool, caplog: pytest.LogCaptureFixture
) -> None:
    def logged() -> set[str]:
        return {record.getMessage() for record in caplog.records if record.name == "app.lent"}

    assert pool.submit(log, 7).result(30) == 7
    assert start({"task": {"function": log, "list": [1, 2]}, "worker": {"pool": pool}, "verbose": False}) == [1, 2]
    wait_for(lambda: logged() == {"task 7", "task 1", "task 2"})


def end_or_sleep(seconds: float) -> float:
    if not seconds:
        os._exit(3)
    time.sleep(seconds)
    return seconds


def test_a_run_whose_time_is_over_does_not_keep_the_pool_busy_while_its_thread_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is held up in what the user wrote for it, and its tasks are turned back by the workers meanwhile."""
    given: list[int] = []
    take = Handover.take

    def noting(tasks: Handover, count: int) -> Batch | None:
        given.append(count)
        return take(tasks, count)

    monkeypatch.setattr(Handover, "take", noting)

    def slow(error: BaseException) -> bool:
        time.sleep(runtime + 0.8)
        return False

    with WorkerPool(2, kind="process") as pool:
        assert list(pool.map(end_or_sleep, [0.2, 0.2])) == [0.2, 0.2]  # both workers are here
        for runtime in (0.8, 5.0):  # a busy machine may not have begun anything when the first is over
            items = [0, *[runtime + 0.2] * 9]
            task = {"function": end_or_sleep, "list": items, "retries": 1, "retry_on": slow}
            start({"task": task, "runtime": runtime, "worker": {"pool": pool}, "verbose": False})
            if any(log["status"] == "crashed" for log in get_logs()):
                break
    assert get_logs()[0]["status"] == "crashed"
    assert len(given) < 50
