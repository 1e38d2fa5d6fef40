"""What a refusal says in the first hour: what the item is called, how to unpack it, what an option is called."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

import worker_dispatcher
from worker_dispatcher.config import signature
from worker_dispatcher.config.parse import parse
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


def two(a: int, b: int) -> int:
    return a + b


def more(a: int, b: int = 0, **others: int) -> int:
    return a + b


@pytest.mark.parametrize(
    ("items", "function", "hint"),
    [
        ([(1, 2)], two, "lambda task: f(*task)"),
        (((1, 2),), two, "lambda task: f(*task)"),
        (iter([(1, 2)]), two, "lambda task: f(*task)"),
        ([{"a": 1, "b": 2}], two, "lambda task: f(**task)"),
        ([{"a": 1, "b": 2, "c": 3}], two, ""),
        ([{"a": 1}], two, ""),
        ([{"a": 1, 2: 3}], two, ""),
        ([(1, 2, 3)], two, ""),
        ([(1,)], two, ""),
        ([{"a": 1, "b": 2}], lambda *, a, b: a, "lambda task: f(**task)"),
        ([{"a": 1, "c": 2}], lambda a, b=0, *, c, **others: a, "lambda task: f(**task)"),
        ([1, 2], two, ""),
        (["ab"], two, ""),
        ([None], two, ""),
        ([object()], two, ""),
        (3, two, ""),
        (range(3), two, ""),
        ({1, 2}, two, "lambda task: f(*task)"),
    ],
)
def test_how_to_spread_an_item_is_said_of_items_that_can_be_spread(
    items: Any, function: Callable[..., Any], hint: str
) -> None:
    ((_, text),) = said({"task": {"function": function, "list": items}})
    assert text.endswith(
        f"; the item comes as 'task': to spread it over parameters, write {hint}" if hint else "defaults"
    )


CALL = "{'task': {'function': fn, 'list': items}}"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: worker_dispatcher.start(len, [1]), f"start takes one dict: start({CALL})"),
        (lambda: worker_dispatcher.start({}, {}), f"start takes one dict: start({CALL})"),
        (lambda: worker_dispatcher.start(function=len, list=[1]), f"start takes one dict: start({CALL})"),
        (lambda: worker_dispatcher.start(task={}, worker={}), "takes one dict: start({'task': ..., 'worker': ...})"),
        (worker_dispatcher.start, f"nothing to run; give one dict, as in start({CALL}), or {{}} for the sam"),
        (
            lambda: worker_dispatcher.start(len),
            f"must be a dict of options, got builtin_function_or_method; write {CALL}",
        ),
        (lambda: worker_dispatcher.start([1]), f"must be a dict of options, got list; write {CALL}"),
        (lambda: worker_dispatcher.launch(len, [1]), f"launch takes one dict: launch({CALL})"),
        (lambda: worker_dispatcher.launch(task={}), "launch takes one dict: launch({'task': ...})"),
        (lambda: worker_dispatcher.launch(keep_records=False), f"give one dict, as in launch({CALL})"),
        (lambda: worker_dispatcher.find_max_rate(len, [1], "p99<1s"), f"find_max_rate({CALL}, ['p99<300ms'])"),
        (lambda: worker_dispatcher.find_max_rate(task={}), "find_max_rate({'task': ...}, ['p99<300ms'])"),
        (worker_dispatcher.find_max_rate, f"as in find_max_rate({CALL}, ['p99<300ms'])"),
        (lambda: worker_dispatcher.find_max_rate(len, "p99<1s"), f"builtin_function_or_method; write {CALL}"),
    ],
)
def test_a_call_that_gives_no_one_dict_is_shown_the_call_that_was_meant(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(worker_dispatcher.ConfigError) as caught:
        call()
    ((path, problem),) = caught.value.problems
    assert path == "config"
    assert text in problem


@pytest.mark.parametrize(
    ("call", "keyword", "text"),
    [
        (lambda: worker_dispatcher.start({}, timeout=3), "timeout", "start takes one dict; .* lives at 'task.timeout'"),
        (lambda: worker_dispatcher.start({}, verbose=False), "verbose", r"one dict: start\({..., 'verbose': ...}\)$"),
        (lambda: worker_dispatcher.start({}, n_jobs=3), "n_jobs", "did you mean 'worker.number'"),
        (lambda: worker_dispatcher.launch({}, number=3), "number", "launch takes one dict; .* at 'worker.number'"),
        (lambda: worker_dispatcher.launch({}, keep_record=False), "keep_record", "did you mean keep_records=\\?$"),
        (
            lambda: worker_dispatcher.find_max_rate({}, "p99<1s", verbose=False),
            "verbose",
            r"one dict: find_max_rate\({..., 'verbose': ...}, \['p99<300ms'\]\)$",
        ),
        (lambda: worker_dispatcher.find_max_rate({}, "p99<1s", duraton=3), "duraton", "did you mean duration="),
    ],
)
def test_a_keyword_beside_a_config_is_told_where_it_belongs(call: Callable[[], Any], keyword: str, text: str) -> None:
    with pytest.raises(worker_dispatcher.ConfigError) as caught:
        call()
    ((path, problem),) = caught.value.problems
    assert path == keyword
    assert re.search(text, problem)


def test_how_functions_are_called_is_asked_once_for_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def counting(function: Callable[..., Any], *about: Any) -> Any:
        asked.append(function)
        return style(function, *about)

    style = signature.call_style
    for module in [one for name, one in sys.modules.items() if name.startswith("worker_dispatcher")]:
        if getattr(module, "call_style", None) is style:
            monkeypatch.setattr(module, "call_style", counting)
    callback = {"on_done": lambda result: result, "on_all_done": lambda id, result: result}
    config = {"task": {"list": [1], "function": abs, "callback": callback}, "verbose": False}
    assert worker_dispatcher.start(config) == [1]
    assert sorted(map(id, asked)) == sorted(map(id, (abs, *callback.values())))


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
        ({"worker": {"frequency_mode": {"enabled": True, "rps": 3}}}, "worker.frequency_mode.rate"),
        ({"qps": 3}, "worker.frequency_mode.rate"),
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
