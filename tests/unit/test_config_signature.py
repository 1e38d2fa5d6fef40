"""How functions of every shape are to be called; the chosen call is made, so that a choice that fails cannot pass."""

from __future__ import annotations

import functools
import inspect
import json
import operator
import os.path
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from worker_dispatcher.call_style import CallStyle
from worker_dispatcher.config import signature as signatures
from worker_dispatcher.config.describe import Refused
from worker_dispatcher.config.signature import CALLBACK_NAMES, TASK_NAMES, call_style, is_coroutine_function

ALL = CallStyle(names=TASK_NAMES)
POSITIONAL = CallStyle(positional=True)
GIVEN = {"id": 1, "config": {}, "task": "7", "metadata": {}}


def named(*names: str) -> CallStyle:
    return CallStyle(names=names)


def call(function: Callable[..., Any], style: CallStyle) -> Any:
    return function(GIVEN["task"]) if style.positional else function(**{name: GIVEN[name] for name in style.names})


def passes_on(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def injects_session(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, session="s", **kwargs)

    return wrapper


def takes_only_keywords(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(**kwargs: Any) -> Any:
        return function(kwargs["task"])

    return wrapper


def takes_the_task_itself(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(order: Any) -> Any:
        return function(order, 2)

    return wrapper


def names_one_and_passes_on(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(id: int, **kwargs: Any) -> Any:
        return function(id=id, **kwargs)

    return wrapper


def whole(id: int, config: Any, task: Any, metadata: Any) -> Any:
    return task


def one(order: Any) -> Any:
    return order


def two(first: Any, second: Any) -> Any:
    return first


class Methods:
    def whole(self, id: int, config: Any, task: Any, metadata: Any) -> Any:
        return task

    def one(self, order: Any) -> Any:
        return order

    @passes_on
    def decorated(self, id: int, task: Any) -> Any:
        return task

    @passes_on
    def decorated_one(self, order: Any) -> Any:
        return order

    @classmethod
    def of_class(cls, task: Any) -> Any:
        return task

    @staticmethod
    def static(order: Any) -> Any:
        return order


class Callable_:
    def __call__(self, task: Any, id: int) -> Any:
        return task


class DecoratedCallable:
    @passes_on
    def __call__(self, order: Any) -> Any:
        return order


class ClassDecorator:
    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


@dataclass
class Order:
    number: Any


@dataclass
class Ticket:
    id: int
    task: Any


@pytest.mark.parametrize(
    ("function", "style"),
    [
        (whole, ALL),
        (lambda task, id: task, named("id", "task")),
        (lambda id: id, named("id")),
        (lambda config: config, named("config")),
        (lambda metadata: metadata, named("metadata")),
        (lambda task: task, named("task")),
        (lambda n: n, POSITIONAL),
        (lambda _: 1, POSITIONAL),
        (lambda result: result, POSITIONAL),
        (lambda n=1: n, POSITIONAL),
        (lambda a=1, b=2: a, POSITIONAL),
        (lambda n, retries=3: n, POSITIONAL),
        (lambda n, *, retries=3: n, POSITIONAL),
        (lambda task, retries=3: task, named("task")),
        (lambda task=None, metadata=None: task, named("task", "metadata")),
        (lambda *, task: task, named("task")),
        (lambda task, /: task, POSITIONAL),
        (lambda *args: args[0], POSITIONAL),
        (lambda task, *args: task, named("task")),
        (lambda **kwargs: kwargs["task"], ALL),
        (lambda id, **kwargs: kwargs["task"], ALL),
        (lambda *args, **kwargs: kwargs["task"], ALL),
        (lambda n, **kwargs: n, POSITIONAL),
        (lambda n, /, **kwargs: n, POSITIONAL),
        (Methods().whole, ALL),
        (Methods().one, POSITIONAL),
        (Methods().decorated, named("id", "task")),
        (Methods().decorated_one, POSITIONAL),
        (Methods.of_class, named("task")),
        (Methods.static, POSITIONAL),
        (Methods.__dict__["static"], POSITIONAL),
        (Callable_(), named("id", "task")),
        (DecoratedCallable(), POSITIONAL),
        (Order, POSITIONAL),
        (Ticket, named("id", "task")),
        (int, POSITIONAL),
        (str, POSITIONAL),
        (len, POSITIONAL),
        (hash, POSITIONAL),
        (repr, POSITIONAL),
        (sorted, POSITIONAL),
        (print, POSITIONAL),
        (os.path.basename, POSITIONAL),
        (operator.methodcaller("upper"), POSITIONAL),
        (json.dumps, POSITIONAL),
        (json.loads, POSITIONAL),
        (Mock(), ALL),
    ],
    ids=lambda value: getattr(value, "__qualname__", None) or type(value).__name__,
)
def test_a_function_is_called_by_the_names_it_takes_or_gets_the_task(
    function: Callable[..., Any], style: CallStyle
) -> None:
    assert call_style(function, TASK_NAMES) == style
    call(function, style)


@pytest.mark.parametrize(
    ("function", "style"),
    [
        (functools.partial(whole, 1), named("config", "task", "metadata")),
        (functools.partial(whole, config="mine"), named("id", "task", "metadata")),
        (functools.partial(whole, metadata=0), named("id", "config", "task")),
        (functools.partial(two, second=2), POSITIONAL),
        (functools.partial(two, 1), POSITIONAL),
        (functools.partial(lambda task, retries: task, retries=3), named("task")),
        (functools.partial(lambda **kwargs: kwargs, config="mine"), named("id", "task", "metadata")),
        (functools.partial(functools.partial(whole, config=1), metadata=2), named("id", "task")),
        (functools.partial(Methods().whole, config=1), named("id", "task", "metadata")),
        (functools.partial(int, base=10), POSITIONAL),
        (functools.partial(passes_on(two), second=2), POSITIONAL),
        (functools.partial(passes_on(whole), config=1), named("id", "task", "metadata")),
    ],
)
def test_what_a_partial_has_bound_stays_bound(function: Callable[..., Any], style: CallStyle) -> None:
    assert call_style(function, TASK_NAMES) == style
    call(function, style)


@pytest.mark.parametrize(
    ("function", "style"),
    [
        (passes_on(whole), ALL),
        (passes_on(one), POSITIONAL),
        (passes_on(passes_on(lambda id, task: task)), named("id", "task")),
        (passes_on(lambda **kwargs: kwargs), ALL),
        (passes_on(len), POSITIONAL),
        (passes_on(int), POSITIONAL),
        (passes_on(functools.partial(two, second=2)), POSITIONAL),
        (takes_the_task_itself(two), POSITIONAL),
        (takes_the_task_itself(lambda task, factor: task), POSITIONAL),
        (takes_only_keywords(one), ALL),
        (takes_only_keywords(lambda task: task), named("task")),
        (injects_session(lambda task, session: task), named("task")),
        (injects_session(lambda order, session: order), POSITIONAL),
        (injects_session(lambda id, config, task, metadata, session: task), ALL),
        (names_one_and_passes_on(lambda id, task: task), named("id", "task")),
        (names_one_and_passes_on(lambda id: id), named("id")),
        (functools.lru_cache(one), POSITIONAL),
        (functools.lru_cache(lambda id, task: task), named("id", "task")),
        (functools.singledispatch(lambda order: order), POSITIONAL),
        (ClassDecorator(one), POSITIONAL),
        (ClassDecorator(lambda id, task: task), named("id", "task")),
    ],
)
def test_a_decorator_that_passes_on_what_it_gets_is_asked_for_what_is_inside(
    function: Callable[..., Any], style: CallStyle
) -> None:
    assert call_style(function, TASK_NAMES) == style
    call(function, style)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda: 1, "has no parameter that can take the task; let it take one, or **kwargs"),
        (object, "has no parameter that can take the task"),
        (functools.partial(one, 1), "has no parameter that can take the task"),
        (lambda *, verbose=True: 1, "has no parameter that can take the task"),
        (functools.partial(one, order=1), "has no parameter that can take the task"),
        (two, "parameters 'first' and 'second' are not among id, config, task, metadata and have no default"),
        (
            lambda id, x: 1,
            "parameter 'x' is not one of id, config, task, metadata and has no default; the item comes "
            "as 'task': rename it, or give it a default",
        ),
        (lambda x, id: 1, "parameter 'x' is not one of"),
        (lambda order, config=None: 1, "parameter 'order' is not one of"),
        (lambda *, x: 1, "parameter 'x' is not one of"),
        (lambda id, x, **kwargs: 1, "parameter 'x' is not one of"),
        (lambda id, worker_state: 1, "parameter 'worker_state' is what worker.init makes; set worker.init"),
        (lambda id, /: 1, "parameter 'id' is positional-only; remove the '/'"),
        (lambda id, task, /: 1, "parameter 'id' is positional-only; remove the '/'"),
        (lambda x, /, *, task=None: 1, "parameter 'x' is not one of"),
        (lambda x, /, id: 1, "parameter 'x' is not one of"),
        (Methods.one, "parameters 'self' and 'order' are not among"),
        (operator.add, "parameters 'a' and 'b' are not among"),
    ],
)
def test_a_function_that_no_call_can_fit_is_refused_with_the_reason(function: Callable[..., Any], said: str) -> None:
    with pytest.raises(Refused) as caught:
        call_style(function, TASK_NAMES)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("function", "style"),
    [
        (lambda id, config, result, log: result, CallStyle(names=CALLBACK_NAMES)),
        (lambda result: result, named("result")),
        (lambda log: log, named("log")),
        (lambda r: r, POSITIONAL),
        (lambda **kwargs: kwargs, CallStyle(names=CALLBACK_NAMES)),
        (bool, POSITIONAL),
    ],
)
def test_a_callback_gets_the_result_where_a_task_function_gets_the_task(
    function: Callable[..., Any], style: CallStyle
) -> None:
    assert call_style(function, CALLBACK_NAMES) == style


