"""What a WorkerPool is told of each task, in every kind: arguments, names, options, delays, order, many at once."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from gates import Gate, double, of, wrong
from pooled import APART, KINDS, PLAIN, adds_up

from worker_dispatcher import (
    POOL_DEFAULT,
    ConfigError,
    DuplicateTask,
    PoolFull,
    Task,
    TaskHooks,
    TaskTimeout,
    WorkerPool,
    current_task,
)

pytestmark = pytest.mark.above_the_pools

NewPool = Callable[..., WorkerPool]


def told() -> dict[str, Any]:
    """What a task knows of itself."""
    task = current_task()
    assert task is not None
    return {
        "id": task.id,
        "name": task.name,
        "attempt": task.attempt,
        "options": dict(task.options),
        "remaining": task.remaining(),
        "cancelled": task.cancelled(),
        "read-only": _refuses(task.options),
    }


def _refuses(options: Mapping[str, Any]) -> bool:
    try:
        options["x"] = 1  # type: ignore[index]
    except TypeError:
        return True
    return False


def given(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    return args, kwargs


async def awaited(value: int) -> int:
    import asyncio

    await asyncio.sleep(0)
    return value + 1


def test_submit_and_schedule_pass_arguments_and_keywords_on(kind: str, new_pool: NewPool) -> None:
    pool = new_pool()
    assert pool.submit(of(kind, given), 1, 2, fn=3, self=4).result(30) == ((1, 2), {"fn": 3, "self": 4})
    assert pool.schedule(of(kind, given), [1, 2], {"id": 3}).result(30) == ((1, 2), {"id": 3})
    assert pool.schedule(of(kind, given)).result(30) == ((), {})


def test_a_task_knows_its_id_its_name_its_attempt_and_its_options(kind: str, new_pool: NewPool) -> None:
    pool = new_pool(options={"a": 1})
    known = pool.schedule(of(kind, told), id=("mail", 7), name="the mail", options={"b": 2}).result(30)
    assert known == {
        "id": ("mail", 7),
        "name": "the mail",
        "attempt": 1,
        "options": {"b": 2},  # nothing is merged
        "remaining": float("inf"),
        "cancelled": False,
        "read-only": True,
    }


def test_a_task_that_was_told_nothing_has_a_number_and_the_name_of_its_function(kind: str, new_pool: NewPool) -> None:
    future = new_pool().submit(of(kind, told))
    known = future.result(30)
    assert known["id"] == future.id == 1
    assert known["name"] == future.name == "told"


def test_the_first_task_of_each_worker_knows_its_time_as_the_others_do(kind: str, new_pool: NewPool) -> None:
    pool = new_pool(4, timeout=50.0)
    for deadline, most in ((None, 50), (20.0, 20)):
        futures = [pool.schedule(of(kind, told), deadline=deadline) for _ in range(12)]
        assert all(most - 15 < future.result(30)["remaining"] <= most for future in futures)


def test_outside_of_a_task_there_is_none() -> None:
    assert current_task() is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("said", "options"),
    [({}, {"a": 1}), ({"options": {}}, {}), ({"options": None}, {}), ({"options": {"b": 2}}, {"b": 2})],
)
def test_options_of_a_task_replace_those_of_the_pool_and_none_switches_them_off(
    kind: str, new_pool: NewPool, said: dict[str, Any], options: dict[str, Any]
) -> None:
    pool = new_pool(options={"a": 1})
    for _ in range(2):  # the second finds the function with the workers
        assert pool.schedule(of(kind, told), **said).result(30)["options"] == options
    with pool.group(**said) as group:
        assert group.submit(of(kind, told)).result(30)["options"] == options


def test_pool_default_says_the_value_of_the_pool_and_none_none(kind: str, new_pool: NewPool, gate: Gate) -> None:
    ended: list[str] = []
    hooks = TaskHooks(on_error=lambda result: ended.append(result.id))
    pool = new_pool(timeout=50.0, retries=2, retry_on=KeyError, hooks=hooks)
    asked = dict.fromkeys(("timeout", "retries", "retry_on", "hooks", "deadline", "options"), POOL_DEFAULT)
    assert pool.schedule(of(kind, gate.fail), ("first", 2), **asked).result(30) == "first"
    assert pool.schedule(of(kind, told), timeout=None).result(30)["remaining"] == float("inf")
    assert pool.schedule(of(kind, told), timeout=POOL_DEFAULT).result(30)["remaining"] <= 50
    for number, said in enumerate(({"retries": None}, {"retry_on": None}, {"retries": 0, "hooks": None})):
        outcome = pool.schedule(of(kind, wrong), ("x",), id=f"off {number}", **said).outcome(30)
        assert (outcome.state, outcome.attempts) == ("failed", 1)
    pool.shutdown()
    assert ended == ["off 0", "off 1"]
    assert repr(POOL_DEFAULT) == "POOL_DEFAULT"
    assert pickle.loads(pickle.dumps(POOL_DEFAULT)) is POOL_DEFAULT


@pytest.mark.parametrize("kind", PLAIN)
def test_a_coroutine_function_is_awaited_by_a_worker_of_any_kind(kind: str, new_pool: NewPool) -> None:
    pool = new_pool()
    assert [future.result(30) for future in [pool.submit(awaited, n) for n in range(20)]] == list(range(1, 21))
    assert list(pool.map(awaited, range(5))) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", ["coroutine"])
def test_a_pool_of_coroutines_refuses_a_plain_function(new_pool: NewPool) -> None:
    pool = new_pool()
    for submit in (lambda: pool.submit(double, 1), lambda: pool.schedule(double, (1,)), lambda: pool.map(double, [1])):
        with pytest.raises(ConfigError, match=r"expected a coroutine function \(async def\), got <function double"):
            submit()
    assert pool.stats().submitted == 0
    assert pool.submit(awaited, 1).result(30) == 2


@pytest.mark.parametrize("kind", ["coroutine"])
def test_as_many_coroutines_run_at_once_as_there_are_workers(new_pool: NewPool, gate: Gate, wait_until: Any) -> None:
    pool = new_pool(30)
    futures = [pool.submit(of("coroutine", gate.hold), str(number)) for number in range(40)]
    wait_until(lambda: len(gate.begun()) == 30)
    assert pool.stats().running == 30
    gate.open()
    assert [future.result(30) for future in futures] == [str(number) for number in range(40)]


def test_a_delayed_task_begins_when_its_delay_is_over_and_waits_in_no_worker(kind: str, new_pool: NewPool) -> None:
    pool = new_pool(1)
    late = pool.schedule(of(kind, double), (1,), delay=0.4, name="late")
    stats = pool.stats()
    assert (stats.delayed, stats.queued, stats.running) == (1, 0, 0)
    assert pool.submit(of(kind, double), 2).result(30) == 4  # by the only worker
    outcome = late.outcome(30)
    assert outcome.started_at is not None
    assert outcome.started_at - outcome.submitted_at >= 0.39
    assert outcome.queued_for <= outcome.started_at - outcome.submitted_at - 0.39  # a delay is left out


def test_tasks_of_higher_priority_go_first_and_equals_in_their_order(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    pool = new_pool(1)
    pool.submit(of(kind, gate.hold))
    wait_until(gate.begun)
    sent = {"low": -5, "first": 0, "second": 0, "high": 3, "highest": 10, "third": 0}
    futures = [pool.schedule(of(kind, gate.note), (name,), priority=rank) for name, rank in sent.items()]
    gate.open()
    for future in futures:
        future.result(30)
    assert gate.begun()[1:] == ["highest", "high", "first", "second", "third", "low"]


def test_a_result_says_when_where_and_how_often(kind: str, new_pool: NewPool) -> None:
    pool = new_pool()
    before = time.time()
    outcome = pool.schedule(of(kind, time.sleep), (0.05,), id="nap", name="a nap").outcome(30)
    after = time.time()
    assert (outcome.id, outcome.name, outcome.value, outcome.error) == ("nap", "a nap", None, None)
    assert (outcome.state, outcome.ok, outcome.attempts, outcome.where) == ("succeeded", True, 1, "local")
    assert outcome.duration >= 0.049
    assert outcome.queued_for >= 0
    assert outcome.worker is not None
    assert outcome.started_at is not None
    assert before - 0.1 <= outcome.submitted_at <= outcome.started_at <= outcome.ended_at <= after + 0.1
    with pytest.raises(AttributeError):
        outcome.state = "failed"  # type: ignore[misc]


def test_the_outcome_of_a_failure_has_its_error_and_raises_nothing(kind: str, new_pool: NewPool) -> None:
    outcome = new_pool().submit(of(kind, wrong), "no such order").outcome(30)
    assert (outcome.state, outcome.ok, outcome.value) == ("failed", False, None)
    assert isinstance(outcome.error, KeyError)
    assert (outcome.error.__cause__ is not None) == (kind in (*APART, "dask"))  # the traceback of there


def test_an_outcome_that_is_not_there_in_time_is_a_timeout_of_the_wait(
    kind: str, new_pool: NewPool, gate: Gate
) -> None:
    future = new_pool().submit(of(kind, gate.hold))
    with pytest.raises(TimeoutError) as caught:
        future.outcome(0.05)
    assert not isinstance(caught.value, TaskTimeout)
    gate.open()
    assert future.outcome(30).value == "held"


def test_many_are_taken_together_as_tasks_and_as_tuples(kind: str, new_pool: NewPool) -> None:
    pool = new_pool()
    function = of(kind, given)
    tasks = [Task(function, (1,), id="a", name="A"), (function, (2,), {"x": 3}), (function, (4,)), (function,)]
    futures = pool.schedule_many(tasks)
    assert [future.result(30) for future in futures] == [((1,), {}), ((2,), {"x": 3}), ((4,), {}), ((), {})]
    assert (futures[0].id, futures[0].name) == ("a", "A")
    assert pool.schedule_many([]) == []
    assert adds_up(pool)
    assert pool.stats().submitted == 4


@pytest.mark.parametrize("kind", ["thread", "process"])
@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (("no function",), ConfigError),
        (["a list"], ConfigError),
        (Task(double, (1,), timeout=-1), ConfigError),
        (Task(double, (1,), delay=3, deadline=2), ConfigError),
        (Task(double, (1,), id="same"), DuplicateTask),
    ],
)
def test_many_of_which_one_is_invalid_are_all_refused(
    new_pool: NewPool, gate: Gate, broken: Any, error: type[Exception]
) -> None:
    pool = new_pool()
    tasks = [Task(gate.note, ("one",), id="same"), (gate.note, ("two",)), broken, (gate.note, ("three",))]
    with pytest.raises(error):
        pool.schedule_many(tasks)
    assert (len(pool), pool.stats().submitted) == (0, 0)
    pool.schedule(gate.note, ("after",), id="same").result(30)
    assert gate.begun() == ["after"]


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_many_for_which_there_is_no_room_are_all_refused(new_pool: NewPool, gate: Gate) -> None:
    pool = new_pool(1, capacity=3, on_full="raise")
    held = pool.submit(gate.hold)
    with pytest.raises(PoolFull):
        pool.schedule_many([(gate.note,)] * 3)
    stats = pool.stats()
    assert (stats.submitted, stats.rejected, len(pool)) == (1, 3, 1)
    futures = pool.schedule_many([(gate.note,)] * 2)
    gate.open()
    assert [future.result(30) for future in [held, *futures]] == ["held", "noted", "noted"]


def test_a_task_is_a_value_that_can_be_pickled_changed_and_scheduled(kind: str, new_pool: NewPool) -> None:
    pool = new_pool()
    task = Task(double, (4,), id="d", name="D", timeout=9.0, retries=1, priority=2, options={"a": 1})
    assert pickle.loads(pickle.dumps(task)) == task
    if kind == "coroutine":
        return
    future = pool.schedule(task)
    assert (future.result(30), future.id, future.name) == (8, "d", "D")
    again = future.task
    assert (again.fn, again.args, again.kwargs, again.id, again.name) == (double, (4,), {}, "d", "D")
    assert (again.timeout, again.retries, again.priority, again.options) == (9.0, 1, 2, {"a": 1})
    other = pool.schedule(task, id="e", timeout=None)
    assert (other.result(30), other.id, other.name) == (8, "e", "D")


def test_a_task_that_says_nothing_has_the_settings_of_the_pool_that_takes_it(kind: str, new_pool: NewPool) -> None:
    pool = new_pool(options={"a": 1}, timeout=60.0)
    told_all, told_none = Task(of(kind, told)), Task(of(kind, told), options=None, timeout=None)
    known = [future.result(30) for future in pool.schedule_many([told_all, told_none])]
    assert [task["options"] for task in known] == [{"a": 1}, {}]
    assert [task["remaining"] <= 60 for task in known] == [True, False]


def test_a_map_in_chunks_awaits_coroutine_functions(kind: str, new_pool: NewPool) -> None:
    pool = new_pool()
    assert list(pool.map(awaited, range(7), chunksize=3)) == [1, 2, 3, 4, 5, 6, 7]
    assert pool.stats().submitted == 3  # a chunk is one task


def test_a_task_submits_another_one(new_pool: NewPool, kind: str) -> None:
    if kind not in ("thread", "coroutine"):
        pytest.skip("a pool belongs to its process")
    pool = new_pool(2)

    def outer() -> Any:
        return pool.submit(of(kind, double), 3)

    assert pool.submit(of(kind, outer)).result(30).result(30) == 6


def test_a_future_goes_where_the_standard_library_wants_one(kind: str, new_pool: NewPool) -> None:
    import asyncio
    from concurrent.futures import as_completed, wait

    pool = new_pool()
    futures = [pool.submit(of(kind, double), number) for number in range(10)]
    assert sorted(future.result() for future in as_completed(futures, 30)) == [2 * number for number in range(10)]
    assert wait(futures, 30).done == set(futures)
    called = threading.Event()
    futures[0].add_done_callback(lambda future: called.set())
    assert called.is_set()

    async def main() -> list[int]:
        wrapped = [asyncio.wrap_future(pool.submit(of(kind, double), number)) for number in range(5)]
        loop = asyncio.get_running_loop()
        if kind != "coroutine":
            wrapped.append(loop.run_in_executor(pool, double, 5))
        return list(await asyncio.gather(*wrapped))

    assert asyncio.run(main())[:5] == [0, 2, 4, 6, 8]
