"""The two clocks of a task in a WorkerPool, and its retries: timeout, deadline, backoff, retry_on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from gates import Gate, double, of, wrong
from pooled import APART, adds_up

from worker_dispatcher import Backoff, ConfigError, DeadlineExceeded, Task, TaskTimeout, WorkerDied, WorkerPool

pytestmark = pytest.mark.above_the_pools

NewPool = Callable[..., WorkerPool]


def die(gate: Gate, times: int) -> str:
    gate.note("dies")
    if gate.begun().count("dies") <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return "lives"


def test_a_task_over_its_timeout_ends_at_once(kind: str, new_pool: NewPool, gate: Gate) -> None:
    pool = new_pool()
    pool.submit(of(kind, double), 1).result(30)
    future = pool.schedule(of(kind, gate.hold), timeout=0.3, name="slow")
    with pytest.raises(TaskTimeout, match=r"task 'slow' ran longer than its timeout of 0\.3 s"):
        future.result(30)
    outcome = future.outcome()
    assert (outcome.state, outcome.attempts, pool.stats().timeout) == ("timeout", 1, 1)
    assert outcome.duration >= 0.29
    assert pool.submit(of(kind, double), 2).result(30) == 4
    assert adds_up(pool)


def test_the_time_in_the_queue_is_no_part_of_a_timeout(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    pool = new_pool(1)
    pool.submit(of(kind, gate.hold))
    wait_until(gate.begun)
    future = pool.schedule(of(kind, double), (1,), timeout=0.5, delay=0.01)
    time.sleep(0.8)
    gate.open()
    assert future.result(30) == 2
    assert future.outcome().queued_for > 0.5


def test_a_task_past_its_deadline_never_begins(kind: str, new_pool: NewPool, gate: Gate, wait_until: Any) -> None:
    pool = new_pool(1)
    held = pool.submit(of(kind, gate.hold))
    wait_until(gate.begun)
    late = pool.schedule(of(kind, gate.note), ("late",), deadline=0.2, id="late")
    with pytest.raises(DeadlineExceeded, match=r"task 'late' was not done within its deadline of 0\.2 s"):
        late.result(30)  # while the worker is held
    outcome = late.outcome()
    assert (outcome.state, outcome.attempts, outcome.started_at, outcome.worker) == ("expired", 0, None, None)
    assert "late" not in pool
    gate.open()
    held.result(30)
    assert pool.submit(of(kind, double), 1).result(30) == 2
    assert gate.begun() == ["held"]


def test_a_deadline_ends_what_runs_and_is_no_timeout(kind: str, new_pool: NewPool, gate: Gate) -> None:
    pool = new_pool()
    future = pool.schedule(of(kind, gate.hold), deadline=0.4, timeout=30)
    outcome = future.outcome(30)
    assert outcome.state == "expired"
    assert isinstance(outcome.error, DeadlineExceeded)
    assert pool.submit(of(kind, double), 2).result(30) == 4
    stats = pool.stats()
    assert (stats.expired, stats.timeout) == (1, 0)
    assert adds_up(pool)


def test_the_deadline_of_the_pool_counts_from_each_submit(kind: str, new_pool: NewPool, gate: Gate) -> None:
    pool = new_pool(1, deadline=0.3)
    first = pool.submit(of(kind, gate.hold))
    behind = pool.submit(of(kind, gate.hold))
    assert (first.outcome(30).state, behind.outcome(30).state) == ("expired", "expired")
    gate.open()
    assert pool.schedule(of(kind, double), (1,), deadline=None).result(30) == 2


def test_a_delay_that_is_not_shorter_than_the_deadline_is_refused(kind: str, new_pool: NewPool) -> None:
    pool = new_pool(deadline=5.0)
    with pytest.raises(ConfigError, match=r"delay +expected less than the deadline of 2 s, got 2 s"):
        pool.schedule(of(kind, double), (1,), delay=2, deadline=2)
    with pytest.raises(ConfigError, match=r"deadline of 5 s, got 9 s"):
        pool.schedule(of(kind, double), (1,), delay=9)
    assert pool.schedule(of(kind, double), (1,), delay=0.01, deadline=20).result(30) == 2


def test_a_deadline_that_is_spent_expires_at_once_and_unstarted(kind: str, new_pool: NewPool, gate: Gate) -> None:
    pool = new_pool()
    for future in (
        pool.schedule(of(kind, gate.note), deadline=0),
        pool.schedule(Task(of(kind, gate.note), deadline=0.0)),
    ):
        assert future.outcome(30).state == "expired"
    assert gate.begun() == []


def test_a_failure_is_tried_again_after_a_backoff_of_the_parent(kind: str, new_pool: NewPool, gate: Gate) -> None:
    asked: list[tuple[int, int]] = []

    def backoff(attempt: int) -> float:
        asked.append((attempt, os.getpid()))
        return 0.01

    pool = new_pool(retries=3, backoff=backoff)
    outcome = pool.submit(of(kind, gate.fail), "x", 2).outcome(30)
    assert (outcome.state, outcome.value, outcome.attempts) == ("succeeded", "x", 3)
    assert asked == [(1, os.getpid()), (2, os.getpid())]  # the number of the attempt that has just failed
    gave_up = pool.schedule(of(kind, gate.fail), ("y", 99), retries=1).outcome(30)
    assert (gave_up.state, gave_up.attempts) == ("failed", 2)
    assert isinstance(gave_up.error, KeyError)


def test_one_backoff_serves_the_whole_library(kind: str, new_pool: NewPool, gate: Gate) -> None:
    assert Backoff() == Backoff(initial=0.0, factor=2.0, maximum=60.0, jitter=0.1)
    assert Backoff(initial=1.0, jitter=0.0)(3) == 4.0
    pool = new_pool(retries=1, backoff=Backoff(initial=0.3, jitter=0.0))
    outcome = pool.submit(of(kind, gate.fail), "x").outcome(30)
    assert outcome.attempts == 2
    assert outcome.ended_at - outcome.submitted_at >= 0.29


def test_a_task_that_waits_for_its_next_attempt_holds_no_worker(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    pool = new_pool(1, retries=1, backoff=lambda attempt: 60.0)
    waiting = pool.schedule(of(kind, gate.fail), ("x",), id="waits")
    wait_until(lambda: pool.stats().delayed)
    assert [pool.submit(of(kind, double), number).result(30) for number in range(5)] == [0, 2, 4, 6, 8]
    assert "waits" in pool
    assert len(pool) == 1
    assert not waiting.done()
    assert pool.cancel("waits")  # while it backs off
    assert waiting.outcome().state == "cancelled"
    assert waiting.outcome().attempts == 1
    assert gate.begun() == ["x"]


def test_only_errors_that_are_named_are_tried_again(kind: str, new_pool: NewPool) -> None:
    pool = new_pool(retries=2, retry_on=(OSError, KeyError))
    assert pool.submit(of(kind, wrong), "x").outcome(30).attempts == 3
    assert pool.submit(of(kind, double)).outcome(30).attempts == 1  # a TypeError
    assert pool.schedule(of(kind, wrong), ("x",), retry_on=OSError).outcome(30).attempts == 1


def test_a_predicate_of_the_parent_says_what_is_tried_again(kind: str, new_pool: NewPool) -> None:
    seen: list[tuple[int, BaseException]] = []

    def transient(error: BaseException) -> bool:
        seen.append((os.getpid(), error))
        return "again" in str(error)

    pool = new_pool(retries=1, retry_on=transient)
    assert pool.submit(of(kind, wrong), "again").outcome(30).attempts == 2
    assert pool.submit(of(kind, wrong), "never").outcome(30).attempts == 1
    assert [(pid, str(error)) for pid, error in seen] == [(os.getpid(), "'again'"), (os.getpid(), "'never'")]


def test_a_predicate_or_a_backoff_that_raises_ends_the_task_with_its_own_error(kind: str, new_pool: NewPool) -> None:
    def raises(_: Any) -> Any:
        raise RuntimeError("not this one")

    pool = new_pool(retries=3)
    for said in ({"retry_on": raises}, {"backoff": raises}, {"backoff": lambda attempt: -1}):
        outcome = pool.schedule(of(kind, wrong), ("x",), **said).outcome(30)
        assert (outcome.state, outcome.attempts) == ("failed", 1)
        assert isinstance(outcome.error, KeyError)
    assert pool.submit(of(kind, double), 1).result(30) == 2


@pytest.mark.parametrize("kind", ["process", "grid", "coroutine"])
@pytest.mark.parametrize(("named", "attempts"), [(Exception, 1), (BaseException, 1), (TaskTimeout, 2), (OSError, 2)])
def test_a_timeout_is_tried_again_only_where_it_is_named(
    kind: str, new_pool: NewPool, gate: Gate, named: Any, attempts: int
) -> None:
    """TimeoutError, a base of TaskTimeout, is an OSError."""
    pool = new_pool(timeout=0.6, retries=1, retry_on=named)
    outcome = pool.submit(of(kind, gate.hold), "x").outcome(30)
    assert (outcome.state, outcome.attempts) == ("timeout", attempts)
    assert gate.begun() == ["x"] * attempts


@pytest.mark.parametrize("kind", APART)
@pytest.mark.parametrize(("named", "attempts"), [(Exception, 1), (WorkerDied, 2), (RuntimeError, 2)])
def test_a_dead_worker_is_tried_again_only_where_it_is_named(
    new_pool: NewPool, gate: Gate, named: Any, attempts: int
) -> None:
    pool = new_pool(retries=1, retry_on=named)
    outcome = pool.schedule(die, (gate, 99), name="the last").outcome(60)
    assert (outcome.state, outcome.attempts) == ("failed", attempts)
    assert isinstance(outcome.error, WorkerDied)
    assert "task 'the last'" in str(outcome.error)
    assert pool.submit(double, 1).result(30) == 2


@pytest.mark.parametrize("kind", APART)
def test_a_task_whose_worker_died_succeeds_in_another(new_pool: NewPool, gate: Gate) -> None:
    pool = new_pool(retries=5, retry_on=WorkerDied)
    assert pool.submit(die, gate, 2).result(60) == "lives"


def test_the_deadline_ends_the_retries(kind: str, new_pool: NewPool, gate: Gate) -> None:
    pool = new_pool(retries=1000, backoff=lambda attempt: 0.2)
    assert pool.submit(of(kind, double), 1).result(30) == 2
    outcome = pool.schedule(of(kind, gate.fail), ("x", 999), deadline=1.5).outcome(30)
    assert outcome.state in ("failed", "expired")  # its last failure, where the next attempt would be too late
    assert 1 <= outcome.attempts <= 8
    count = len(gate.begun())
    time.sleep(0.3)
    assert len(gate.begun()) == count


def test_neither_deadlines_nor_cancellations_are_tried_again(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    pool = new_pool(2, retries=5, retry_on=(BaseException, TaskTimeout, DeadlineExceeded))
    assert pool.submit(of(kind, double), 1).result(30) == 2
    expired = pool.schedule(of(kind, gate.hold), ("late",), deadline=1.5)
    assert expired.outcome(30).state == "expired"
    cancelled = pool.schedule(of(kind, gate.hold), ("gone",), id="c")
    wait_until(lambda: "gone" in gate.begun())
    assert pool.cancel("c")
    assert cancelled.outcome(30).state == "cancelled"
    gate.open()
    assert pool.join(30)
    assert sorted(gate.begun()) == ["gone", "late"]


def test_a_deadline_far_away_costs_no_wait(kind: str, new_pool: NewPool) -> None:
    pool = new_pool(deadline=86400.0, timeout=3600.0)
    began = threading.Event()
    future = pool.submit(of(kind, double), 4)
    future.add_done_callback(lambda _: began.set())
    assert began.wait(30)
    assert future.result() == 8


@pytest.mark.parametrize("kind", ["thread"])
def test_the_timeout_of_a_thread_is_tried_again_once_the_function_has_returned(
    new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    pool = new_pool(1, timeout=0.2, retries=1, retry_on=TaskTimeout)
    future = pool.submit(gate.hold, "x")
    wait_until(lambda: pool.stats().abandoned == 1)
    time.sleep(0.3)
    assert gate.begun() == ["x"]
    assert not future.done()
    gate.open()
    assert future.result(30) == "x"
    assert gate.begun() == ["x", "x"]
    assert future.outcome().attempts == 2
    assert pool.stats().abandoned == 0
