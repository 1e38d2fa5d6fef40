"""The context (contextvars, decimal) that a task runs in: the caller's in threads, a fresh one in processes, and what a
task sets is its own."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import worker_dispatcher

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")
THREADS = {"number": 1}
PROCESSES = {"number": 1, "use_processing": True}
GRID = {"number": 2, "parallel_processing": {"enabled": True, "processes": 1}}
SHAPES = {
    "threads": THREADS,
    "processes": PROCESSES,
    "spawn": {**PROCESSES, "start_method": "spawn"},
    "fork": {**PROCESSES, "start_method": "fork"},
    "grid": GRID,
}
shapes = pytest.mark.parametrize("worker", SHAPES.values(), ids=SHAPES)
kinds = pytest.mark.parametrize("kind", ["function", "coroutine", "returned coroutine"])


def look_and_set(task: int) -> tuple[str, int, str]:
    """What a task finds; and then it sets its own."""
    found = VAR.get(), decimal.getcontext().prec
    VAR.set(f"task {task}")
    decimal.getcontext().prec = 60 + task
    decimal.getcontext().traps[decimal.Inexact] = True
    return *found, VAR.get()


async def look_and_set_async(task: int) -> tuple[str, int, str]:
    await asyncio.sleep(0)
    return look_and_set(task)


def look_and_set_later(task: int) -> Any:
    return look_and_set_async(task)


FUNCTIONS = {
    "function": look_and_set,
    "coroutine": look_and_set_async,
    "returned coroutine": look_and_set_later,
}


def found(kind: str, worker: dict[str, Any], *, launch: bool = False, **more: Any) -> set[tuple[str, int]]:
    """What eight tasks find, each of which sets its own."""
    hooks = more.pop("hooks", {})
    task = {"list": range(8), "function": FUNCTIONS[kind], **more}
    config = {"task": task, "worker": {**worker, **hooks}, "verbose": False}
    results = worker_dispatcher.launch(config).wait().results if launch else worker_dispatcher.start(config)
    assert [result[2] for result in results] == [f"task {task}" for task in range(8)]
    return {result[:2] for result in results}


def in_context(function: Any, *arguments: Any, **more: Any) -> Any:
    """As a caller who has set something; that must be as it was afterwards."""

    def call() -> Any:
        decimal.setcontext(decimal.Context(prec=50))
        VAR.set("the caller's")
        outcome = function(*arguments, **more)
        assert (VAR.get(), decimal.getcontext().prec) == ("the caller's", 50)
        assert not decimal.getcontext().traps[decimal.Inexact]
        return outcome

    return contextvars.copy_context().run(call)


@kinds
@pytest.mark.parametrize("launch", [False, True], ids=["start", "launch"])
@pytest.mark.parametrize("number", [1, 3])
def test_tasks_in_threads_see_the_callers_context_and_nobody_sees_what_they_set(kind, launch, number):
    assert in_context(found, kind, {"number": number}, launch=launch) == {("the caller's", 50)}


@pytest.mark.parametrize("launch", [False, True], ids=["start", "launch"])
def test_tasks_of_a_generator_see_the_callers_context(launch):
    tasks = (n for n in range(8))
    assert in_context(found, "function", THREADS, launch=launch, list=tasks) == {("the caller's", 50)}


def test_a_generator_is_drawn_in_the_callers_context_by_a_launched_run():
    def drawn():
        for _ in range(3):
            yield VAR.get()

    def run():
        config = {"task": {"list": drawn(), "function": str}, "worker": THREADS, "verbose": False}
        return worker_dispatcher.launch(config).wait().results

    assert in_context(run) == ["the caller's"] * 3


@pytest.mark.each_value
@kinds
@shapes
def test_what_a_task_sets_is_not_seen_by_the_next_of_its_worker(kind, worker):
    assert len(found(kind, worker)) == 1


@pytest.mark.each_value
@kinds
@shapes
def test_tasks_in_processes_begin_with_a_fresh_context(kind, worker):
    expected = ("the caller's", 50) if worker.get("start_method") == "fork" or worker is THREADS else ("unset", 28)
    assert in_context(found, kind, worker) == {expected}


def set_now_and_then(item: int) -> str:
    found = VAR.get()
    if item % 3 == 2:
        VAR.set(f"task {item}")
    return found


def set_and_note(task: int, metadata: dict[str, Any]) -> str:
    metadata["noted"] = True
    return set_now_and_then(task)


@pytest.mark.each_value
@shapes
@pytest.mark.parametrize("function", [set_now_and_then, set_and_note])
def test_what_a_task_sets_where_nothing_was_set_is_not_seen_by_later_ones_of_its_batch(worker, function):
    config = {"task": {"list": range(3000), "function": function}, "worker": worker, "verbose": False}
    assert set(contextvars.Context().run(worker_dispatcher.start, config)) == {"unset"}


class Kept:
    """What can be watched by a weak reference."""


def test_what_a_task_has_set_is_let_go_before_the_next_one_runs():
    watched: list[weakref.ref[Any]] = []

    def look(item):
        gone = [one() is None for one in watched]
        VAR.set(kept := Kept())  # type: ignore[arg-type]
        watched.append(weakref.ref(kept))
        return gone

    config = {"task": {"list": range(4), "function": look}, "worker": THREADS, "verbose": False}
    results = contextvars.Context().run(worker_dispatcher.start, config)
    assert results == [[True] * before for before in range(4)]


def settings(config: Any) -> None:
    VAR.set("of init")
    decimal.getcontext().prec = 77


async def settings_async(config: Any) -> None:
    await asyncio.sleep(0)
    settings(config)


@pytest.mark.each_value
@shapes
@pytest.mark.parametrize(("kind", "init"), [*((kind, settings) for kind in FUNCTIONS), ("coroutine", settings_async)])
def test_what_worker_init_sets_is_seen_by_the_tasks_of_that_worker(kind, worker, init):
    assert in_context(found, kind, worker, hooks={"init": init}) == {("of init", 77)}


def take_token(config: Any) -> Any:
    return VAR.set("of init")


def give_token(state: Any) -> None:
    VAR.reset(state)


async def take_token_async(config: Any) -> Any:
    return VAR.set("of init")


async def give_token_async(state: Any) -> None:
    VAR.reset(state)


async def look_async(task: int) -> str:
    return VAR.get()


@pytest.mark.parametrize("worker", [THREADS, GRID], ids=["threads", "grid"])
def test_worker_exit_can_reset_what_worker_init_has_set(worker, recwarn):
    hooks = {"init": take_token, "exit": give_token}
    config = {"task": {"list": 3, "function": str}, "worker": {**worker, **hooks}, "verbose": False}
    worker_dispatcher.start(config)
    assert [str(one.message) for one in recwarn] == []


@shapes
def test_coroutines_that_are_init_and_exit_share_a_context(worker, recwarn):
    hooks = {"init": take_token_async, "exit": give_token_async}
    config = {"task": {"list": range(3), "function": look_async}, "worker": {**worker, **hooks}, "verbose": False}
    assert worker_dispatcher.start(config) == ["of init"] * 3
    assert [one for one in map(str, recwarn) if "use of fork() may lead to deadlocks" not in one] == []  # from 3.12 on


def of_its_task(result: Any) -> str:
    return VAR.get()


@pytest.mark.each_value
@kinds
@shapes
def test_on_done_runs_in_the_context_of_its_task(kind, worker):
    task = {"list": range(8), "function": FUNCTIONS[kind], "callback": {"on_done": of_its_task}}
    results = worker_dispatcher.start({"task": task, "worker": worker, "verbose": False})
    assert results == [f"task {task}" for task in range(8)]


def test_a_launched_run_sees_the_context_as_it_was_at_the_call():
    first, go = threading.Event(), threading.Event()

    def look(task):
        first.set()
        go.wait(60)
        return VAR.get(), decimal.getcontext().prec

    def call():
        decimal.setcontext(decimal.Context(prec=50))
        VAR.set("at the call")
        run = worker_dispatcher.launch({"task": {"list": range(4), "function": look}, "worker": THREADS})
        first.wait(60)
        VAR.set("later")
        decimal.getcontext().prec = 9
        go.set()
        return set(run.wait().results)

    assert contextvars.copy_context().run(call) == {("at the call", 50)}


def test_a_failed_task_leaves_nothing_in_the_context_either():
    def fail_and_set(task):
        seen = VAR.get()
        VAR.set("of one that failed")
        raise ValueError(seen)

    config = {"task": {"list": range(3), "function": fail_and_set}, "worker": THREADS, "verbose": True}
    worker_dispatcher.start(config)
    assert [log["error"]["message"] for log in worker_dispatcher.get_logs()] == ["unset"] * 3


@pytest.mark.skipif(int(np.__version__.split(".")[0]) < 2, reason="numpy 1 keeps it by thread, not by context")
def test_numpys_error_state_is_the_callers():
    def divide(task):
        state = np.geterr()["divide"]
        np.seterr(divide="ignore")
        return state

    with np.errstate(divide="raise"):
        config = {"task": {"list": range(4), "function": divide}, "worker": THREADS, "verbose": False}
        assert worker_dispatcher.start(config) == ["raise"] * 4
        assert np.geterr()["divide"] == "raise"
