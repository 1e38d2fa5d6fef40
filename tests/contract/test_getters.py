"""Of which run the getters speak where several threads run something; none is kept for a thread that is gone."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import worker_dispatcher as wd


class Value:
    """A result that can be watched."""


def config(*items: Any) -> dict[str, Any]:
    return {
        "task": {"list": list(items), "function": lambda task: task},
        "worker": {"number": 1},
        "verbose": False,
    }


def in_thread(function: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join(20)
    return found[0]


@pytest.mark.parametrize("begin", [wd.start, lambda given: wd.launch(given).wait()], ids=["start", "launch"])
def test_the_getters_speak_of_the_run_of_their_own_thread(begin):
    both = threading.Barrier(2, timeout=20)

    def one(name: str) -> tuple[Any, Any, Any]:
        begin(config(name))
        both.wait()  # the other one's run has ended as well
        return wd.get_results(), [log["result"] for log in wd.get_logs()], wd.get_last_config()["task"]["list"]

    found: dict[str, Any] = {}
    threads = [threading.Thread(target=lambda name=name: found.update({name: one(name)})) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == {name: ([name], [name], [name]) for name in "ab"}


def test_a_thread_that_has_run_nothing_speaks_of_the_run_that_finished_last_in_the_process():
    wd.start(config("main"))
    in_thread(lambda: wd.start(config("there")))
    assert in_thread(wd.get_results) == ["there"]
    assert wd.get_results() == ["main"]


def test_a_launched_run_counts_for_the_thread_that_launched_it_whoever_waits_for_it():
    wd.start(config("before"))
    run = wd.launch(config("launched"))
    in_thread(run.wait)
    assert wd.get_results() == ["launched"]


def test_tasks_that_start_runs_leave_the_getters_of_their_caller_alone():
    def outer(task: int) -> Any:
        wd.start(config(task * 10))
        return wd.get_results()

    found = wd.start({"task": {"list": [1, 2, 3], "function": outer}, "worker": {"number": 3}, "verbose": False})
    assert found == [[10], [20], [30]]
    assert wd.get_results() is found


@pytest.mark.parametrize("begin", [wd.start, lambda given: wd.launch(given).wait()], ids=["start", "launch"])
def test_no_run_is_kept_for_a_thread_that_has_ended(begin):
    watched: list[weakref.ref[Value]] = []

    def run_one() -> None:
        value = Value()
        watched.append(weakref.ref(value))
        begin(config(value))

    for _ in range(5):
        in_thread(run_one)
    begin(config("another"))
    gc.collect()
    assert [one() for one in watched] == [None] * 5
