"""R. How near to the ideal do 1e5 tasks come that sleep 5 to 10 ms on 1 000 workers that are kept?

The ideal is the sum of the sleeps over the number of workers. Ours is a grid of 4 processes with 250 threads each, and
as a further way 1 000 coroutines.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from benchmarks import harness
from benchmarks.goals import Goal
from benchmarks.naps import nap, timed_nap

COUNT, WORKERS = 100_000, 1_000


def naps(count: int) -> list[float]:
    dice = random.Random(7)
    return [dice.uniform(0.005, 0.010) for _ in range(count)]


async def timed_async_nap(seconds: float) -> tuple[float, float, float]:
    start = perf_counter()
    await asyncio.sleep(seconds)
    return seconds, start, perf_counter()


def slept(opened: Callable[[], Any], function: Callable[[float], Any]) -> Callable[..., float]:
    def run(case: harness.Case, items: Sequence[float], chunk: int | None) -> float:
        with opened() as pool:
            list(pool.map(function, items[: 2 * WORKERS]))
            began = perf_counter()
            records = list(pool.map(function, items))
            took = perf_counter() - began
        case.check(items, harness.results_of(records))
        return took

    return run


def grid() -> Any:
    from worker_dispatcher import WorkerPool

    return WorkerPool(WORKERS, kind="grid", threads_per_process=250)


def coroutines() -> Any:
    from worker_dispatcher import WorkerPool

    return WorkerPool(WORKERS, kind="coroutine")


def thread_futures() -> Any:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(WORKERS)


def of_ideal(
    case: harness.Case, contestant: harness.Contestant, items: Sequence[float], chunk: int | None
) -> dict[str, float]:
    took: Any = contestant.run(case, items, chunk)
    return {"times_ideal": took / (sum(items) / WORKERS), "seconds": took}


def check(items: Sequence[float], results: Sequence[float]) -> None:
    assert list(results) == list(items)


CASE = harness.Case(
    "1e5 sleeps of 5 to 10 ms, 1 000 workers", COUNT, nap, timed_nap, naps, check, harness.no_figures, "times_ideal",
    workers=WORKERS, measure=of_ideal, goals=(Goal(at_most=1.5),),
    contestants=(
        harness.Contestant("worker_dispatcher", "ours", slept(grid, timed_nap)),  # type: ignore[arg-type]
        harness.Contestant("worker_dispatcher, coroutines", "ours-async", slept(coroutines, timed_async_nap)),  # type: ignore[arg-type]
        harness.Contestant("ThreadPoolExecutor", "default", slept(thread_futures, timed_nap)),  # type: ignore[arg-type]
    ),
)  # fmt: skip
ROW = harness.Row(str(__doc__), (CASE,))

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.r_many_sleepers"))
