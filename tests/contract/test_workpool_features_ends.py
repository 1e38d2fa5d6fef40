"""How tasks of a WorkerPool end, and who is told: hooks and on_done, keyed tasks, cancel and rescue."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import pytest
from gates import Gate, double, of, wrong
from pooled import adds_up

from worker_dispatcher import DuplicateTask, Task, TaskFuture, TaskHooks, TaskResult, WorkerPool, current_task

pytestmark = pytest.mark.above_the_pools

NewPool = Callable[..., WorkerPool]


class Told:
    """What was called, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.threads: set[str] = set()
        self.hooks = TaskHooks(
            **{name: self.note(name) for name in ("on_success", "on_error", "on_expired", "on_rescue")}
        )

    def note(self, name: str) -> Callable[[Any], None]:
        def call(what: Any) -> None:
            self.calls.append((name, what))
            self.threads.add(threading.current_thread().name)

        return call

    def by_task(self) -> dict[Any, list[str]]:
        found: dict[Any, list[str]] = {}
        for name, what in self.calls:
            found.setdefault(what.id, []).append(name)
        return found


def until_cancelled(gate: Gate) -> str:
    gate.note("began")
    task = current_task()
    assert task is not None
    try:
        while True:
            task.sleep(60)
    except CancelledError:
        gate.note("saw")
    assert task.cancelled()
    return "ended"


def test_each_end_has_its_hook_and_then_on_done(kind: str, new_pool: NewPool, gate: Gate, wait_until: Any) -> None:
    told = Told()
    pool = new_pool(4, hooks=told.hooks, name="mails")

    def send(name: str, function: Any, *args: Any, **said: Any) -> Any:
        return pool.schedule(of(kind, function), args, id=name, on_done=told.note("on_done"), **said)

    send("fine", double, 2).result(30)
    send("broken", wrong, "x").outcome(30)
    send("slow", gate.hold, timeout=0.3).outcome(30)
    send("late", gate.hold, "late", deadline=0.3).outcome(30)
    send("gone", double, 2, delay=100)
    assert pool.cancel("gone")
    send("kept", double, 2, delay=100)
    assert [task.id for task in pool.rescue()] == ["kept"]
    gate.open()
    pool.shutdown()
    assert told.by_task() == {
        "fine": ["on_success", "on_done"],
        "broken": ["on_error", "on_done"],
        "slow": ["on_error", "on_done"],
        "late": ["on_expired", "on_done"],
        "gone": ["on_done"],  # nobody's but on_done's
        "kept": ["on_rescue", "on_done"],
    }
    states = {what.id: what.state for name, what in told.calls if name == "on_done"}
    assert states == {
        **{"fine": "succeeded", "broken": "failed", "slow": "timeout", "late": "expired"},
        **{"gone": "cancelled", "kept": "rescued"},
    }
    assert {type(what) for name, what in told.calls if name != "on_rescue"} == {TaskResult}
    assert {type(what) for name, what in told.calls if name == "on_rescue"} == {Task}
    assert told.threads == {"mails-callbacks"}
    assert pool.stats().hook_errors == 0


def test_hooks_of_a_task_replace_those_of_the_pool(kind: str, new_pool: NewPool) -> None:
    pools, own = Told(), Told()
    pool = new_pool(hooks=pools.hooks)
    pool.schedule(of(kind, double), (1,), id="a", hooks=own.hooks).result(30)
    pool.schedule(of(kind, double), (1,), id="b", hooks=None).result(30)
    pool.schedule(of(kind, double), (1,), id="c").result(30)
    pool.shutdown()
    assert (own.by_task(), pools.by_task()) == ({"a": ["on_success"]}, {"c": ["on_success"]})


def test_a_hook_that_raises_is_counted_and_one_that_is_slow_holds_up_no_task(
    kind: str, new_pool: NewPool, caplog: pytest.LogCaptureFixture
) -> None:
    free = threading.Event()

    def slow(result: TaskResult) -> None:
        free.wait(30)
        raise ValueError("in the hook")

    pool = new_pool(hooks=TaskHooks(on_success=slow))
    futures = [pool.submit(of(kind, double), number) for number in range(20)]
    assert [future.result(30) for future in futures] == [2 * number for number in range(20)]  # no hook has ended yet
    assert pool.join(30)
    free.set()
    pool.shutdown()
    assert (pool.stats().hook_errors, pool.stats().succeeded) == (20, 20)
    assert "in the hook" in caplog.text


def test_a_callback_that_would_wait_for_itself_is_told_so(kind: str, new_pool: NewPool, wait_until: Any) -> None:
    pool = new_pool()
    group = pool.group()
    errors: list[str] = []

    def waits(result: TaskResult) -> None:
        for wait in (pool.shutdown, pool.join, group.wait, group.results, pool.pause):
            try:
                wait()
            except RuntimeError as error:
                errors.append(str(error))

    pool.schedule(of(kind, double), (1,), on_done=waits).result(30)
    wait_until(lambda: len(errors) == 5)
    assert all("callback" in error for error in errors)
    assert pool.submit(of(kind, double), 2).result(30) == 4


