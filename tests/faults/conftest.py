"""Running tasks of which one is guilty, and what must be true afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import worker_dispatcher

SHAPES: dict[str, dict[str, Any]] = {
    "processes": {"number": 3, "use_processing": True},
    "grid": {"number": 6, "parallel_processing": {"enabled": True, "processes": 2}},
    "threads": {"number": 3},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "faults" in item.path.parts:
            item.add_marker(pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning"))


@pytest.fixture(params=["processes", "grid"])
def process_shape(request: pytest.FixtureRequest) -> dict[str, Any]:
    return SHAPES[request.param]


@pytest.fixture(params=["processes", "grid", "threads"])
def any_shape(request: pytest.FixtureRequest) -> dict[str, Any]:
    return SHAPES[request.param]


@pytest.fixture
def run() -> Callable[..., list[Any]]:
    """run(function, tasks, shape, **more keys of the task section)"""

    def start(function: Any, tasks: Any, shape: dict[str, Any], **task: Any) -> list[Any]:
        return worker_dispatcher.start(
            {"task": {"list": tasks, "function": function, **task}, "worker": shape, "verbose": False}
        )

    return start


def _check_others(count: int, guilty: set[int], expect: Callable[[int], Any]) -> None:
    logs = worker_dispatcher.get_logs()
    assert [log["task_id"] for log in logs] == list(range(1, count + 1))
    wrong = {
        log["task_id"]: (log["status"], log["error"], log["result"])
        for log in logs
        if log["task_id"] not in guilty and (log["status"], log["result"]) != ("ok", expect(log["task_id"]))
    }
    assert not wrong


@pytest.fixture
def others_are_ok() -> Callable[..., None]:
    """others_are_ok(count, guilty ids, expected result by id): one log per task, in order, and all others right."""

    def check(count: int, guilty: Any = (), expect: Callable[[int], Any] = lambda id: id * 10) -> None:
        _check_others(count, set(guilty), expect)

    return check


@pytest.fixture
def next_run_works() -> Callable[[dict[str, Any]], None]:
    def check(shape: dict[str, Any]) -> None:
        config = {"task": {"list": range(8), "function": lambda task: task + 1}, "worker": shape, "verbose": False}
        assert worker_dispatcher.start(config) == list(range(1, 9))

    return check
