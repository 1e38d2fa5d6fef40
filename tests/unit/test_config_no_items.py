"""With a count as the list there are no items, and a function that would get one is refused instead of given {}."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from parsed import problems

import worker_dispatcher
from worker_dispatcher.config.parse import parse

LOAD = {"enabled": True, "rate": 100, "duration": 0.1}


async def visit(seed: int) -> int:
    return seed


class Visit:
    def __call__(self, seed: int) -> int:
        return seed

    def method(self, seed: int) -> int:
        return seed


WOULD_GET_AN_ITEM = [
    lambda seed: seed,
    lambda seed=3: seed,
    lambda seed, verbose=False: seed,
    visit,
    Visit(),
    Visit().method,
    functools.partial(lambda scale, seed: seed, 3),
    functools.partial(lambda seed, scale: seed, scale=3),
]


@pytest.mark.parametrize("function", WOULD_GET_AN_ITEM)
@pytest.mark.parametrize(("tasks", "what"), [(5, "a count"), (0, "a count"), (None, "None")])
def test_a_parameter_of_no_known_name_is_refused_where_there_are_no_items(
    function: Callable[..., Any], tasks: int | None, what: str
) -> None:
    config = {"task": {"list": tasks, "function": function}, "worker": {"frequency_mode": LOAD}}
    said = (
        f"parameter 'seed' would get an item, but task.list is {what}, so there are no items: "
        "name the parameter id, or give a list"
    )
    assert problems(config) == (("task.function", said),)


@pytest.mark.parametrize("function", WOULD_GET_AN_ITEM)
@pytest.mark.parametrize("tasks", [[5], [], range(5), iter([1]), {3}])
def test_a_parameter_of_no_known_name_gets_the_item_of_a_list(function: Callable[..., Any], tasks: Any) -> None:
    assert parse({"task": {"list": tasks, "function": function}}).styles.function.positional


@pytest.mark.parametrize(
    ("function", "results"),
    [
        (lambda task: task, [{}, {}, {}]),
        (lambda task, /: task, [{}, {}, {}]),
        (lambda id: id, [1, 2, 3]),
        (lambda id, seed=7: (id, seed), [(1, 7), (2, 7), (3, 7)]),
        (lambda **given: given["task"], [{}, {}, {}]),
        (lambda _: "pong", ["pong"] * 3),
        (lambda _item: "pong", ["pong"] * 3),
        (lambda *given: given, [({},)] * 3),
        (len, [0, 0, 0]),
    ],
)
def test_a_function_that_names_what_it_gets_or_ignores_it_runs_by_a_count(
    function: Callable[..., Any], results: list[Any]
) -> None:
    assert worker_dispatcher.start({"task": {"list": 3, "function": function}, "verbose": False}) == results
