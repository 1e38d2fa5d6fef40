"""P. What does a task cost a pool that is kept, where 20 000 are submitted at once and then all results are taken?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from benchmarks import harness
from benchmarks.goals import Goal
from benchmarks.kept_pools import Loky, Opened, kept, pebble, pebble_threads, process_futures, thread_futures
from benchmarks.trivial import noop, timed_noop

COUNT = 20_000


def burst(opened: Opened) -> Callable[..., list[Any]]:
    """Opening a pool and warming it is not timed."""

    def run(case: harness.Case, items: Sequence[int], chunk: int | None) -> list[Any]:
        with opened(case.workers) as pool:
            for future in [pool.submit(timed_noop, item) for item in items[:200]]:
                future.result()
            began = perf_counter()
            records = [future.result() for future in [pool.submit(timed_noop, item) for item in items]]
            took = perf_counter() - began
        case.check(items, harness.results_of(records))
        return [took]

    return run


def seconds_of(
    case: harness.Case, contestant: harness.Contestant, items: Sequence[int], chunk: int | None
) -> dict[str, float]:
    (took,) = contestant.run(case, items, chunk)
    return {"us_per_task": took / len(items) * 1e6}


def check(items: Sequence[int], results: Sequence[int]) -> None:
    assert list(results) == list(items)


def contestant(name: str, kind: str, run: Callable[..., Any], needs: str | None = None) -> harness.Contestant:
    return harness.Contestant(name, kind, run, needs)


def case(name: str, goals: tuple[Goal, ...], *contestants: harness.Contestant) -> harness.Case:
    return harness.Case(
        name, COUNT, noop, timed_noop, range, check, harness.no_figures, "us_per_task",
        measure=seconds_of, goals=goals, contestants=contestants,
    )  # fmt: skip


CASES = (
    case(
        "processes",
        (Goal(times=5, than="ProcessPoolExecutor (default)"),),
        contestant("worker_dispatcher", "ours", burst(kept("process"))),
        contestant("worker_dispatcher, a grid", "ours-grid", burst(kept("grid"))),
        contestant("ProcessPoolExecutor", "default", burst(process_futures)),
        contestant("loky", "default", burst(Loky), "loky"),
        contestant("pebble", "default", burst(pebble), "pebble"),
    ),
    case(
        "threads",
        (Goal(times=1, than="ThreadPoolExecutor (default)"),),
        contestant("worker_dispatcher", "ours", burst(kept("thread"))),
        contestant("ThreadPoolExecutor", "default", burst(thread_futures)),
        contestant("pebble threads", "default", burst(pebble_threads), "pebble"),
    ),
)
ROW = harness.Row(str(__doc__), CASES)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.p_burst"))
