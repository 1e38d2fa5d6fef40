"""How a WorkerPool is shut down, in every kind and in all ways that concurrent.futures has, and ours."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import pytest
from gates import Gate, double, of
from pooled import APART, PLAIN, adds_up

from worker_dispatcher import PoolClosed, WorkerPool
from worker_dispatcher.errors import WorkerWarning

pytestmark = pytest.mark.above_the_pools

NewPool = Callable[..., WorkerPool]


def test_shutdown_waits_for_all_that_was_submitted(kind: str, new_pool: NewPool, gate: Gate) -> None:
    pool = new_pool(1)
    held = [pool.submit(of(kind, gate.hold), str(number)) for number in range(3)]
    late = pool.schedule(of(kind, double), (1,), delay=0.2)
    threading.Timer(0.1, gate.open).start()
    pool.shutdown()
    assert [future.result(0) for future in (*held, late)] == ["0", "1", "2", 2]
    assert adds_up(pool)
    assert pool.stats().workers == 0


def test_nothing_is_taken_after_shutdown_and_it_may_be_repeated(kind: str, new_pool: NewPool) -> None:
    pool = new_pool()
    pool.shutdown()  # before the first task
    pool.shutdown(wait=False)
    assert pool.closed
    for take in (
        lambda: pool.submit(of(kind, double), 1),
        lambda: pool.schedule(of(kind, double), (1,)),
        lambda: pool.map(of(kind, double), [1]),
        lambda: pool.schedule_many([(of(kind, double), (1,))]),
    ):
        with pytest.raises(PoolClosed, match="cannot schedule new futures after shutdown"):
            take()
    assert issubclass(PoolClosed, RuntimeError)


def test_shutdown_without_wait_returns_at_once_and_the_work_is_done(kind: str, new_pool: NewPool, gate: Gate) -> None:
    pool = new_pool(1)
    held = [pool.submit(of(kind, gate.hold), str(number)) for number in range(3)]
    pool.shutdown(wait=False)
    assert not any(future.done() for future in held)
    gate.open()
    assert [future.result(30) for future in held] == ["0", "1", "2"]
    pool.shutdown()


@pytest.mark.leaves_threads(1)
def test_shutdown_that_kills_ends_what_runs(kind: str, new_pool: NewPool, gate: Gate, wait_until: Any) -> None:
    pool = new_pool(1)
    runs, waits = pool.submit(of(kind, gate.hold), "runs"), pool.submit(of(kind, gate.hold), "never")
    wait_until(gate.begun)
    began = time.monotonic()
    pool.shutdown(kill=True)
    assert time.monotonic() - began < 5
    assert runs.cancelled()
    assert waits.cancelled()
    assert gate.begun() == ["runs"]


@pytest.mark.leaves_threads(1)
def test_shutdown_over_its_time_ends_what_is_left_and_warns_of_it(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    pool = new_pool(1)
    runs, waits = pool.submit(of(kind, gate.hold), "runs"), pool.submit(of(kind, gate.hold), "never")
    wait_until(gate.begun)
    began = time.monotonic()
    with pytest.warns(WorkerWarning, match="2 tasks that had not ended after 0.2 s"):
        pool.shutdown(timeout=0.2)
    assert 0.2 <= time.monotonic() - began < 8
    assert futures.wait([runs, waits], 0).not_done == set()
    assert pool.closed


def test_shutdown_resumes_a_pool_that_is_paused(kind: str, new_pool: NewPool) -> None:
    pool = new_pool()
    pool.submit(of(kind, double), 1).result(30)
    pool.pause()
    waits = pool.submit(of(kind, double), 2)
    pool.shutdown()
    assert waits.result(0) == 4


def test_many_threads_shut_down_at_once(kind: str, new_pool: NewPool, gate: Gate) -> None:
    pool = new_pool()
    held = pool.submit(of(kind, gate.hold), "held")
    threads = [threading.Thread(target=pool.shutdown) for _ in range(8)]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert held.result(0) == "held"


@pytest.mark.parametrize("kind", ["thread"])
def test_a_task_that_would_wait_for_itself_is_told_so(new_pool: NewPool, kind: str) -> None:
    pool = new_pool()
    for wait in (pool.shutdown, pool.join):
        with pytest.raises(RuntimeError, match="would wait for the task that calls it"):
            pool.submit(wait).result(30)
    pool.submit(pool.shutdown, wait=False).result(30)  # who does not wait may close it
    assert pool.closed


@pytest.mark.parametrize("verb", ["shutdown", "join"])
def test_a_callback_of_a_future_that_would_wait_for_itself_is_told_so(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any, verb: str
) -> None:
    pool, raised = new_pool(), list[BaseException]()

    def wait(_: Any) -> None:
        try:
            getattr(pool, verb)()
        except RuntimeError as error:
            raised.append(error)

    future = pool.submit(of(kind, gate.hold), "held")
    future.add_done_callback(wait)
    gate.open()
    wait_until(lambda: raised)
    assert "would wait for the callback" in str(raised[0])
    assert pool.submit(of(kind, double), 2).result(30) == 4


def test_a_block_that_ends_waits_and_closes(kind: str, new_pool: NewPool, gate: Gate) -> None:
    with new_pool(1) as pool:
        held = [pool.submit(of(kind, gate.hold), str(number)) for number in range(2)]
        threading.Timer(0.1, gate.open).start()
    assert [future.result(0) for future in held] == ["0", "1"]
    assert pool.closed


@pytest.mark.parametrize("kind", APART)
def test_workers_are_gone_when_shutdown_returns(new_pool: NewPool, kind: str) -> None:
    import psutil

    pool = new_pool()
    pids = {future.result(30) for future in [pool.submit(_pid) for _ in range(4)]}
    pool.shutdown()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def _pid() -> int:
    import os

    return os.getpid()


@pytest.mark.parametrize("kind", PLAIN)
def test_a_pool_that_is_dropped_does_its_work_and_ends(kind: str, gate: Gate, wait_until: Any) -> None:
    threads = set(threading.enumerate())
    pool = WorkerPool(2, kind=kind, name="dropped")
    held = [pool.submit(gate.hold, str(number)) for number in range(4)]
    del pool
    gate.open()
    assert [future.result(30) for future in held] == ["0", "1", "2", "3"]
    wait_until(lambda: not set(threading.enumerate()) - threads)


def test_shutdown_cancels_what_has_not_begun_where_it_is_told_to(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    pool = new_pool(1)
    runs = pool.submit(of(kind, gate.hold), "runs")
    wait_until(gate.begun)
    waits = [pool.submit(of(kind, gate.hold), "never"), pool.schedule(of(kind, double), (1,), delay=1000)]
    pool.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waits)
    gate.open()
    assert runs.result(30) == "runs"
    pool.shutdown()
    assert gate.begun() == ["runs"]
    assert adds_up(pool)


def test_an_exception_in_the_block_cancels_what_has_not_begun(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    with pytest.raises(KeyError), new_pool(1) as pool:  # noqa: PT012
        runs, waits = pool.submit(of(kind, gate.hold), "runs"), pool.submit(of(kind, gate.hold), "never")
        wait_until(gate.begun)
        threading.Timer(0.1, gate.open).start()
        raise KeyError
    assert runs.result(0) == "runs"
    assert waits.cancelled()


@pytest.mark.leaves_threads(1)
def test_ctrl_c_in_the_block_ends_what_runs_and_waits_for_nothing(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    began = 0.0
    with pytest.raises(KeyboardInterrupt), new_pool(1) as pool:  # noqa: PT012
        runs, waits = pool.submit(of(kind, gate.hold), "runs"), pool.submit(of(kind, gate.hold), "never")
        wait_until(gate.begun)
        began = time.monotonic()
        raise KeyboardInterrupt
    assert time.monotonic() - began < 3
    assert futures.wait([runs, waits], 10).not_done == set()
    assert waits.cancelled()
