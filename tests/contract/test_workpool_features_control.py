"""A WorkerPool as a whole: room, limits, pause, resize, join, numbers, and its end."""

from __future__ import annotations

import os
import queue
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from gates import Gate, double, of, wrong
from pooled import KINDS, adds_up

from worker_dispatcher import (
    ConfigError,
    Limiter,
    PoolClosed,
    PoolFull,
    WorkerPool,
    WorkerWarning,
)

pytestmark = pytest.mark.above_the_pools

NewPool = Callable[..., WorkerPool]


def test_a_full_pool_refuses_where_it_is_told_to(kind: str, new_pool: NewPool, gate: Gate, wait_until: Any) -> None:
    pool = new_pool(1, capacity=3, on_full="raise")
    pool.submit(of(kind, gate.hold))
    wait_until(gate.begun)
    pool.submit(of(kind, double), 1)
    pool.schedule(of(kind, double), (1,), delay=100, id="delayed")  # counts, too
    with pytest.raises(PoolFull, match="capacity of 3") as caught:
        pool.submit(of(kind, double), 1)
    assert isinstance(caught.value, queue.Full)
    with pytest.raises(PoolFull):
        pool.group().submit(of(kind, double), 1)
    assert (pool.stats().rejected, pool.stats().submitted) == (2, 3)
    assert pool.cancel("delayed")
    room = pool.submit(of(kind, double), 2)
    gate.open()
    assert room.result(30) == 4
    assert adds_up(pool)


def test_a_full_pool_has_the_submitter_wait_for_room(kind: str, new_pool: NewPool, gate: Gate, wait_until: Any) -> None:
    pool = new_pool(1, capacity=2)
    futures = [pool.submit(of(kind, gate.hold)) for _ in range(2)]
    entered = threading.Event()

    def submit() -> None:
        futures.append(pool.submit(of(kind, double), 4))
        entered.set()

    thread = threading.Thread(target=submit)
    thread.start()
    assert not entered.wait(0.1)
    gate.open()
    assert entered.wait(30)
    thread.join()
    assert futures[-1].result(30) == 8
    assert pool.stats().rejected == 0


def test_one_submit_waits_or_refuses_by_itself(kind: str, new_pool: NewPool, gate: Gate) -> None:
    blocks, raises = new_pool(1, capacity=1), new_pool(1, capacity=1, on_full="raise")
    for pool in (blocks, raises):
        pool.submit(of(kind, gate.hold))
    with pytest.raises(PoolFull):
        blocks.schedule(of(kind, double), (1,), block=False)
    for pool in (blocks, raises):
        began = time.monotonic()
        with pytest.raises(PoolFull):
            pool.schedule(of(kind, double), (1,), block=True, put_timeout=0.2)
        assert time.monotonic() - began >= 0.19
    threading.Timer(0.1, gate.open).start()
    assert raises.schedule(of(kind, double), (2,), block=True, put_timeout=30).result(30) == 4


def test_a_submitter_that_waits_hears_that_the_pool_is_closed(kind: str, new_pool: NewPool, gate: Gate) -> None:
    pool = new_pool(1, capacity=1)
    pool.submit(of(kind, gate.hold))
    errors: list[BaseException] = []
    waits = threading.Event()

    def submit() -> None:
        waits.set()
        try:
            pool.submit(of(kind, double), 1)
        except PoolClosed as error:
            errors.append(error)

    thread = threading.Thread(target=submit)
    thread.start()
    waits.wait()
    time.sleep(0.05)
    pool.shutdown(wait=False)
    gate.open()
    thread.join(30)
    assert len(errors) == 1


@pytest.mark.parametrize("kind", ["thread"])
def test_a_task_of_a_full_pool_cannot_wait_for_room_in_it(new_pool: NewPool) -> None:
    pool = new_pool(1, capacity=1)
    with pytest.raises(RuntimeError, match="block=False"):
        pool.submit(pool.submit, double, 1).result(30)


def test_a_limiter_spaces_what_shares_it_and_holds_no_worker(kind: str, new_pool: NewPool) -> None:
    pool = new_pool(2)
    for future in [pool.submit(of(kind, time.sleep), 0.01) for _ in range(8)]:
        future.result(30)  # the workers are there
    limiter = Limiter(10)
    slow = [pool.schedule(of(kind, double), (number,), limiter=limiter, id=("slow", number)) for number in range(4)]
    fast = [pool.submit(of(kind, double), number) for number in range(20)]
    assert [future.result(30) for future in fast] == [2 * number for number in range(20)]
    last = max(future.outcome(30).started_at or 0.0 for future in slow)
    assert [future.result() for future in slow] == [0, 2, 4, 6]
    assert last - slow[0].outcome().submitted_at >= 0.29


