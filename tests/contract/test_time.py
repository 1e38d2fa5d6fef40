"""Timeouts and the runtime: what is stopped, what never starts, and what is said of it."""

from __future__ import annotations

import asyncio
import time

import pytest
from staging import GRACE, runtimes

import worker_dispatcher as wd

quiet_failures = pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")


@quiet_failures
@pytest.mark.leaves_threads(2)
def test_a_task_over_its_time_is_recorded_and_the_others_end_ok(shape, run, notes):
    def second_stays(id):
        if id == 2:
            yield notes.has("the end")
        return id

    results = run(shape, second_stays, 12, {"number": 2}, timeout=0.3)
    notes.add("the end")

    assert results[0] == 1
    assert results[2:] == list(range(3, 13))
    assert results[1].status == "timeout"
    assert results[1].error["type"] == "TaskTimeout"
    log = wd.get_logs()[1]
    assert 0.3 <= log["duration"] < 0.3 + GRACE
    assert wd.get_duration() < 10  # and not the 20 that the stage waits


@quiet_failures
@pytest.mark.leaves_threads(2)
def test_a_function_that_blocks_its_process_or_loop_is_left_behind_and_its_siblings_run_again(shape, run, notes):
    def blocks_one(id):
        if id == 1:
            notes.wait("the end")  # no await: in a coroutine the loop stands still
        return id

    results = run(shape, blocks_one, 10, {"number": 4}, timeout=0.4)
    notes.add("the end")

    assert results[1:] == list(range(2, 11))
    assert results[0].status == "timeout"
    assert [log["attempts"] for log in wd.get_logs()] == [1] * 10


@quiet_failures
@pytest.mark.leaves_threads(3)
def test_a_timeout_counts_for_each_attempt(shape, run, notes):
    def second_time_quick(id):
        notes.add(id)
        if len(notes.all()) == 1:
            yield notes.has("the end")
        return id

    assert run(shape, second_time_quick, 1, timeout=0.3, retries=1) == [1]
    notes.add("the end")
    assert wd.get_logs()[0]["attempts"] == 2


def test_the_timeout_does_not_count_while_a_task_waits_for_its_turn(shape, run):
    def rests(id):
        until = time.monotonic() + 0.05
        yield lambda: time.monotonic() >= until
        return id

    assert run(shape, rests, 8, {"number": 1}, timeout=0.3) == list(range(1, 9))


@quiet_failures
def test_a_coroutine_that_catches_its_cancellation_is_over_its_time_all_the_same(run):
    from staging import SHAPES, Shape

    async def stubborn(id):
        import asyncio

        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return "too late"

    for shape in (SHAPES["threads"], Shape("grid", SHAPES["grid"].options)):
        [result] = run(shape, stubborn, 1, timeout=0.2)
        assert result.status == "timeout"


@quiet_failures
def test_a_coroutine_that_cancels_itself_hurts_only_itself(run):
    from staging import SHAPES

    async def cancels_itself(id):
        import asyncio

        if id == 2:
            asyncio.current_task().cancel()
        return id

    async def cancels_and_waits(id):
        import asyncio

        if id == 2:
            asyncio.current_task().cancel()
            await asyncio.sleep(0)
        return id

    for shape in (SHAPES["threads"], SHAPES["processes"], SHAPES["grid"]):
        results = run(shape, cancels_and_waits, 6, {"number": 1})
        assert results[1].error["type"] == "CancelledError"
        assert [results[0], *results[2:]] == [1, 3, 4, 5, 6]
        results = run(shape, cancels_itself, 6, {"number": 1})
        assert [results[0], *results[2:]] == [1, 3, 4, 5, 6]


def test_a_coroutine_may_use_the_timeouts_of_asyncio(run):
    from staging import SHAPES

    async def gives_up(id):
        import asyncio

        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(30)
        except TimeoutError:
            return "gave up"

    for shape in (SHAPES["threads"], SHAPES["processes"], SHAPES["grid"]):
        assert run(shape, gives_up, 3) == ["gave up"] * 3


