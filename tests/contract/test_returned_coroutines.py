"""A function that gives a coroutine in the place of its result: it is awaited, on every shape."""

# ruff: noqa: PLW0108 -- the lambdas are what is tested: a coroutine function would be known as one

from __future__ import annotations

import asyncio
import functools
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import worker_dispatcher
from worker_dispatcher import ConfigError

SHAPES = {
    "threads": {"number": 2},
    "processes": {"number": 2, "use_processing": True},
    "grid": {"number": 4, "parallel_processing": {"enabled": True, "processes": 2}},
    "spawn": {"number": 2, "use_processing": True, "start_method": "spawn"},
    "fork": {"number": 2, "use_processing": True, "start_method": "fork"},
}
each_shape = pytest.mark.parametrize("worker", SHAPES.values(), ids=list(SHAPES))


async def double(task: int) -> int:
    await asyncio.sleep(0)
    return 2 * task


async def fail(task: int) -> int:
    await asyncio.sleep(0)
    raise LookupError(f"no {task}")


async def nested(task: int) -> Any:
    return double(task)  # somebody forgot to await it


async def into_a_task(task: int) -> Any:
    return asyncio.get_running_loop().create_task(double(task))


async def stall(given_up: threading.Event) -> None:
    while not given_up.is_set():
        await asyncio.sleep(0.01)