def test_a_limiter_lets_a_burst_begin_at_once_and_is_shared_by_pools(kind: str, new_pool: NewPool) -> None:
    limiter = Limiter(1, per=60.0, burst=3)
    pools = [new_pool(1), new_pool(1)]
    burst = [pools[number % 2].schedule(of(kind, double), (number,), limiter=limiter) for number in range(3)]
    assert [future.result(30) for future in burst] == [0, 2, 4]
    fourth = pools[1].schedule(of(kind, double), (4,), limiter=limiter)
    pools[1].submit(of(kind, double), 4).result(30)
    assert not fourth.done()
    assert pools[1].stats().queued == 1
    assert fourth.cancel()


def test_a_pool_that_is_paused_begins_nothing_until_it_goes_on(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    pool = new_pool(2)
    running = pool.submit(of(kind, gate.hold))
    wait_until(gate.begun)
    began = time.monotonic()
    with pool.pause(timeout=0.1):  # the task goes on
        assert time.monotonic() - began < 20
        waits = [pool.submit(of(kind, gate.note), f"n{number}") for number in range(3)]
        delayed = pool.schedule(of(kind, gate.note), ("later",), delay=0.05)
        gate.open()
        assert running.result(30) == "held"
        time.sleep(0.3)
        assert gate.begun() == ["held"]
        assert (pool.stats().running, len(pool)) == (0, 4)
    assert [future.result(30) for future in [*waits, delayed]] == ["n0", "n1", "n2", "later"]
    pool.pause()
    late = pool.submit(of(kind, double), 4)
    pool.resume()
    pool.resume()  # one too many does nothing
    assert late.result(30) == 8


def test_a_shutdown_ends_a_pause(kind: str, new_pool: NewPool) -> None:
    pool = new_pool()
    pool.pause()
    future = pool.submit(of(kind, double), 4)
    pool.shutdown(timeout=30)
    assert future.result(0) == 8


@pytest.mark.parametrize("kind", [*KINDS, "dask"])
def test_a_resize_counts_from_the_call_and_lets_what_runs_end(
    kind: str, new_pool: NewPool, gate: Gate, tmp_path: Any, wait_until: Any
) -> None:
    pool = new_pool(1)
    futures = [pool.submit(of(kind, gate.hold), str(number)) for number in range(8)]
    wait_until(lambda: len(gate.begun()) == 1)
    pool.resize(4)
    assert pool.max_workers == 4
    wait_until(lambda: len(gate.begun()) == 4)
    pool.resize(1)
    assert pool.max_workers == 1
    gate.open()
    assert [future.result(30) for future in futures] == [str(number) for number in range(8)]
    if kind not in ("coroutine", "dask"):  # threads of a cluster stay where they are
        wait_until(lambda: pool.stats().workers == 1)
    for wrong_size in (0, -1, 1.5, None, True):
        with pytest.raises(ConfigError, match="max_workers"):
            pool.resize(wrong_size)  # type: ignore[arg-type]


def test_a_join_waits_for_all_and_leaves_the_pool_open(kind: str, new_pool: NewPool, gate: Gate) -> None:
    pool = new_pool()
    assert pool.join() is True
    pool.submit(of(kind, gate.hold))
    pool.schedule(of(kind, double), (1,), delay=0.2)
    assert pool.join(0.05) is False
    gate.open()
    assert pool.join(30) is True
    assert len(pool) == 0
    assert pool.submit(of(kind, double), 1).result(30) == 2


def test_the_numbers_add_up_and_say_where_tasks_are(kind: str, new_pool: NewPool, gate: Gate, wait_until: Any) -> None:
    pool = new_pool(1)
    assert (pool.stats().submitted, pool.stats().workers) == (0, 0)  # none before the first task
    held = pool.submit(of(kind, gate.hold))
    wait_until(gate.begun)
    pool.submit(of(kind, double), 1)
    pool.schedule(of(kind, double), (1,), delay=100, id="d")
    stats = pool.stats()
    assert (stats.submitted, stats.delayed, stats.queued + stats.running, stats.away) == (3, 1, 2, 0)
    assert stats.running >= 1
    if kind == "dask":  # which worker has begun it is heard a moment later
        wait_until(lambda: pool.stats().workers)
    assert pool.stats().workers == 1
    assert adds_up(pool)
    pool.cancel("d")
    gate.open()
    held.result(30)
    pool.submit(of(kind, wrong), "x").outcome(30)
    assert pool.join(30)
    stats = pool.stats()
    assert (stats.succeeded, stats.failed, stats.cancelled, stats.submitted) == (2, 1, 1, 4)
    assert adds_up(pool)


def test_a_shutdown_waits_for_delayed_tasks_and_takes_nothing_more(kind: str, new_pool: NewPool) -> None:
    pool, task = new_pool(), of(kind, double)
    late = pool.schedule(task, (4,), delay=0.3)
    pool.shutdown()
    assert late.result(0) == 8
    assert pool.closed
    for submit in (lambda: pool.submit(task, 1), lambda: pool.schedule(task), lambda: pool.map(task, [1])):
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown") as caught:
            submit()
        assert isinstance(caught.value, PoolClosed)
    pool.shutdown()
    pool.shutdown(wait=False, cancel_futures=True, kill=True)


def test_a_shutdown_that_cancels_lets_what_runs_end(kind: str, new_pool: NewPool, gate: Gate, wait_until: Any) -> None:
    pool = new_pool(1)
    running = pool.submit(of(kind, gate.hold))
    wait_until(gate.begun)
    waiting = [pool.submit(of(kind, gate.note)), pool.schedule(of(kind, gate.note), delay=50)]
    pool.shutdown(wait=False, cancel_futures=True)
    gate.open()
    pool.shutdown()
    assert running.result(0) == "held"
    assert [future.outcome(0).state for future in waiting] == ["cancelled"] * 2
    assert gate.begun() == ["held"]


def test_a_shutdown_whose_time_is_over_ends_what_runs_and_says_how_much(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    pool = new_pool(2)
    stuck = [pool.submit(of(kind, gate.hold)), pool.schedule(of(kind, double), (1,), delay=100)]
    wait_until(gate.begun)
    began = time.monotonic()
    with pytest.warns(WorkerWarning, match=r"shutdown has cancelled 2 tasks that had not ended after 0\.2 s"):
        pool.shutdown(timeout=0.2)
    assert time.monotonic() - began < 20
    assert [future.outcome(0).state for future in stuck] == ["cancelled"] * 2


@pytest.mark.parametrize("kind", ["process", "grid", "coroutine"])
def test_a_shutdown_that_kills_waits_for_nothing(kind: str, new_pool: NewPool, gate: Gate, wait_until: Any) -> None:
    pool = new_pool(2)
    futures = [pool.submit(of(kind, gate.hold)) for _ in range(4)]
    wait_until(gate.begun)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pool.shutdown(kill=True)
    assert {future.outcome(0).state for future in futures} == {"cancelled"}


def test_an_exception_in_the_block_cancels_what_has_not_begun(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    pool = new_pool(1)
    with pytest.raises(ZeroDivisionError), pool:  # noqa: PT012
        running = pool.submit(of(kind, gate.hold))
        wait_until(gate.begun)
        queued = pool.submit(of(kind, gate.note))
        threading.Timer(0.1, gate.open).start()
        raise ZeroDivisionError
    assert running.result(0) == "held"
    assert queued.cancelled()
    assert gate.begun() == ["held"]


@pytest.mark.parametrize("kind", ["process", "grid"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_in_the_block_kills_what_runs(
    new_pool: NewPool, gate: Gate, wait_until: Any, error: type[BaseException]
) -> None:
    pool = new_pool(1)
    with pytest.raises(error), pool:  # noqa: PT012
        running = pool.submit(gate.hold)
        wait_until(gate.begun)
        raise error
    assert running.outcome(30).state == "cancelled"
    pool.shutdown()


def test_a_pool_stays_in_its_process_and_says_what_it_is(kind: str, new_pool: NewPool) -> None:
    import pickle

    pool = new_pool(3, name="mails")
    assert repr(pool) == "<WorkerPool mails open workers=3 tasks=0>"
    with pytest.raises(TypeError, match="belongs to its process"):
        pickle.dumps(pool)
    pool.shutdown()
    assert repr(pool) == "<WorkerPool mails closed workers=3 tasks=0>"


@pytest.mark.parametrize("kind", ["process", "grid"])
def test_workers_are_set_up_once_each_and_replaced_after_so_many_tasks(new_pool: NewPool, gate: Gate) -> None:
    pool = new_pool(1, initializer=gate.note, initargs=("set-up",), max_tasks_per_child=3)
    pids = [pool.submit(os.getpid).result(30) for _ in range(7)]
    assert len(set(pids)) == 3
    assert gate.begun().count("set-up") == 3
