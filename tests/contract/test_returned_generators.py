"""A function that gives a generator in the place of its result: an error that says so, on every shape."""

from __future__ import annotations

import functools
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from test_returned_coroutines import each_shape

import worker_dispatcher as wd

SAID = "the function returned a generator, whose body nobody would run; return its values, as in list(...)"


def values(task: int) -> Iterator[int]:
    yield task


async def values_awaited(task: int) -> AsyncIterator[int]:
    yield task


def plain(task: int) -> Iterator[int]:
    return values(task)


async def awaited(task: int) -> Iterator[int]:
    return values(task)


class Callable:
    def __call__(self, task: int) -> Iterator[int]:
        return values(task)


GIVERS = {
    "a lambda": lambda task: values(task),  # noqa: PLW0108 -- it hides what is called
    "a function": plain,
    "a coroutine function": awaited,
    "a coroutine": lambda task: awaited(task),  # noqa: PLW0108 -- as above
    "an object": Callable(),
    "a partial": functools.partial(lambda other, task: values(task), 1),
    "an expression": lambda task: (one for one in [task]),
}


def error_of(config: dict[str, Any]) -> tuple[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wd.TaskFailuresWarning)
        (failure,) = wd.start(config)
    return failure.error["type"], failure.error["message"]


@pytest.mark.each_value
@each_shape
@pytest.mark.parametrize("giver", GIVERS)
def test_a_generator_that_is_returned_is_an_error(giver: str, worker: dict[str, Any]) -> None:
    task = {"list": [1], "function": GIVERS[giver]}
    assert error_of({"task": task, "worker": worker, "verbose": False}) == ("TypeError", SAID)


@each_shape
def test_an_async_generator_that_is_returned_is_an_error(worker: dict[str, Any]) -> None:
    task = {"list": [1], "function": lambda task: values_awaited(task)}  # noqa: PLW0108 -- as above
    kind, text = error_of({"task": task, "worker": worker, "verbose": False})
    assert (kind, text) == (
        "TypeError",
        "the function returned an async generator, whose body nobody would run; return its values, as in "
        "[one async for one in ...]",
    )


@each_shape
@pytest.mark.parametrize("name", ["on_done", "on_all_done"])
def test_a_generator_that_a_callback_returns_is_an_error(name: str, worker: dict[str, Any]) -> None:
    task = {"list": [1], "function": abs, "callback": {name: lambda result: values(result)}}  # noqa: PLW0108
    assert error_of({"task": task, "worker": worker, "verbose": False}) == ("TypeError", SAID)


@each_shape
def test_a_generator_that_worker_init_returns_ends_the_run(worker: dict[str, Any]) -> None:
    worker = {**worker, "init": lambda: values(1)}
    with pytest.raises(TypeError, match="the function returned a generator"):
        wd.start({"task": {"list": [1], "function": abs}, "worker": worker, "verbose": False})