def test_a_signature_that_cannot_be_read_means_the_task_alone() -> None:
    class Odd:
        @property
        def __signature__(self) -> Any:
            raise RuntimeError

        def __call__(self, task: Any) -> Any:
            return task

    assert call_style(Odd(), TASK_NAMES) == POSITIONAL


def test_an_object_that_wraps_itself_keeps_nobody_for_ever() -> None:
    def function(*args: Any, **kwargs: Any) -> None: ...

    function.__wrapped__ = function  # type: ignore[attr-defined]
    assert call_style(function, TASK_NAMES) == ALL


def test_a_given_signature_is_believed() -> None:
    def function(*args: Any, **kwargs: Any) -> None: ...

    function.__signature__ = inspect.signature(lambda id, task: None)  # type: ignore[attr-defined]
    assert call_style(function, TASK_NAMES) == named("id", "task")


def test_the_function_is_never_called() -> None:
    def function(task: Any) -> None:
        raise AssertionError("called")

    call_style(function, TASK_NAMES)
    is_coroutine_function(function)


def test_a_call_style_is_a_frozen_value_that_travels() -> None:
    style = call_style(whole, TASK_NAMES)
    assert pickle.loads(pickle.dumps(style)) == style
    assert len({style, ALL}) == 1
    with pytest.raises(AttributeError):
        style.positional = True  # type: ignore[misc]


