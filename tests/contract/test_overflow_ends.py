"""How what a full pool has sent away is ended from here: deadlines, timeouts, cancel, rescue, shutdown."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from overflowing import (  # noqa: F401
    Full,
    Staged,
    _no_tracker,
    square,
    until,
)

from worker_dispatcher import (
    ConfigError,
    DeadlineExceeded,
    Limiter,
    PoolFull,
    TaskHooks,
    TaskTimeout,
    WorkerPool,
)
from worker_dispatcher.workpool.future import TaskFuture


def test_past_its_deadline_a_task_has_ended_whatever_the_executor_does() -> None:
    executor, expired = Staged(), list[Any]()
    with Full(executor, hooks=TaskHooks(on_expired=expired.append)) as full:
        running = full.pool.schedule(square, (1,), deadline=0.2)
        waiting = full.pool.schedule(square, (1,), deadline=0.2)
        executor.begin(0)
        for future in (running, waiting):
            with pytest.raises(DeadlineExceeded):
                future.result(30)
        assert executor.tasks[1][0].cancelled()
        executor.end(0)
        assert running.outcome().state == "expired"
    assert full.pool.stats().expired == 2
    assert len(expired) == 2
    assert not full.told


def test_one_that_runs_there_longer_than_its_timeout_is_told_so_and_its_time_begins_as_it_does() -> None:
    executor = Staged()
    with Full(executor) as full:
        future = full.pool.schedule(square, (1,), timeout=0.4)
        time.sleep(0.7)
        assert not future.done()
        began = time.monotonic()
        executor.begin()
        with pytest.raises(TaskTimeout):
            future.result(30)
        assert time.monotonic() - began >= 0.4
        assert future.outcome().where == "overflow"
        executor.end()
    assert full.pool.stats().timeout == 1


def test_after_a_timeout_there_no_attempt_begins_before_that_one_has_returned() -> None:
    executor, runs = Staged(), list[int]()
    with Full(executor) as full:
        future = full.pool.schedule(runs.append, (1,), timeout=0.1, retries=1, retry_on=TaskTimeout)
        executor.begin()
        full.let_go()
        until(lambda: full.pool.stats().delayed == 1)
        time.sleep(0.2)
        assert runs == []
        assert full.pool.stats().abandoned == 1
        executor.end()
        result = future.outcome(30)
        assert (result.state, result.attempts, result.where, runs) == ("succeeded", 2, "local", [1, 1])


def test_a_timeout_in_another_pool_of_processes_ends_the_work_there() -> None:
    with WorkerPool(1, kind="process") as other, Full(other) as full:
        assert full.pool.submit(square, 2).result(30) == 4
        future = full.pool.schedule(time.sleep, (600,), timeout=0.2)
        with pytest.raises(TaskTimeout):
            future.result(30)
        assert other.submit(square, 3).result(30) == 9


def test_what_has_not_begun_there_is_cancelled_by_its_future_or_its_id() -> None:
    executor = Staged()
    with Full(executor) as full:
        future = full.pool.schedule(square, (1,), id="a")
        assert future.cancel()
        assert future.cancelled()
        assert executor.tasks[0][0].cancelled()
        full.pool.schedule(square, (1,), id="a")  # the id is free
        assert full.pool.cancel("a")
        assert "a" not in full.pool
        assert executor.tasks[1][0].cancelled()
        running = full.pool.schedule(square, (1,), id="b")
        executor.begin(2)
        assert not running.cancel()
        assert full.pool.cancel("b")
        assert running.cancelled()
        assert running.outcome().state == "cancelled"
        executor.end(2)
        assert full.pool.stats().cancelled == 3
        assert len(full.pool) == 1
    assert not full.told


def test_rescue_takes_what_is_away_and_has_not_begun_and_with_running_all() -> None:
    executor = Staged()
    with Full(executor) as full:
        for n in range(2):
            full.pool.schedule(square, (n,), id=f"n{n}")
        executor.begin(0)
        assert [task.id for task in full.pool.rescue()] == ["n1"]
        assert {task.id for task in full.pool.rescue(running=True)} == {"n0", None}  # the first has no id of its own
        executor.end(0)
        assert full.pool.stats().rescued == 3
        assert len(full.pool) == 0


def test_what_waits_for_a_time_a_limiter_or_a_group_stays_here() -> None:
    executor, limiter = Staged(), Limiter(1000)
    with Full(executor, on_full="raise") as full, full.pool.group(max_workers=1) as group:
        with pytest.raises(PoolFull):
            full.pool.schedule(square, (1,), delay=0.01)
        with pytest.raises(PoolFull):
            full.pool.schedule(square, (1,), limiter=limiter)
        with pytest.raises(PoolFull):
            group.submit(square, 1)
        with full.pool.pause(0.01), pytest.raises(PoolFull):
            full.pool.submit(square, 1)
        assert not executor.tasks
        assert full.pool.stats().rejected == 4
        with full.pool.group(name="free") as free:
            free.submit(square, 1)
            executor.run(0)
        full.let_go()


def test_a_shutdown_waits_for_what_is_away() -> None:
    executor = Staged()
    full = Full(executor)
    future = full.pool.submit(square, 7)
    executor.begin()
    full.let_go()
    threading.Timer(0.2, executor.end).start()
    full.pool.shutdown()
    assert future.done()
    assert future.result() == 49


def test_a_shutdown_that_cancels_or_kills_takes_back_what_is_away() -> None:
    executor = Staged()
    full = Full(executor)
    waiting = full.pool.submit(square, 1)
    full.let_go()
    full.pool.shutdown(cancel_futures=True)
    assert waiting.cancelled()
    assert executor.tasks[0][0].cancelled()
    executor = Staged()
    full = Full(executor)
    running = full.pool.submit(square, 1)
    executor.begin()
    full.let_go()
    full.pool.shutdown(kill=True)
    assert running.cancelled()
    executor.end()
    stats = full.pool.stats()
    assert stats.submitted == stats.succeeded + stats.cancelled


def test_a_pool_that_takes_the_overflow_of_another_is_used_beside_that() -> None:
    gate = threading.Event()
    one = WorkerPool(1, capacity=1)
    with WorkerPool(1, capacity=1, overflow=one) as other, one:
        futures = [other.submit(gate.wait), one.submit(gate.wait)]
        threading.Timer(0.1, gate.set).start()
        futures += [other.submit(square, n) for n in range(50)]
        assert [future.result(30) for future in futures] == [True, True, *(n * n for n in range(50))]


def test_an_overflow_needs_a_capacity_and_its_end_an_overflow() -> None:
    with pytest.raises(ConfigError, match="capacity"):
        WorkerPool(1, overflow=Staged())
    with pytest.raises(ConfigError, match=r"concurrent\.futures\.Executor"):
        WorkerPool(1, capacity=1, overflow=3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"on_overflow_failed.*without an overflow"):
        WorkerPool(1, on_overflow_failed=print)
    with pytest.raises(ConfigError, match=r"on_overflow_failed.*function"):
        WorkerPool(1, capacity=1, overflow=Staged(), on_overflow_failed=3)  # type: ignore[arg-type]


def test_futures_that_are_cancelled_while_the_executor_fails_end_once_and_the_sums_are_right() -> None:
    """Seeded by the clock of the threads alone: whatever comes first, each ends once."""
    executor, ran = Staged(), list[int]()
    with Full(executor) as full:
        futures: list[TaskFuture] = [full.pool.submit(ran.append, n) for n in range(300)]

        def fail_all() -> None:
            for inner, _ in executor.tasks:
                inner.cancel()

        helper = threading.Thread(target=fail_all)
        helper.start()
        cancelled = [future.cancel() for future in futures]
        helper.join()
        full.let_go()
        assert full.pool.join(30)
        stats = full.pool.stats()
        assert stats.cancelled == sum(cancelled)
        assert stats.succeeded == 301 - sum(cancelled)
        assert sorted(ran) == [n for n, gone in enumerate(cancelled) if not gone]