class Promised:
    """Can be awaited, and is no coroutine."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __await__(self) -> Iterator[Any]:
        yield from asyncio.sleep(0).__await__()
        return self.value


async def promised(task: int) -> Promised:
    return Promised(2 * task)


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*given: Any, **named: Any) -> Any:
        return function(*given, **named)

    return wrapper


@logged
async def decorated(task: int) -> int:
    return await double(task)


class Doubler:
    async def __call__(self, task: int) -> int:
        return await double(task)


class Indirect:
    def __call__(self, task: int) -> Any:
        return double(task)


@types.coroutine
def old_style(task: int) -> Iterator[Any]:
    yield from asyncio.sleep(0).__await__()
    return 2 * task


def scaled(factor: int, task: int) -> Any:
    return double(task)


GIVES_A_COROUTINE = {
    "lambda": lambda task: double(task),
    "decorated": decorated,
    "partial": functools.partial(scaled, 3),
    "async call": Doubler(),
    "plain call": Indirect(),
    "of a coroutine function": functools.partial(double),
    "old style": old_style,
    "old style, by a lambda": lambda task: old_style(task),
    "nested": nested,
    "nested, by a lambda": lambda task: nested(task),
    "by name": lambda id, task, metadata: double(task),
}


def run(function: Callable[..., Any], worker: dict[str, Any], **task: Any) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # a coroutine that was never awaited
        warnings.simplefilter("ignore", worker_dispatcher.TaskFailuresWarning)
        return worker_dispatcher.start(
            {"task": {"list": [1, 2, 3], "function": function, **task}, "worker": worker, "verbose": False}
        )


@pytest.mark.each_value
@each_shape
@pytest.mark.parametrize("function", GIVES_A_COROUTINE.values(), ids=list(GIVES_A_COROUTINE))
def test_a_coroutine_in_the_place_of_a_result_is_run_and_what_it_returns_is_the_result(
    function: Callable[..., Any], worker: dict[str, Any]
) -> None:
    assert run(function, worker) == [2, 4, 6]


@each_shape
def test_what_it_raises_is_the_error_of_its_task(worker: dict[str, Any]) -> None:
    results = run(lambda task: fail(task), worker)
    assert [one.error["type"] for one in results] == ["LookupError"] * 3
    assert results[2].error["message"] == "no 3"
    assert "in fail" in results[0].traceback


@each_shape
def test_it_is_run_before_on_done_and_what_on_done_gives_is_too(worker: dict[str, Any]) -> None:
    callback = {"on_done": lambda result: double(result), "on_all_done": lambda result: double(result)}
    assert run(lambda task: double(task), worker, callback=callback) == [8, 16, 24]


@each_shape
def test_its_time_is_the_time_of_the_task(worker: dict[str, Any]) -> None:
    results = run(lambda task: asyncio.sleep(0.5 if task < 3 else 0, task), worker)
    assert results == [1, 2, 3]
    assert [log["duration"] >= 0.5 for log in worker_dispatcher.get_logs()] == [True, True, False]


@pytest.mark.parametrize("shape", ["threads", "processes", "grid"])
def test_one_over_its_time_is_a_timeout(shape: str) -> None:
    given_up = threading.Event()  # in a process, which is killed, nobody sets it
    event = (lambda: given_up) if shape == "threads" else threading.Event
    results = run(lambda task: stall(event()) if task == 2 else double(task), SHAPES[shape], timeout=1)
    given_up.set()
    assert [getattr(one, "status", one) for one in results] == [2, "timeout", 6]


@each_shape
def test_what_it_prints_is_captured_with_what_its_task_prints(worker: dict[str, Any]) -> None:
    async def speak(task: int) -> None:
        print("said", task)

    run(lambda task: speak(task), {**worker, "capture_output": True})
    assert [log["output"] for log in worker_dispatcher.get_logs()] == ["said 1\n", "said 2\n", "said 3\n"]


@each_shape
def test_init_and_exit_that_give_a_coroutine_are_run_too(worker: dict[str, Any], tmp_path: Any) -> None:
    async def open_state(config: Any) -> int:
        return 10

    async def close_state(state: int) -> None:
        (tmp_path / f"closed-{threading.get_native_id()}").touch()

    hooks = {"init": lambda config: open_state(config), "exit": lambda state: close_state(state)}
    assert run(lambda task, worker_state: task + worker_state, {**worker, **hooks}) == [11, 12, 13]
    assert list(tmp_path.iterdir())


@each_shape
@pytest.mark.parametrize("function", [into_a_task, promised])
def test_on_a_loop_all_that_can_be_awaited_is(function: Callable[..., Any], worker: dict[str, Any]) -> None:
    assert run(function, worker) == [2, 4, 6]


def test_in_a_thread_what_is_no_coroutine_stays_what_it_is() -> None:
    results = run(lambda task: Promised(task), SHAPES["threads"])
    assert [type(one) for one in results] == [Promised] * 3


def generator(task: int) -> Iterator[int]:
    yield task


async def async_generator(task: int) -> Any:
    yield task


class Generating:
    def __call__(self, task: int) -> Iterator[int]:
        yield task

    def method(self, task: int) -> Iterator[int]:
        yield task

    async def async_method(self, task: int) -> Any:
        yield task


GENERATORS = {
    "plain": (generator, "a generator function"),
    "async": (async_generator, "an async generator function"),
    "partial": (functools.partial(generator), "a generator function"),
    "call": (Generating(), "a generator function"),
    "method": (Generating().method, "a generator function"),
    "async method": (Generating().async_method, "an async generator function"),
    "partial of an async one": (functools.partial(async_generator), "an async generator function"),
}
PLACES = {
    "task.function": lambda one: {"task": {"list": [1], "function": one}},
    "task.callback.on_done": lambda one: {"task": {"callback": {"on_done": one}}},
    "task.callback.on_all_done": lambda one: {"task": {"callback": {"on_all_done": one}}},
    "task.retry_on": lambda one: {"task": {"retry_on": one}},
    "worker.init": lambda one: {"worker": {"init": one}},
    "worker.exit": lambda one: {"worker": {"init": len, "exit": one}},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", GENERATORS)
def test_a_generator_function_whose_body_would_never_run_is_refused_by_name(place: str, kind: str) -> None:
    function, word = GENERATORS[kind]
    with pytest.raises(ConfigError, match=f"{place}  .*got {word}; "):
        worker_dispatcher.start(PLACES[place](function))


def test_a_decorator_that_consumes_a_generator_is_a_plain_function() -> None:
    def listed(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(task: int) -> list[int]:
            return list(function(task))

        return wrapper

    assert run(listed(generator), SHAPES["threads"]) == [[1], [2], [3]]
