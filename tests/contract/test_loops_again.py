"""A run is iterated once: a loop that was left is gone on with, and one behind the end is refused."""

from __future__ import annotations

import asyncio
import threading

import pytest

import worker_dispatcher as wd

pytestmark = pytest.mark.above_the_pools

HANDED_OUT = "a run can be iterated once, and the logs of this one were handed out already; "
KEPT = "run.logs has them, and get_logs() those of the last run"
NOT_KEPT = "launch it without keep_records=False, and run.logs keeps them"


def ids_in_for(run, most=None):
    seen = []
    for log in run:
        seen.append(log["task_id"])
        if len(seen) == most:
            break
    return seen


async def ids_as_they_come(run, most=None):
    seen = []
    async for log in run:
        seen.append(log["task_id"])
        if len(seen) == most:
            break
    return seen


def ids_in_async_for(run, most=None):
    return asyncio.run(ids_as_they_come(run, most))


LOOPS = pytest.mark.parametrize("loop", [ids_in_for, ids_in_async_for])
AGAIN = pytest.mark.parametrize("again", [ids_in_for, ids_in_async_for])


@LOOPS
@AGAIN
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "handed over"])
@pytest.mark.parametrize("tasks", [0, 20])
def test_a_loop_behind_one_that_came_to_the_end_is_refused(loop, again, kept, tasks):
    run = wd.launch({"task": {"list": tasks, "function": lambda id: id}, "verbose": False}, keep_records=kept)
    assert sorted(loop(run)) == list(range(1, tasks + 1))
    for _ in range(2):
        with pytest.raises(wd.RunError) as refused:
            again(run)
        assert str(refused.value) == HANDED_OUT + (KEPT if kept else NOT_KEPT)
        assert isinstance(refused.value, RuntimeError)
    run.wait(20)
    if kept:
        assert [log["task_id"] for log in run.logs] == run.results


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "handed over"])
def test_both_kinds_of_loop_in_one_coroutine_are_refused_too(kept):
    async def main():
        run = wd.launch({"task": {"list": 20, "function": lambda id: id}, "verbose": False}, keep_records=kept)
        assert len(await ids_as_they_come(run)) == 20
        with pytest.raises(wd.RunError, match="handed out already"):
            await ids_as_they_come(run)
        with pytest.raises(wd.RunError, match="handed out already"):
            ids_in_for(run)

    asyncio.run(main())


@LOOPS
@AGAIN
def test_a_loop_goes_on_where_another_was_left_and_misses_nothing(shape, make_config, loop, again):
    run = wd.launch(make_config(shape, lambda id: id, 300, {"number": 1})).wait(60)
    seen = loop(run, 1) + again(run, 7) + loop(run, 1)
    assert len(seen) == 9
    seen += again(run)
    assert sorted(seen) == list(range(1, 301))


@LOOPS
def test_a_loop_that_was_left_at_the_last_log_leaves_none_for_the_next(loop):
    run = wd.launch({"task": {"list": 3, "function": lambda id: id}, "verbose": False})
    assert sorted(loop(run, 3)) == [1, 2, 3]
    assert loop(run) == []
    with pytest.raises(wd.RunError, match="handed out already"):
        loop(run)


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "handed over"])
def test_a_thread_that_comes_late_to_logs_that_threads_share_finds_none(kept):
    run = wd.launch({"task": {"list": 20, "function": lambda id: id}, "verbose": False}, keep_records=kept)
    assert len(ids_in_for(run)) == 20
    found = []
    late = threading.Thread(target=lambda: found.append(ids_in_for(run)))
    late.start()
    late.join(20)
    assert found == [[]]


def test_a_task_that_comes_late_to_logs_that_tasks_share_finds_none():
    async def main():
        run = wd.launch({"task": {"list": 20, "function": lambda id: id}, "verbose": False})
        run.wait(20)  # so that the first has all before the second begins
        return await asyncio.gather(ids_as_they_come(run), ids_as_they_come(run))

    first, second = asyncio.run(main())
    assert (sorted(first), second) == (list(range(1, 21)), [])


@LOOPS
def test_a_run_that_raised_raises_the_same_in_the_next_loop(loop):
    config = {"task": {"list": [1, 0], "function": lambda task: 1 / task, "on_error": "raise"}, "verbose": False}
    run = wd.launch(config)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            loop(run)
