"""What a full pool sends to another executor: it runs there, or comes home; nothing is lost, nothing is run twice."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, resource_tracker
from pathlib import Path
from typing import Any

import pytest

from worker_dispatcher import (
    ConfigError,
    DeadlineExceeded,
    DuplicateTask,
    Limiter,
    PoolFull,
    TaskHooks,
    TaskTimeout,
    WorkerDied,
    WorkerPool,
    current_task,
)
from worker_dispatcher.workpool.future import TaskFuture


class Staged(Executor):
    """Does what a test tells it, when it tells it. refuses: what `submit` raises."""

    def __init__(self, refuses: BaseException | None = None) -> None:
        self.refuses, self.tasks = refuses, list[tuple[Future[Any], Callable[[], Any]]]()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.refuses is not None:
            raise self.refuses
        future: Future[Any] = Future()
        self.tasks.append((future, lambda: fn(*args, **kwargs)))
        return future

    def begin(self, at: int = 0) -> None:
        assert self.tasks[at][0].set_running_or_notify_cancel()

    def end(self, at: int = 0) -> None:
        self.tasks[at][0].set_result(self.tasks[at][1]())

    def run(self, at: int = 0) -> None:
        self.begin(at)
        self.end(at)


class Full:
    """A pool of one worker and a capacity of one, which is taken until `let_go`: what is submitted now goes away."""

    def __init__(self, overflow: Executor, **more: Any) -> None:
        self.gate, self.told = threading.Event(), list[tuple[Any, BaseException]]()
        self.pool = WorkerPool(
            1, capacity=1, overflow=overflow, on_overflow_failed=lambda *what: self.told.append(what), **more
        )
        self.first = self.pool.submit(self.gate.wait)

    def let_go(self) -> None:
        self.gate.set()

    def __enter__(self) -> Full:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        self.let_go()
        self.pool.shutdown(kill=error is not None)


def until(true: Callable[[], object]) -> None:
    by = time.monotonic() + 30
    while not true():
        assert time.monotonic() < by
        time.sleep(0.002)


def square(value: int) -> int:
    return value * value


async def square_later(value: int) -> int:
    await asyncio.sleep(0)
    return value * value


def about() -> tuple[Any, ...]:
    task = current_task()
    assert task is not None
    return task.id, task.name, task.attempt, dict(task.options), os.getpid()


def fail_the_first_time(path: str) -> str:
    with open(path, "a") as file:
        file.write("x")
    if len(Path(path).read_text()) == 1:
        raise KeyError("the first time")
    return "ok"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def raise_broken() -> None:
    raise BrokenProcessPool("mine")


class Stubborn(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("never")


def raise_stubborn() -> None:
    raise Stubborn("it has a text")


def note_and_die_once(path: str, number: int) -> int:
    with open(path, "a") as file:
        file.write(f"{number}\n")
    if number == 5 and not os.path.exists(path + ".died"):
        Path(path + ".died").touch()
        die()
    return number


def processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, mp_context=get_context("spawn"))


@pytest.fixture(autouse=True)
def _no_tracker() -> Iterator[None]:
    yield
    if resource_tracker._resource_tracker._pid is not None:  # type: ignore[attr-defined]
        gc.collect()  # what it has to unlink
        resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]  # it would be left behind


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
