"""A limiter has tasks wait in the queue, in order, and lets the next one start when its time has come."""

from __future__ import annotations

import time

import pytest

from worker_dispatcher import Limiter, WorkerPool
from worker_dispatcher.clock import now

pytestmark = pytest.mark.above_the_pools


def moment(_item: int) -> float:
    return now()


@pytest.mark.parametrize("kind", ["thread", "process", "grid"])
def test_limited_tasks_start_in_order_and_no_sooner_than_their_rate_says(kind):
    limiter = Limiter(100, burst=2)
    with WorkerPool(2, kind=kind) as pool:
        began = now()
        futures = [pool.schedule(moment, (at,), limiter=limiter) for at in range(12)]
        starts = [future.result(30) for future in futures]
    outcomes = [future.outcome() for future in futures]
    started = [outcome.started_at for outcome in outcomes]
    assert sorted(started) == started or kind != "thread"  # two workers may begin theirs in either order
    for at, start in enumerate(sorted(starts)):
        assert start >= began + max(0, at - 1) / 100 - 1e-6


def test_a_limited_task_holds_no_worker_while_it_waits():
    limiter = Limiter(0.1)
    with WorkerPool(1) as pool:
        first, second = (pool.schedule(moment, (at,), limiter=limiter) for at in range(2))
        first.result(30)
        assert pool.submit(moment, 1).result(30)
        assert not second.done()
        assert pool.stats().queued == 1
        assert second.cancel()


@pytest.mark.parametrize("kind", ["thread", "process", "grid"])
def test_limited_tasks_that_waited_for_a_worker_start_no_closer_than_their_rate_says(kind, gate):
    limiter = Limiter(10)
    with WorkerPool(1, kind=kind) as pool:
        list(pool.map(moment, range(200)))  # from here on they are known to be short, and are handed to busy workers
        held = pool.submit(gate.hold)
        futures = [pool.schedule(moment, (at,), limiter=limiter) for at in range(3)]
        time.sleep(0.4)  # the limiter would have let all of them start
        opened = time.perf_counter()
        gate.open()
        assert held.result(30) == "held"
        starts = [future.result(30) for future in futures]
    # Not from start to start: a busy machine may hold up the first one, and not the second.
    assert all(start >= opened + at * 0.1 - 1e-3 for at, start in enumerate(starts))


def test_a_limited_task_that_is_cancelled_does_not_stop_those_behind_it():
    limiter = Limiter(20)
    with WorkerPool(1) as pool:
        futures = [pool.schedule(moment, (at,), limiter=limiter) for at in range(6)]
        for at in (1, 2, 4):
            assert futures[at].cancel()
        futures[0].result(30), futures[3].result(30), futures[5].result(30)


def test_one_limiter_serves_two_pools():
    limiter = Limiter(50)
    with WorkerPool(2) as one, WorkerPool(2) as two:
        began = time.perf_counter()
        futures = [pool.schedule(moment, (1,), limiter=limiter) for _ in range(5) for pool in (one, two)]
        for future in futures:
            future.result(30)
        assert time.perf_counter() - began >= 9 / 50 - 1e-3


def test_a_more_urgent_task_goes_first_where_both_wait_for_one_limiter():
    limiter = Limiter(1)  # so that both are there before it lets the next one start
    ran = []
    with WorkerPool(1) as pool:
        pool.schedule(ran.append, ("first",), limiter=limiter).result(30)
        later = pool.schedule(ran.append, ("later",), limiter=limiter)
        urgent = pool.schedule(ran.append, ("urgent",), limiter=limiter, priority=1)
        later.result(30), urgent.result(30)
    assert ran == ["first", "urgent", "later"]


def test_a_group_and_a_limiter_hold_at_once():
    limiter = Limiter(100)
    with WorkerPool(4) as pool, pool.group(max_workers=1) as group:
        futures = [group.schedule(moment, (at,), limiter=limiter) for at in range(6)]
    assert len([future.result() for future in futures]) == 6


def test_a_task_that_waits_for_its_group_may_be_cancelled_and_the_next_one_runs():
    with WorkerPool(2) as pool, pool.group(max_workers=1) as group:
        first = group.submit(time.sleep, 0.05)
        second, third = group.submit(moment, 1), group.submit(moment, 2)
        second.cancel()
        first.result(30)
        assert third.result(30)
