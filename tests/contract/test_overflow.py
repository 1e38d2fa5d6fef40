"""What a full pool sends to another executor: it runs there, or comes home; nothing is lost, nothing is run twice."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from overflowing import (  # noqa: F401
    Full,
    Staged,
    _no_tracker,
    about,
    die,
    fail_the_first_time,
    note_and_die_once,
    processes,
    raise_broken,
    raise_stubborn,
    square,
    square_later,
    until,
)

from worker_dispatcher import (
    DuplicateTask,
    WorkerDied,
    WorkerPool,
    current_task,
)

pytestmark = pytest.mark.above_the_pools


def test_a_pool_fills_its_own_workers_first_and_sends_away_what_it_has_no_room_for() -> None:
    gate = threading.Event()
    with ThreadPoolExecutor(8) as executor, WorkerPool(2, capacity=3, overflow=executor) as pool:
        futures = [pool.submit(gate.wait) for _ in range(8)]
        until(lambda: pool.stats().running == 2)
        stats = pool.stats()
        assert (stats.queued, stats.away, len(pool), stats.rejected) == (1, 5, 8, 0)
        gate.set()
        assert [future.result(30) for future in futures] == [True] * 8
        assert [future.outcome().where for future in futures] == ["local"] * 3 + ["overflow"] * 5
        stats = pool.stats()
        assert (stats.submitted, stats.succeeded, stats.away) == (8, 8, 0)


@pytest.mark.parametrize("kind", ["thread", "process", "grid"])
def test_all_kinds_of_pools_send_to_threads_processes_and_other_pools(kind: str) -> None:
    with ThreadPoolExecutor(2) as threads, processes() as apart, WorkerPool(2, kind=kind) as other:
        for executor in (threads, other, *([apart] if kind == "thread" else [])):
            with WorkerPool(2, kind=kind, capacity=2, overflow=executor) as pool:
                assert list(pool.map(square, range(60))) == [n * n for n in range(60)]
                futures = pool.schedule_many([(square_later, (n,)) for n in range(20)])
                assert [future.result(30) for future in futures] == [n * n for n in range(20)]
                assert {future.outcome().where for future in futures} == {"local", "overflow"}
                assert pool.stats().succeeded == 80


def test_a_pool_of_coroutines_sends_to_threads() -> None:
    with ThreadPoolExecutor(2) as threads, WorkerPool(2, kind="coroutine", capacity=2, overflow=threads) as pool:
        full = [pool.submit(asyncio.sleep, 0.5) for _ in range(2)]
        futures = [pool.submit(square_later, n) for n in range(30)]
        assert [future.result(30) for future in futures] == [n * n for n in range(30)]
        assert {future.outcome().where for future in (*full, *futures)} == {"local", "overflow"}


def test_a_task_that_is_away_knows_itself() -> None:
    with processes() as executor, Full(executor, options={"of": "pool"}) as full:
        mine = full.pool.schedule(about, id="me", name="N", options={"a": 1})
        plain = full.pool.submit(about)
        assert "me" in full.pool
        assert full.pool.get("me") is mine
        *known, pid = mine.result(30)
        assert known == ["me", "N", 1, {"a": 1}]
        assert pid != os.getpid()
        assert plain.result(30)[:4] == (plain.id, "about", 1, {"of": "pool"})
        result = mine.outcome()
        assert result.where == "overflow"
        assert 0 <= result.duration < 30
        assert result.worker is None
        assert current_task() is None


def test_one_that_an_executor_refuses_comes_home_and_is_told() -> None:
    refused = RuntimeError("no room here")
    with Full(Staged(refused)) as full:
        future = full.pool.schedule(square, (3,), id="three")
        until(lambda: full.told)
        task, error = full.told[0]
        assert (task.id, task.fn, task.args, error) == ("three", square, (3,), refused)
        stats = full.pool.stats()
        assert (stats.queued + stats.running, stats.away) == (2, 0)
        with pytest.raises(DuplicateTask):
            full.pool.schedule(square, (3,), id="three")
        full.let_go()
        assert future.result(30) == 9
        assert future.outcome().where == "local"
    assert len(full.told) == 1
    assert full.pool.stats().succeeded == 2


@pytest.mark.parametrize(
    "fails", [lambda f: f.cancel(), lambda f: f.set_exception(BrokenExecutor("gone")), lambda f: f.set_result("odd")]
)
def test_one_that_is_cancelled_or_lost_or_answered_by_nonsense_comes_home(fails: Callable[[Future[Any]], Any]) -> None:
    executor = Staged()
    with Full(executor) as full:
        future = full.pool.submit(square, 4)
        assert full.pool.stats().away == 1
        fails(executor.tasks[0][0])
        until(lambda: full.told)
        full.let_go()
        assert future.result(30) == 16
        assert future.outcome().attempts == 1


def test_what_comes_home_counts_for_capacity_and_goes_before_what_came_later() -> None:
    executor = Staged()
    with Full(executor, on_full="raise") as full:
        order = list[int]()
        away = full.pool.submit(order.append, 1)
        executor.tasks[0][0].cancel()
        until(lambda: full.told)
        stats = full.pool.stats()
        assert (stats.queued + stats.running, stats.away) == (2, 0)
        full.pool.submit(order.append, 2)  # there is no room, with two that have not ended
        assert full.pool.stats().away == 1
        full.let_go()
        away.result(30)
        executor.run(1)
    assert order == [1, 2]


def test_ctrl_c_in_the_submit_of_the_executor_loses_no_task() -> None:
    with Full(Staged(KeyboardInterrupt())) as full:
        with pytest.raises(KeyboardInterrupt):
            full.pool.schedule(square, (5,), id="five")
        found = full.pool.get("five")
        full.let_go()
        assert found is None or found.result(30) == 25
    assert full.pool.stats().succeeded == 2


def test_what_a_task_raises_is_its_own_end_also_where_it_looks_like_the_executors() -> None:
    with processes() as executor, Full(executor) as full:
        broken, stubborn = full.pool.submit(raise_broken), full.pool.submit(raise_stubborn)
        with pytest.raises(BrokenProcessPool, match="mine") as caught:
            broken.result(30)
        assert "raise_broken" in str(caught.value.__cause__)
        with pytest.raises(Exception, match="it has a text"):
            stubborn.result(30)
        assert not full.told
        assert full.pool.stats().failed == 2


def test_arguments_that_cannot_be_sent_are_an_error_of_their_task_alone() -> None:
    with processes() as executor, Full(executor) as full:
        bad, good = full.pool.submit(len, threading.Lock()), full.pool.submit(square, 2)
        with pytest.raises(TypeError, match="pickle"):
            bad.result(30)
        assert good.result(30) == 4
        assert not full.told


def test_a_worker_that_is_killed_there_costs_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "runs")
    with processes() as executor:
        told: list[Any] = []
        with WorkerPool(
            2, kind="process", capacity=2, overflow=executor, on_overflow_failed=lambda *what: told.append(what)
        ) as pool:
            gates = [pool.submit(time.sleep, 0.5) for _ in range(2)]
            futures = [pool.submit(note_and_die_once, path, n) for n in range(20)]
            assert [future.result(60) for future in futures] == list(range(20))
            assert all(gate.result(30) is None for gate in gates)
            assert pool.stats().succeeded == 22
        assert told
        assert all(isinstance(error, (BrokenProcessPool, RuntimeError)) for _, error in told)
    runs = sorted(map(int, Path(path).read_text().split()))
    assert set(runs) == set(range(20))
    assert all(runs.count(n) == 1 or n in {task.args[1] for task, _ in told} for n in runs)


def test_a_task_that_kills_its_worker_in_another_pool_is_that_tasks_end() -> None:
    with WorkerPool(1, kind="process") as other, Full(other) as full:
        dead, good = full.pool.schedule(die, id="dead"), full.pool.submit(square, 3)
        with pytest.raises(WorkerDied, match=r"'dead'.*SIGKILL"):
            dead.result(30)
        assert good.result(30) == 9
        assert not full.told


def test_a_pool_that_is_shut_down_sends_home_what_it_has_not_begun() -> None:
    other, gate = WorkerPool(1), threading.Event()
    with Full(other) as full:
        futures = [full.pool.submit(gate.wait), *(full.pool.submit(square, n) for n in range(3))]
        until(lambda: other.stats().running == 1)
        other.shutdown(wait=False, cancel_futures=True)
        until(lambda: len(full.told) == 3)
        late = full.pool.submit(square, 9)
        gate.set()
        full.let_go()
        assert [future.result(30) for future in (*futures, late)] == [True, 0, 1, 4, 81]
    other.shutdown()


@pytest.mark.parametrize("begun", [True, False])
def test_retries_count_there_and_here_together(begun: bool, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor, Full(executor) as full:
        future = full.pool.schedule(fail_the_first_time, (str(tmp_path / "runs"),), retries=1 if begun else 0)
        if begun:
            until(lambda: full.pool.stats().away == 0)
            full.let_go()
            result = future.outcome(30)
            assert (result.value, result.attempts, result.where) == ("ok", 2, "local")
        else:
            result = future.outcome(30)
            assert (result.state, result.attempts, result.where) == ("failed", 1, "overflow")