@pytest.mark.leaves_threads(4)
def test_nothing_starts_after_the_runtime_and_what_ran_is_cancelled(shape, run, notes):
    def stays(id):
        notes.add(id)
        if id > 6:
            yield notes.has("the end")
        return id

    for runtime in runtimes(0.5):
        began = time.monotonic()
        results = run(shape, stays, 50, top={"runtime": runtime})
        took = time.monotonic() - began
        info = wd.get_result_info()
        assert runtime <= took < runtime + GRACE
        if info["counts"]["cancelled"] == 4:
            break
    notes.add("the end")

    assert all(result == id or result.status in ("cancelled", "not_run") for id, result in enumerate(results, 1))
    assert info["counts"]["ok"] <= 6
    assert info["counts"]["cancelled"] == 4
    assert sum(info["counts"].values()) == 50
    assert all(log["started_at"] <= info["started_at"] + runtime + 1e-6 for log in wd.get_logs())
    cancelled = [log for log in wd.get_logs() if log["status"] == "cancelled"]
    assert {log["error"]["type"] for log in cancelled} == {"RuntimeLimit"}
    assert len(results) == max(log["task_id"] for log in wd.get_logs())
    assert sorted([log["task_id"] for log in wd.get_logs()] + info["not_run"]) == list(range(1, 51))


@pytest.mark.differs_on_a_cluster("what has been sent there by the thousand takes its time to come back")
def test_many_small_tasks_stop_at_the_runtime_and_none_is_lost(shape, run):
    def small(id):
        return id

    results = run(shape, small, 1_500_000, top={"runtime": 0.3})

    info = wd.get_result_info()
    assert sum(info["counts"].values()) == 1_500_000
    assert info["duration"] < 0.3 + GRACE
    assert len(wd.get_logs()) + info["counts"]["not_run"] == 1_500_000
    assert all(log["started_at"] <= info["started_at"] + 0.3 + 1e-6 for log in wd.get_logs())
    assert all(result == at or not result for at, result in enumerate(results, 1))


def test_a_run_that_ends_before_its_runtime_is_not_held_up(shape, run):
    assert run(shape, lambda id: id, 3, top={"runtime": 30}) == [1, 2, 3]
    assert wd.get_duration() < 5


@quiet_failures
def test_a_task_waiting_for_its_next_attempt_keeps_its_last_failure_at_the_runtime(shape, run):
    def fails(id):
        raise ValueError("wait for me")

    for runtime in runtimes(0.4):
        results = run(shape, fails, 1, retries=3, backoff={"initial": 20}, top={"runtime": runtime})
        assert wd.get_duration() < runtime + GRACE
        if results and results[0].status != "cancelled":  # else its first attempt was still running
            break

    [result] = results
    assert result.status == "error"
    assert result.error["message"] == "wait for me"


@quiet_failures
@pytest.mark.leaves_threads
@pytest.mark.parametrize("grid", [False, True], ids=["threads", "grid"])
def test_coroutines_held_up_by_one_that_blocks_are_not_over_their_time(grid):
    # All on one loop: when the blocker is noticed, the others are just as late.
    shape = {"parallel_processing": {"enabled": True, "processes": 1}} if grid else {}
    task = {"list": 4, "function": nap_or_block, "timeout": 0.4}
    wd.start({"task": task, "worker": {"number": 4, **shape}, "verbose": False})
    assert [log["status"] for log in wd.get_logs()] == ["ok", "timeout", "ok", "ok"]
    assert [log["attempts"] for log in wd.get_logs()] == [1, 1, 1, 1]


async def nap_or_block(id):
    await asyncio.sleep(0.1)
    if id == 2:
        time.sleep(1.2)  # in a thread it cannot be ended
    await asyncio.sleep(0.1)
    return True
