"""Executors that a full pool sends to, and what it sends."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, resource_tracker
from pathlib import Path
from typing import Any

import pytest

from worker_dispatcher import (
    WorkerPool,
    current_task,
)


class Staged(Executor):
    """Does what a test tells it, when it tells it. refuses: what `submit` raises."""

    def __init__(self, refuses: BaseException | None = None) -> None:
        self.refuses, self.tasks = refuses, list[tuple[Future[Any], Callable[[], Any]]]()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.refuses is not None:
            raise self.refuses
        future: Future[Any] = Future()
        self.tasks.append((future, lambda: fn(*args, **kwargs)))
        return future

    def begin(self, at: int = 0) -> None:
        assert self.tasks[at][0].set_running_or_notify_cancel()

    def end(self, at: int = 0) -> None:
        self.tasks[at][0].set_result(self.tasks[at][1]())

    def run(self, at: int = 0) -> None:
        self.begin(at)
        self.end(at)


class Full:
    """A pool of one worker and a capacity of one, which is taken until `let_go`: what is submitted now goes away."""

    def __init__(self, overflow: Executor, **more: Any) -> None:
        self.gate, self.told = threading.Event(), list[tuple[Any, BaseException]]()
        self.pool = WorkerPool(
            1, capacity=1, overflow=overflow, on_overflow_failed=lambda *what: self.told.append(what), **more
        )
        self.first = self.pool.submit(self.gate.wait)

    def let_go(self) -> None:
        self.gate.set()

    def __enter__(self) -> Full:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        self.let_go()
        self.pool.shutdown(kill=error is not None)


def until(true: Callable[[], object]) -> None:
    by = time.monotonic() + 30
    while not true():
        assert time.monotonic() < by
        time.sleep(0.002)


def square(value: int) -> int:
    return value * value


async def square_later(value: int) -> int:
    await asyncio.sleep(0)
    return value * value


def about() -> tuple[Any, ...]:
    task = current_task()
    assert task is not None
    return task.id, task.name, task.attempt, dict(task.options), os.getpid()


def fail_the_first_time(path: str) -> str:
    with open(path, "a") as file:
        file.write("x")
    if len(Path(path).read_text()) == 1:
        raise KeyError("the first time")
    return "ok"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def raise_broken() -> None:
    raise BrokenProcessPool("mine")


class Stubborn(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("never")


def raise_stubborn() -> None:
    raise Stubborn("it has a text")


def note_and_die_once(path: str, number: int) -> int:
    with open(path, "a") as file:
        file.write(f"{number}\n")
    if number == 5 and not os.path.exists(path + ".died"):
        Path(path + ".died").touch()
        die()
    return number


def processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, mp_context=get_context("spawn"))


@pytest.fixture(autouse=True)
def _no_tracker() -> Iterator[None]:
    yield
    if resource_tracker._resource_tracker._pid is not None:  # type: ignore[attr-defined]
        gc.collect()  # what it has to unlink
        resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]  # it would be left behind
