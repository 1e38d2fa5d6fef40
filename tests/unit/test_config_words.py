"""What a refusal says in the first hour: what the item is called, how to unpack it, what an option is called."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

import worker_dispatcher
from worker_dispatcher.config import parse
from worker_dispatcher.errors import ConfigError

NO_STATE = "parameter 'worker_state' is what worker.init makes; set worker.init, or give it a default"


def said(raw: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        parse(raw)
    return list(caught.value.problems)


def add(a: int, b: int) -> int:
    return a + b


@pytest.mark.parametrize(
    "function",
    [
        lambda task, worker_state: 1,
        lambda worker_state: 1,
        lambda x, worker_state: 1,
        lambda id, *, worker_state: 1,
        lambda worker_state, y, z: 1,
        functools.partial(lambda worker_state, y: 1, y=2),
    ],
)
def test_a_function_that_wants_a_state_nobody_makes_is_told_just_that(function: Callable[..., Any]) -> None:
    assert said({"task": {"list": [1], "function": function}}) == [("task.function", NO_STATE)]


def test_with_a_state_the_other_parameters_are_what_is_told() -> None:
    ((path, text),) = said({"task": {"list": [1], "function": lambda x, worker_state: 1}, "worker": {"init": dict}})
    assert path == "task.function"
    assert text.startswith("parameter 'x' is not one of id, config, task, metadata, worker_state and has no default")


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (
            lambda order, site: 1,
            "parameters 'order' and 'site' are not among id, config, task, metadata and have no default; "
            "the item comes as 'task': to spread it over parameters, write lambda task: f(*task)",
        ),
        (
            add,
            "parameters 'a' and 'b' are not among id, config, task, metadata and have no default; "
            "the item comes as 'task': to spread it over parameters, write lambda task: f(*task)",
        ),
        (
            lambda order, config: 1,
            "parameter 'order' is not one of id, config, task, metadata and has no default; "
            "the item comes as 'task': rename it, or give it a default",
        ),
        (
            lambda a, b, c, config: 1,
            "parameters 'a', 'b' and 'c' are not among id, config, task, metadata and have no default; "
            "the item comes as 'task': rename them, or give them defaults",
        ),
    ],
)
def test_a_function_whose_parameters_fit_no_name_is_told_what_the_item_is_called(
    function: Callable[..., Any], text: str
) -> None:
    assert said({"task": {"list": [(1, 2)], "function": function}}) == [("task.function", text)]


def test_what_is_said_of_tuples_works() -> None:
    found = worker_dispatcher.start(
        {"task": {"list": [(1, 2), (3, 4)], "function": lambda task: add(*task)}, "verbose": False}
    )
    assert found == [3, 7]


def test_a_callback_is_told_what_the_result_is_called() -> None:
    ((path, text),) = said({"task": {"callback": {"on_done": lambda id, value: 1}}})
    assert path == "task.callback.on_done"
    assert text.endswith("the task's result comes as 'result': rename it, or give it a default")


@pytest.mark.parametrize(
    ("raw", "meant"),
    [
        ({"task": {"retry": 3}}, "task.retries"),
        ({"retry": 3}, "task.retries"),
        ({"task": {"max_retries": 3}}, "task.retries"),
        ({"workers": 3}, "worker.number"),
        ({"worker": {"workers": 3}}, "worker.number"),
        ({"threads": 3}, "worker.number"),
        ({"n_jobs": 3}, "worker.number"),
        ({"tasks": [1]}, "task.list"),
        ({"task": {"items": [1]}}, "task.list"),
        ({"task": {"func": add}}, "task.function"),
        ({"workers": {"number": 3}}, "worker"),
        ({"tasks": {"list": []}}, "task"),
    ],
)
def test_words_that_people_type_are_answered_with_the_option(raw: dict[str, Any], meant: str) -> None:
    assert [text for _, text in said(raw)] == [f"unknown option; did you mean '{meant}'?"]


@pytest.mark.parametrize("load", [{}, {"enabled": True, "rate": 5, "duration": 1}])
def test_a_function_without_a_list_is_refused(load: dict[str, Any]) -> None:
    text = "is missing beside task.function; give an iterable of tasks, or how many to make; [] runs none"
    assert said({"task": {"function": len}, "worker": {"frequency_mode": load}}) == [("task.list", text)]
    assert parse({"task": {"function": len, "list": []}}).task.list == []
