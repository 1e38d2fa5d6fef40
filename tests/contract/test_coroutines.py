"""What is special to coroutines: each is a task of its own to asyncio, whatever it makes of that."""

from __future__ import annotations

import asyncio
import contextvars

import pytest
from staging import SHAPES

import worker_dispatcher as wd

ON_ONE_LOOP = {"threads": {}, "grid": {"parallel_processing": {"enabled": True, "processes": 1}}}


@pytest.fixture(params=ON_ONE_LOOP)
def start(request):
    """start(function, number of tasks, number at once, **rest of `task`): coroutines on one loop."""

    def run(function, count, number, **task):
        worker = {"number": number, **ON_ONE_LOOP[request.param]}
        return wd.start({"task": {"list": count, "function": function, **task}, "worker": worker, "verbose": False})

    return run


WORD = contextvars.ContextVar("WORD", default="fresh")


async def says(id):
    found = WORD.get()
    WORD.set(f"left by {id}")
    await asyncio.sleep(0)
    return found, WORD.get(), asyncio.current_task().get_name()


def test_what_a_coroutine_sets_in_its_context_no_other_sees(start):
    results = start(says, 30, 3)
    assert [found for found, _, _ in results] == ["fresh"] * 30
    assert [left for _, left, _ in results] == [f"left by {id}" for id in range(1, 31)]
    assert len({name for _, _, name in results}) == 30


def test_a_cancellation_that_comes_after_the_end_hurts_nobody(start):
    """A home-made timeout that nobody has called off."""

    async def task(id):
        asyncio.get_running_loop().call_later(0.01, asyncio.current_task().cancel)
        await asyncio.sleep(0)
        await asyncio.sleep(0.002)
        return id

    results = start(task, 40, 2)
    slow = [id for id, result in enumerate(results, 1) if result != id]
    late = [log["task_id"] for log in wd.get_logs() if log["duration"] >= 0.01]
    assert set(slow) <= set(late)


def test_coroutines_that_another_one_cancels_before_their_first_step_have_their_outcome(start):
    async def first_cancels_all(id):
        if id == 1:
            for other in asyncio.all_tasks() - {asyncio.current_task()}:
                other.cancel()
        await asyncio.sleep(0)
        return id

    results = start(first_cancels_all, 30, 10)
    logs = wd.get_logs()
    assert [log["task_id"] for log in logs] == list(range(1, 31))
    assert [log["error"]["type"] for log in logs if log["status"] != "ok"] == ["CancelledError"] * 9
    assert results[0] == 1
    assert list(results[10:]) == list(range(11, 31))


def test_of_many_coroutines_only_those_over_their_time_are_ended(start):
    async def third_hangs(id):
        await asyncio.sleep(600 if id % 3 == 0 else 0.001 * (id % 7))
        return id

    results = start(third_hangs, 60, 7, timeout=0.3)
    expected = ["timeout" if id % 3 == 0 else "ok" for id in range(1, 61)]
    assert [log["status"] for log in wd.get_logs()] == expected
    assert all(log["duration"] >= 0.3 for log in wd.get_logs() if log["status"] == "timeout")
    assert [bool(result) for result in results] == [status == "ok" for status in expected]


def test_a_coroutine_that_waits_for_its_due_time_is_not_over_its_time():
    async def nap(id):
        await asyncio.sleep(0.01 if id % 5 else 600)
        return id

    frequency = {"enabled": True, "rate": 50, "duration": 0.5, "pacing": "even"}
    options = {"frequency_mode": frequency, **SHAPES["coroutine-threads"].options}
    task = {"list": 25, "function": nap, "timeout": 0.2}
    wd.start({"task": task, "worker": options, "verbose": False})
    statuses = [log["status"] for log in wd.get_logs()]
    assert statuses == ["ok" if id % 5 else "timeout" for id in range(1, 26)]


@pytest.mark.filterwarnings("error::RuntimeWarning")  # a coroutine that nobody has awaited
@pytest.mark.filterwarnings("ignore::worker_dispatcher.TaskFailuresWarning")
def test_coroutines_that_another_one_cancels_before_they_are_due_have_their_outcome():
    async def third_cancels_all(id):
        if id == 3:
            for other in asyncio.all_tasks() - {asyncio.current_task()}:
                other.cancel()
        return id

    frequency = {"enabled": True, "rate": 50, "pacing": "even", "max_workers": 5}
    options = {"frequency_mode": frequency}
    task = {"list": 12, "function": third_cancels_all}
    wd.start({"task": task, "worker": options, "verbose": False, "runtime": 20})
    logs = wd.get_logs()
    assert [log["task_id"] for log in logs] == list(range(1, 13))
    failed = [log for log in logs if log["status"] != "ok"]
    assert [log["error"]["type"] for log in failed] == ["CancelledError"] * len(failed)
    assert 1 <= len(failed) <= 5
    assert all(log["duration"] < 1 for log in failed)


async def exits_beside(id):
    """Task 5 awaits something of its own that raises SystemExit."""

    async def beside():
        raise SystemExit(3)

    if id == 5:
        await asyncio.create_task(beside())
    await asyncio.sleep(0.005)
    return id


async def exits_in_a_timer(id):
    def rings():
        raise KeyboardInterrupt

    if id == 5:
        asyncio.get_running_loop().call_later(0.001, rings)
    await asyncio.sleep(0.005)
    return id


async def stops_its_loop(id):
    if id == 5:
        asyncio.get_running_loop().stop()
    await asyncio.sleep(0.005)
    return id


@pytest.fixture(params=[*ON_ONE_LOOP, "processes"])
def loops(request):
    """Options of a worker: every place where loops are."""
    return {"number": 2, **ON_ONE_LOOP.get(request.param, {"use_processing": True})}


@pytest.mark.parametrize("function", [exits_beside, exits_in_a_timer, stops_its_loop])
@pytest.mark.filterwarnings("ignore::worker_dispatcher.TaskFailuresWarning")
def test_nothing_that_a_coroutine_starts_on_its_loop_ends_the_loop(loops, function, caplog):
    wd.start({"task": {"list": 12, "function": function}, "worker": loops, "verbose": False, "runtime": 20})
    failed = {log["task_id"]: log["error"]["type"] for log in wd.get_logs() if log["status"] != "ok"}
    assert len(wd.get_logs()) == 12
    assert failed == ({5: "SystemExit"} if function is exits_beside else {})
    told = [record for record in caplog.records if "would have ended its loop" in record.getMessage()]
    assert len(told) == (function is not stops_its_loop)


def test_nor_does_what_worker_init_starts_on_it(loops):
    async def init(config):
        async def beside():
            raise SystemExit(3)

        try:
            await asyncio.create_task(beside())
        except SystemExit:
            return "begun"

    async def task(worker_state):
        return worker_state

    worker = {**loops, "init": init}
    results = wd.start({"task": {"list": 6, "function": task}, "worker": worker, "verbose": False, "runtime": 20})
    assert results == ["begun"] * 6


def test_a_worker_init_that_cancels_itself_ends_the_run():
    async def init(config):
        asyncio.current_task().cancel()

    async def task(id):
        return id

    with pytest.raises(asyncio.CancelledError):
        wd.start({"task": {"list": 3, "function": task}, "worker": {"init": init}, "verbose": False, "runtime": 20})