# ---- coroutine functions


async def fetch(task: Any) -> Any: ...


class Fetcher:
    async def __call__(self, task: Any) -> Any: ...

    async def method(self, task: Any) -> Any: ...


@pytest.mark.parametrize(
    "function",
    [
        fetch,
        functools.partial(fetch, 1),
        functools.partial(functools.partial(fetch, 1)),
        Fetcher(),
        Fetcher().method,
        functools.partial(Fetcher()),
        functools.partial(Fetcher().method),
        AsyncMock(),
    ],
)
def test_what_gives_a_coroutine_is_a_coroutine_function(function: Callable[..., Any]) -> None:
    assert is_coroutine_function(function)


def calls_fetch(task: Any) -> Any:
    return fetch(task)


async def stream(task: Any) -> Any:
    yield task


@pytest.mark.parametrize("function", [one, len, int, Fetcher, Callable_(), Methods().one, stream, calls_fetch])
def test_what_gives_something_else_is_not(function: Callable[..., Any]) -> None:
    assert not is_coroutine_function(function)


# ---- plain functions are read without `inspect`


def bare() -> None: ...
def everything(a, b=1, /, c=2, *rest, d, e=3, **more): ...  # type: ignore[no-untyped-def]
def only_named(*, a, b=1): ...  # type: ignore[no-untyped-def]
def keeps_locals(a, *rest, **more):  # type: ignore[no-untyped-def]
    local = a
    return local, rest, more


@pytest.mark.parametrize("function", [bare, everything, only_named, keeps_locals, lambda x, y=1: x, whole])
def test_a_plain_function_is_read_as_inspect_reads_it(function: Callable[..., Any]) -> None:
    expected = [
        (p.name, p.kind.name, p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
        for p in inspect.signature(function).parameters.values()
    ]
    assert [tuple(p) for p in signatures._parameters(function) or ()] == expected


def test_a_function_that_was_marked_is_left_to_inspect() -> None:
    def marked(anything: object) -> None: ...

    marked.__signature__ = inspect.signature(whole)  # type: ignore[attr-defined]
    assert call_style(marked, TASK_NAMES) == ALL
