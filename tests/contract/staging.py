"""Tasks on a stage: they wait for facts and leave notes, in any shape.

In a light module of its own, so that a worker loads it by name in no time. A staged task is a generator function: each
`yield` hands out a fact (a callable) and goes on once it is true, whether the task runs in a thread or on a loop.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LONGEST_WAIT = 20.0  # seconds; a fact that takes longer is a failure of the test
STEP = 0.002
GRACE = 3.0  # seconds after its runtime or timeout in which a call or task ends, however much else the machine does


def runtimes(first: float) -> Iterator[float]:
    """Runtimes to try in turn, for tests of what is cut short: a runtime counts from the call, and where the machine
    has much else to do no worker may be there before the first of them is over."""
    yield from (first, 4 * first, 16 * first)


@dataclass(frozen=True)
class Notes:
    """Notes that survive processes: one line per note, in a file, each written at once."""

    path: Path

    def add(self, text: object) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, f"{text}\n".encode())
        finally:
            os.close(descriptor)

    def all(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    def has(self, *texts: object) -> Callable[[], bool]:
        """The fact that all these were noted."""
        return lambda: {str(text) for text in texts} <= set(self.all())

    def count(self, number: int) -> Callable[[], bool]:
        """The fact that there are at least so many notes."""
        return lambda: len(self.all()) >= number

    def wait(self, *texts: object) -> None:
        _wait(self.has(*texts))


@dataclass(frozen=True)
class Shape:
    """Where tasks run. coroutine: as coroutine functions."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    coroutine: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def in_processes(self) -> bool:
        return bool(self.options)

    @property
    def is_grid(self) -> bool:
        return "parallel_processing" in self.options

    def function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function as this shape runs it."""
        if not self.coroutine:
            return functools.partial(_staged, function) if inspect.isgeneratorfunction(function) else function
        return _awaiting(function)


def _staged(function: Callable[..., Any], id: Any, config: Any, task: Any, metadata: Any) -> Any:
    steps = _called(function, id, config, task, metadata)
    while True:
        try:
            fact = next(steps)
        except StopIteration as end:
            return end.value
        _wait(fact)


def _awaiting(function: Callable[..., Any]) -> Callable[..., Any]:
    if not inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        async def plain(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return function(*args, **kwargs)

        return plain

    async def staged(id: Any, config: Any, task: Any, metadata: Any) -> Any:
        steps = _called(function, id, config, task, metadata)
        try:
            while True:
                try:
                    fact = next(steps)
                except StopIteration as end:
                    return end.value
                deadline = time.monotonic() + LONGEST_WAIT
                while not fact():
                    assert time.monotonic() < deadline, "the stage waits in vain"
                    await asyncio.sleep(STEP)
        finally:
            steps.close()

    return staged


def _called(function: Callable[..., Any], *values: Any) -> Generator[Callable[[], bool], None, Any]:
    known = dict(zip(("id", "config", "task", "metadata"), values, strict=True))
    return function(**{name: known[name] for name in inspect.signature(function).parameters})


def _wait(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST_WAIT
    while not fact():
        assert time.monotonic() < deadline, "the stage waits in vain"
        time.sleep(STEP)


GRID = {"parallel_processing": {"enabled": True}}
SHAPES = {
    shape.name: shape
    for shape in (
        Shape("threads"),
        Shape("processes", {"use_processing": True}),
        Shape("grid", GRID),
        Shape("grid-queue", {"parallel_processing": {"enabled": True, "use_queue": True}}),
        Shape("coroutine-threads", coroutine=True),
        Shape("coroutine-grid", GRID, coroutine=True),
        Shape("coroutine-processes", {"use_processing": True}, coroutine=True),
    )
}