def test_a_task_that_has_not_ended_is_found_by_its_id(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    pool = new_pool(1)
    running = pool.schedule(of(kind, gate.hold), id="running")
    wait_until(gate.begun)
    queued = pool.schedule(of(kind, double), (1,), id=("queued", 1))
    delayed = pool.schedule(of(kind, double), (1,), id="delayed", delay=100)
    unnamed = pool.submit(of(kind, double), 1)
    found = {"running": running, ("queued", 1): queued, "delayed": delayed, unnamed: unnamed}
    assert pool.get(unnamed.id) is None  # a number of the pool's own is no id, and never in the way of one
    assert all(pool.get(key) is future and key in pool for key, future in found.items())
    assert (len(pool), bool(pool)) == (4, True)
    assert pool.get("nobody") is None
    assert "nobody" not in pool
    gate.open()
    assert queued.result(30) == 2
    assert pool.get("running") is None
    assert pool.cancel("delayed")
    assert pool.join(30)
    assert (len(pool), bool(pool)) == (0, True)


def test_an_id_is_taken_until_its_task_has_ended(kind: str, new_pool: NewPool) -> None:
    pool = new_pool()
    pool.schedule(of(kind, double), (1,), id="mail", delay=100)
    with pytest.raises(DuplicateTask, match="a task with id 'mail' has not ended yet") as caught:
        pool.schedule(of(kind, double), (1,), id="mail")
    assert caught.value.task_id == "mail"
    assert isinstance(caught.value, ValueError)
    assert pool.cancel("mail")
    for _ in range(3):
        assert pool.schedule(of(kind, double), (1,), id="mail").result(30) == 2
    assert (pool.stats().submitted, adds_up(pool)) == (4, True)


def test_what_has_not_begun_is_cancelled_and_never_runs(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    pool = new_pool(1)
    held = pool.submit(of(kind, gate.hold))
    wait_until(gate.begun)
    futures = {
        "queued": pool.schedule(of(kind, gate.note), ("queued",), id="queued"),
        "delayed": pool.schedule(of(kind, gate.note), ("delayed",), id="delayed", delay=0.3),
        "urgent": pool.schedule(of(kind, gate.note), ("urgent",), id="urgent", priority=3, deadline=50),
    }
    for key, future in futures.items():
        assert pool.cancel(key)
        assert key not in pool
        assert future.cancelled()
        with pytest.raises(CancelledError):
            future.result(0)
        outcome = future.outcome()
        assert (outcome.state, outcome.attempts) == ("cancelled", 0)
        assert isinstance(outcome.error, CancelledError)
        assert key != "delayed" or outcome.queued_for == 0.0  # it was not its turn yet
        assert not pool.cancel(key)
    assert not pool.cancel("nobody")
    again = pool.schedule(of(kind, double), (4,), id="queued", delay=0.4)
    gate.open()
    assert (held.result(30), again.result(30)) == ("held", 8)
    assert gate.begun() == ["held"]
    assert pool.stats().cancelled == 3


@pytest.mark.parametrize("kind", ["thread", "process", "grid"])
def test_a_task_that_runs_is_cancelled_at_once_and_may_ask(new_pool: NewPool, gate: Gate, wait_until: Any) -> None:
    pool = new_pool(1)
    future = pool.schedule(until_cancelled, (gate,), id="long")
    wait_until(gate.begun)
    assert not future.cancel()  # as the standard says of one that runs
    assert pool.cancel("long")
    assert future.outcome(5).state == "cancelled"
    assert "long" not in pool
    wait_until(lambda: gate.begun() == ["began", "saw"])
    assert pool.submit(double, 1).result(30) == 2
    assert pool.stats().abandoned == 0
    assert not pool.cancel("long")


@pytest.mark.parametrize("kind", ["thread", "process", "grid"])
def test_a_cancelled_task_that_does_not_ask_holds_its_worker_and_is_counted(
    new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    pool = new_pool(1)
    future = pool.schedule(gate.hold, id="deaf")
    wait_until(gate.begun)
    assert pool.cancel("deaf")
    assert future.cancelled()
    waits = pool.submit(double, 1)
    stats = pool.stats()
    assert (stats.abandoned, stats.cancelled, len(pool)) == (1, 1, 1)
    time.sleep(0.2)
    assert not waits.done()
    gate.open()
    assert waits.result(30) == 2
    wait_until(lambda: pool.stats().abandoned == 0)


@pytest.mark.parametrize("kind", ["process", "grid", "coroutine"])
def test_a_task_that_runs_is_killed(kind: str, new_pool: NewPool, gate: Gate, wait_until: Any) -> None:
    pool = new_pool(1)
    ways: list[Callable[[TaskFuture], bool]] = [lambda _: pool.cancel("deaf", kill=True), TaskFuture.kill]
    for end in ways:
        count = len(gate.begun())
        future = pool.schedule(of(kind, gate.hold), id="deaf")
        wait_until(lambda count=count: len(gate.begun()) > count)
        assert end(future)
        assert future.outcome(5).state == "cancelled"
        assert pool.submit(of(kind, double), 1).result(30) == 2
        assert not future.kill()
    assert adds_up(pool)


def test_a_rescue_takes_what_has_not_begun_and_the_pool_goes_on(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    told = Told()
    pool = new_pool(1, hooks=told.hooks)
    running = pool.schedule(of(kind, gate.hold), id="running")
    wait_until(gate.begun)
    queued = pool.schedule(of(kind, gate.note), ("queued",), id="queued", priority=2, options={"a": 1}, retries=3)
    delayed = pool.schedule(of(kind, gate.note), ("delayed",), id="delayed", delay=100, deadline=200, name="later")
    tasks = {task.id: task for task in pool.rescue()}
    assert set(tasks) == {"queued", "delayed"}
    assert (queued.cancelled(), queued.outcome().state) == (True, "rescued")
    assert 90 < tasks["delayed"].delay <= 100  # what is left
    assert 190 < tasks["delayed"].deadline <= 200
    assert (tasks["delayed"].name, tasks["queued"].options, tasks["queued"].priority) == ("later", {"a": 1}, 2)
    assert tasks["queued"].retries == 3
    assert delayed.outcome().state == "rescued"
    assert pool.rescue() == []
    gate.open()
    assert running.result(30) == "held"
    if kind != "coroutine":  # there the function is one of the test's
        copy = pickle.loads(pickle.dumps(tasks["queued"]))
        assert (copy.fn.func, copy.args, copy.options) == (gate.note.func, ("queued",), {"a": 1})
    again = [pool.schedule(task, delay=0) for task in tasks.values()]
    assert sorted(future.result(30) for future in again) == ["delayed", "queued"]
    stats = pool.stats()
    assert (stats.rescued, stats.succeeded, adds_up(pool)) == (2, 3, True)
    pool.shutdown()
    assert sorted(what.id for name, what in told.calls if name == "on_rescue") == ["delayed", "queued"]  # once each


def test_a_rescue_takes_what_runs_too_where_it_is_told_to(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    pool = new_pool(1)
    running = pool.schedule(of(kind, gate.hold), ("x",), id="running")
    wait_until(gate.begun)
    queued = pool.schedule(of(kind, gate.hold), ("y",), id="queued")
    tasks = pool.rescue(running=True)
    assert [task.id for task in tasks] == ["running", "queued"]
    assert (running.outcome(5).state, queued.outcome(5).state) == ("rescued", "rescued")
    gate.open()
    assert [pool.schedule(task).result(30) for task in tasks] == ["x", "y"]
    assert adds_up(pool)


def test_a_rescued_task_goes_to_a_pool_of_another_kind(new_pool: NewPool, kind: str) -> None:
    if kind == "coroutine":
        pytest.skip("takes no plain functions")
    first = new_pool()
    first.schedule(double, (21,), id="far", delay=100)
    with WorkerPool(1, kind="process" if kind == "thread" else "thread") as other:
        (task,) = pickle.loads(pickle.dumps(first.rescue()))
        assert other.schedule(task, delay=0).result(30) == 42


@pytest.mark.parametrize("kind", ["thread", "coroutine"])
@pytest.mark.parametrize("end", ["cancel", "rescue", "group"])
def test_nothing_begins_after_its_end_was_told(kind: str, new_pool: NewPool, end: str) -> None:
    """A worker has taken a task, and comes to it when the one who ends it has gone on."""
    pool = new_pool(3)
    began: dict[int, float] = {}

    def begin(number: int) -> None:
        began[number] = time.monotonic()

    late: list[int] = []
    for _ in range(60):
        group = pool.group()
        futures = [
            group.schedule(of(kind, begin), (number,)) if end == "group" else pool.submit(of(kind, begin), number)
            for number in range(20)
        ]
        told: dict[int, float] = {}
        if end == "cancel":
            for number, future in enumerate(futures):
                pool.cancel(future)
                told[number] = time.monotonic()
        else:
            pool.rescue() if end == "rescue" else group.cancel()
            told = dict.fromkeys(range(20), time.monotonic())
        assert pool.join(30)
        for number, future in enumerate(futures):
            if future.cancelled() and began.get(number, 0.0) > told[number]:
                late.append(number)
        began.clear()
    assert late == []
    assert adds_up(pool)
