"""Tasks on a stage: they wait for facts and leave notes, in any shape.

In a light module of its own, so that a worker loads it by name in no time. A staged task is a generator function: each
`yield` hands out a fact (a callable) and goes on once it is true, whether the task runs in a thread or on a loop.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from notes import LONGEST_WAIT, STEP, Notes, wait_for

__all__ = ["GRACE", "LONGEST_WAIT", "ON_A_CLUSTER", "SHAPES", "STEP", "Notes", "Shape", "runtimes"]

GRACE = 3.0  # seconds after its runtime or timeout in which a call or task ends, however much else the machine does


def runtimes(first: float) -> Iterator[float]:
    """Runtimes to try in turn, for tests of what is cut short: a runtime counts from the call, and where the machine
    has much else to do no worker may be there before the first of them is over."""
    yield from (first, 4 * first, 16 * first)


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
        """Tasks run in other processes than this."""
        return bool(self.options)

    @property
    def dies_alone(self) -> bool:
        """A task that ends its process ends a process of this run, and costs that task."""
        return self.in_processes

    @property
    def worker(self) -> dict[str, Any]:
        """Options of `worker`."""
        return self.options

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
        wait_for(fact)


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


class DaskShape(Shape):
    """In the workers of a Dask cluster, which is started for the first test that runs there."""

    in_processes = True

    @property
    def dies_alone(self) -> bool:
        return False  # Dask runs the task of ours again, and ends four of its workers for it

    @property
    def worker(self) -> dict[str, Any]:
        from clusters import address

        return self.options | {"backend": {"type": "dask", "address": address()}}


GRID = {"parallel_processing": {"enabled": True}}
SHAPES = {
    shape.name: shape
    for shape in (
        Shape("threads"),
        Shape("processes", {"use_processing": True}),
        Shape("grid", GRID),
        Shape("coroutine-threads", coroutine=True),
        Shape("coroutine-grid", GRID, coroutine=True),
        Shape("coroutine-processes", {"use_processing": True}, coroutine=True),
    )
}
ON_A_CLUSTER = {
    shape.name: shape for shape in (DaskShape("dask"), DaskShape("dask-processes", {"use_processing": True}))
}
