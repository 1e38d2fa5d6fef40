"""S. What do a million tasks cost that are scheduled for an hour from now, and cancelled: in seconds and in memory?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import psutil

from benchmarks import harness
from benchmarks.goals import Goal
from benchmarks.trivial import noop, timed_noop

COUNT = 1_000_000


def ours(case: harness.Case, items: Sequence[int], chunk: int | None) -> Any:
    from worker_dispatcher import WorkerPool

    process = psutil.Process()
    with WorkerPool(case.workers) as pool:
        before, began = process.memory_info().rss, perf_counter()
        futures = [pool.schedule(timed_noop, (item,), delay=3600) for item in items]
        scheduled, held = perf_counter(), process.memory_info().rss
        for future in futures:
            future.cancel()
        ended = perf_counter()
        stats = pool.stats()
    assert stats.cancelled == stats.submitted == len(items)
    return {"seconds": ended - began, "to_schedule": scheduled - began, "held_mb": (held - before) / 1e6}


def figures_of(
    case: harness.Case, contestant: harness.Contestant, items: Sequence[int], chunk: int | None
) -> dict[str, float]:
    found: Any = contestant.run(case, items, chunk)
    return dict(found)


def check(items: Sequence[int], results: Sequence[int]) -> None:
    """The run asserts its own."""


CASE = harness.Case(
    "1e6 tasks, delayed by an hour and cancelled", COUNT, noop, timed_noop, range, check, harness.no_figures, "seconds",
    measure=figures_of, goals=(Goal(at_most=20), Goal("held_mb", at_most=1000)),
    contestants=(harness.Contestant("worker_dispatcher", "ours", ours),),
)  # fmt: skip
ROW = harness.Row(str(__doc__), (CASE,))

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.s_delayed"))
