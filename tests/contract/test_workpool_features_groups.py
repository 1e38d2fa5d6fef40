"""Groups of a WorkerPool."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import pytest
from gates import Gate, double, of, wrong
from pooled import adds_up

from worker_dispatcher import ConfigError, DeadlineExceeded, TaskGroup, WorkerPool, current_task

pytestmark = pytest.mark.above_the_pools

NewPool = Callable[..., WorkerPool]


def options() -> dict[str, Any]:
    task = current_task()
    assert task is not None
    return dict(task.options)


def test_a_plain_group_waits_at_its_end_and_raises_nothing_of_its_tasks(kind: str, new_pool: NewPool) -> None:
    pool = new_pool()
    with pool.group(name="sums") as group:
        futures = [group.submit(of(kind, double), number) for number in range(5)]
        futures.append(group.submit(of(kind, wrong), "x"))
        futures.append(group.schedule(of(kind, double), (9,), id="nine", delay=0.05))
        futures += group.map(of(kind, max), [1, 2], [4, 0])
    assert all(future.done() for future in futures)
    assert len(group) == 0
    assert group.wait() is True
    results = group.results()
    assert [result.value for result in results] == [0, 2, 4, 6, 8, None, 18, 4, 2]
    assert [result.state for result in results] == ["succeeded"] * 5 + ["failed"] + ["succeeded"] * 3
    assert pool.submit(of(kind, double), 1).result(30) == 2  # the pool stays open


def test_results_come_in_the_order_of_their_ends_too(kind: str, new_pool: NewPool, gate: Gate, wait_until: Any) -> None:
    group = new_pool(2).group()
    first = group.schedule(of(kind, gate.hold), id="first")
    wait_until(gate.begun)
    group.schedule(of(kind, double), (1,), id="second").result(30)
    ends = group.completed()
    assert next(ends).id == "second"  # while the first one runs
    assert not first.done()
    gate.open()
    assert next(ends).id == "first"
    assert list(ends) == []
    assert [result.id for result in group.results()] == ["first", "second"]
    assert [result.id for result in group.results("completed")] == ["second", "first"]
    assert [result.id for result in group.results(order="submitted")] == ["first", "second"]
    with pytest.raises(ConfigError, match="expected 'submitted' or 'completed', got 'sorted'"):
        group.results("sorted")


def test_a_group_whose_time_to_wait_is_over_says_so(kind: str, new_pool: NewPool, gate: Gate) -> None:
    group = new_pool().group()
    group.submit(of(kind, gate.hold))
    assert group.wait(0.05) is False
    assert len(group) == 1
    gate.open()
    assert group.wait(30) is True


def test_a_group_of_nothing_ends_at_once(kind: str, new_pool: NewPool) -> None:
    pool = new_pool()
    with pool.group() as group:
        pass
    with pool.group(fail_fast=True):
        pass
    assert (group.wait(0), group.results(), list(group.completed())) == (True, [], [])


def test_the_first_failure_of_a_fail_fast_group_cancels_the_rest_and_is_raised(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    pool = new_pool(2)
    with pytest.raises(ExceptionGroup, match="tasks of the group 'all or none' failed") as caught:  # noqa: PT012, SIM117
        with pool.group(name="all or none", fail_fast=True) as group:
            running = group.submit(of(kind, gate.hold), "running")
            wait_until(gate.begun)
            delayed = group.schedule(of(kind, double), (1,), delay=100)
            group.submit(of(kind, wrong), "the first")
    (error,) = caught.value.exceptions
    assert isinstance(error, KeyError)
    assert error.args == ("the first",)
    assert (running.outcome(5).state, delayed.outcome(5).state) == ("cancelled", "cancelled")
    assert group.cancelled
    gate.open()
    assert pool.submit(of(kind, double), 2).result(30) == 4
    assert adds_up(pool)


def test_a_fail_fast_group_without_a_failure_raises_nothing(kind: str, new_pool: NewPool) -> None:
    with new_pool().group(fail_fast=True) as group:
        group.map(of(kind, double), range(5))
    assert [result.value for result in group.results()] == [0, 2, 4, 6, 8]


def test_no_more_of_a_group_run_at_once_than_it_says(kind: str, new_pool: NewPool, gate: Gate, wait_until: Any) -> None:
    pool = new_pool(4)
    group = pool.group(max_workers=2)
    futures = [group.submit(of(kind, gate.hold), f"g{number}") for number in range(6)]
    wait_until(lambda: len(gate.begun()) == 2)
    # Others are not held up by those of the group that wait.
    assert pool.submit(of(kind, gate.note), "other").result(30) == "other"
    assert sum(name.startswith("g") for name in gate.begun()) == 2
    gate.open()
    assert [future.result(30) for future in futures] == [f"g{number}" for number in range(6)]


def test_the_deadline_of_a_group_counts_from_its_making_and_the_earlier_one_wins(
    kind: str, new_pool: NewPool, gate: Gate
) -> None:
    pool = new_pool(3, deadline=100)
    pool.submit(of(kind, double), 1).result(30)
    group = pool.group(deadline=1.5)
    ends = {
        "group": group.submit(of(kind, gate.hold)),
        "delayed": group.schedule(of(kind, double), (1,), delay=50),
        "own": group.schedule(of(kind, gate.hold), deadline=0.5),
    }
    assert group.wait(30)
    outcomes = {name: future.outcome() for name, future in ends.items()}
    assert {outcome.state for outcome in outcomes.values()} == {"expired"}
    assert all(isinstance(outcome.error, DeadlineExceeded) for outcome in outcomes.values())
    assert outcomes["own"].ended_at < outcomes["group"].ended_at
    assert group.submit(of(kind, gate.note), "late").outcome(30).state == "expired"
    assert "late" not in gate.begun()


def test_settings_of_a_group_are_the_defaults_of_its_tasks(kind: str, new_pool: NewPool, gate: Gate) -> None:
    pool = new_pool(options={"pool": 1})
    group = pool.group(options={"group": 2}, retries=1)
    assert group.submit(of(kind, options)).result(30) == {"group": 2}
    assert group.schedule(of(kind, options), options={"own": 3}).result(30) == {"own": 3}
    assert group.submit(of(kind, gate.fail), "x").outcome(30).attempts == 2
    assert pool.group().submit(of(kind, options)).result(30) == {"pool": 1}
    assert pool.group(options=None).submit(of(kind, options)).result(30) == {}


def test_a_cancelled_group_takes_nothing_more(kind: str, new_pool: NewPool, gate: Gate, wait_until: Any) -> None:
    pool = new_pool(1)
    group = pool.group()
    running = group.submit(of(kind, gate.hold))
    wait_until(gate.begun)
    queued = group.submit(of(kind, gate.note))
    other = pool.submit(of(kind, double), 4)
    group.cancel()
    for submit in (lambda: group.submit(of(kind, double), 1), lambda: group.schedule(of(kind, double), (1,))):
        with pytest.raises(RuntimeError, match="the group was cancelled"):
            submit()
    assert group.wait(10)
    assert {running.outcome().state, queued.outcome().state} == {"cancelled"}
    gate.open()
    assert other.result(30) == 8  # it is not of the group
    assert gate.begun() == ["held"]
    group.cancel()


def test_an_exception_in_the_block_cancels_what_has_not_ended(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    pool = new_pool(2)
    with pytest.raises(ZeroDivisionError), pool.group() as group:  # noqa: PT012
        running = group.submit(of(kind, gate.hold))
        wait_until(gate.begun)
        later = group.schedule(of(kind, double), (1,), delay=100)
        raise ZeroDivisionError
    assert (running.outcome(5).state, later.outcome(5).state) == ("cancelled", "cancelled")
    with pytest.raises(CancelledError):
        later.result(0)


def test_a_group_is_filled_from_many_threads(kind: str, new_pool: NewPool) -> None:
    pool = new_pool(4)
    with pool.group() as group:

        def fill(start: int) -> None:
            for number in range(start, start + 25):
                group.submit(of(kind, double), number)

        threads = [threading.Thread(target=fill, args=(100 * nth,)) for nth in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    wanted = sorted(2 * (100 * nth + number) for nth in range(4) for number in range(25))
    assert sorted(result.value for result in group.results()) == wanted


@pytest.mark.parametrize("kind", ["thread"])
@pytest.mark.parametrize("wait", ["result", "group", "completed", "map"])
def test_a_task_that_waits_for_tasks_of_its_own_pool_has_them_run(new_pool: NewPool, wait: str) -> None:
    pool = new_pool(1)

    def quicksum(low: int, high: int) -> int:
        if high - low == 1:
            return low
        middle = (low + high) // 2
        halves = [(low, middle), (middle, high)]
        if wait == "result":
            return sum(future.result() for future in [pool.submit(quicksum, *half) for half in halves])
        if wait == "map":
            return sum(pool.map(quicksum, *zip(*halves, strict=True)))
        group: TaskGroup = pool.group()
        for half in halves:
            group.submit(quicksum, *half)
        if wait == "group":
            return sum(result.value for result in group.results())
        return sum(result.value for result in group.completed())

    assert pool.submit(quicksum, 0, 16).result(60) == sum(range(16))
    assert pool.submit(double, 4).result(30) == 8


@pytest.mark.parametrize("kind", ["coroutine"])
def test_a_coroutine_that_would_hold_up_its_loop_by_a_wait_is_told_so(new_pool: NewPool) -> None:
    pool = new_pool(2)

    async def waits(how: str) -> Any:
        group = pool.group()
        future = group.submit(of("coroutine", double), 1)
        return {"result": future.result, "outcome": future.outcome, "group": group.wait}[how]()

    for how in ("group", "result", "outcome"):
        with pytest.raises(RuntimeError, match="await"):
            pool.submit(waits, how).result(30)
    assert pool.submit(of("coroutine", double), 2).result(30) == 4
