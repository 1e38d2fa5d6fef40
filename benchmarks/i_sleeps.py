"""I. How many waiting tasks can 1 000 workers keep up with: 1e5 sleeps of 5 to 10 ms?

Workers are threads, spread over 1 to 32 processes, or coroutines, on one loop or on one in each of 2 or 4 processes
("coroutines 4 x 250"). efficiency: the time that 1 000 workers need if nothing is lost, over the time taken.
"""

from __future__ import annotations

import asyncio
import functools
import random
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from benchmarks import floor, harness, rivals
from benchmarks.async_naps import async_nap, timed_async_nap
from benchmarks.goals import Goal
from benchmarks.h_threads import futures
from benchmarks.naps import nap, timed_nap

WORKERS = 1000
Items = Sequence[float]
Records = list[harness.Record]


def items(count: int) -> list[float]:
    dice = random.Random(1)
    return [dice.uniform(5e-3, 10e-3) for _ in range(count)]


def check(items: Items, results: Items) -> None:
    assert list(results) == list(items)


def figures(items: Items, seconds: float) -> dict[str, float]:
    return {"efficiency": sum(items) / WORKERS / seconds}


def grid(case: harness.Case, items: Items, chunk: int | None, processes: int, **options: Any) -> rivals.OurRun:
    return rivals.ours(case, items, chunk, parallel_processing={"enabled": True, "processes": processes}, **options)


def floor_grid(case: harness.Case, items: Items, chunk: int | None, processes: int) -> Records:
    return floor.run(case.timed, items, processes, WORKERS // processes)


def gathered(case: harness.Case, items: Items, chunk: int | None) -> Records:
    """What a first script does: everything at once, and a semaphore."""

    async def run() -> Records:
        free = asyncio.Semaphore(WORKERS)

        async def one(seconds: float) -> harness.Record:
            async with free:
                return await timed_async_nap(seconds)

        return list(await asyncio.gather(*map(one, items)))

    return asyncio.run(run())


def one_iterator(case: harness.Case, items: Items, chunk: int | None) -> Records:
    """As many coroutines as workers, which take the next item from one iterator."""
    return in_lanes(timed_async_nap, items, case.workers)


def floor_tasks(case: harness.Case, items: Items, chunk: int | None) -> Records:
    """The same, and each sleep is an asyncio task, which can be cancelled alone: a worker of ours can do no less."""

    async def nap(seconds: float) -> harness.Record:
        return await asyncio.create_task(timed_async_nap(seconds))

    return in_lanes(nap, items, case.workers)


def in_lanes(nap: Callable[[float], Awaitable[harness.Record]], items: Items, lanes: int) -> Records:
    async def run() -> Records:
        records: Records = [(None, 0.0, 0.0)] * len(items)
        numbered = enumerate(items)

        async def work() -> None:
            for nth, seconds in numbered:
                records[nth] = await nap(seconds)

        await asyncio.gather(*(work() for _ in range(lanes)))
        return records

    return asyncio.run(run())


def in_grid(processes: int) -> harness.Contestant:
    name = f"worker_dispatcher {processes} x {WORKERS // processes}"
    return harness.Contestant(name, f"ours-{processes}", functools.partial(grid, processes=processes))


def coroutines_in_grid(processes: int) -> harness.Contestant:
    name = f"worker_dispatcher coroutines {processes} x {WORKERS // processes}"
    run = functools.partial(grid, processes=processes, function=async_nap)
    return harness.Contestant(name, f"ours-coroutines-{processes}", run)


COROUTINES = functools.partial(rivals.ours, function=async_nap)
CONTESTANTS = (
    harness.Contestant("worker_dispatcher", "ours", rivals.ours),
    *map(in_grid, (4, 8, 16, 32)),
    harness.Contestant("worker_dispatcher coroutines", "ours-coroutines", COROUTINES),
    *map(coroutines_in_grid, (2, 4)),
    harness.Contestant("floor 4 x 250", "floor", functools.partial(floor_grid, processes=4)),
    harness.Contestant("floor 8 x 125", "floor", functools.partial(floor_grid, processes=8)),
    harness.Contestant("floor asyncio, one asyncio task for each sleep", "floor", floor_tasks),
    harness.Contestant("ThreadPoolExecutor", "default", futures),
    harness.Contestant("asyncio", "default", gathered),
    harness.Contestant("asyncio", "tuned", one_iterator),
)
GOALS = (
    Goal(at_least=0.65, by="worker_dispatcher 4 x 250"),
    *(Goal(at_least=0.80, by=f"worker_dispatcher {n} x {WORKERS // n}") for n in (8, 16, 32)),
    # As with threads, workers may be spread over processes; one loop alone has one core.
    Goal(at_least=0.80, by="worker_dispatcher coroutines 4 x 250"),
)
CASE = harness.Case(
    "1e5 sleeps, 1 000 workers",
    100_000,
    nap,
    timed_nap,
    items,
    check,
    figures,
    "efficiency",
    higher_is_better=True,
    workers=WORKERS,
    chunks=(),
    goals=GOALS,
)
ROW = harness.Row(str(__doc__), (CASE,), CONTESTANTS)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.i_sleeps"))
