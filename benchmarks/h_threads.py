"""H. What does the dispatcher itself cost in threads: 1e5 tasks that do nothing, 8 threads?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import floor, harness, rivals
from benchmarks.a_noop import check, figures
from benchmarks.goals import Goal
from benchmarks.logged import with_logs
from benchmarks.trivial import noop, timed_noop

Items = Sequence[Any]


def futures(case: harness.Case, items: Items, chunk: int | None) -> list[harness.Record]:
    """There is nothing to tune: `chunksize` means nothing to threads."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(case.workers) as executor:
        return list(executor.map(case.timed, items))


def dummy(case: harness.Case, items: Items, chunk: int | None) -> list[harness.Record]:
    from multiprocessing.dummy import Pool

    with Pool(case.workers) as workers:
        return workers.map(case.timed, items, chunksize=chunk)


def joblib(case: harness.Case, items: Items, chunk: int | None) -> list[harness.Record]:
    return rivals.joblib(case, items, chunk, prefer="threads")


def pebble(case: harness.Case, items: Items, chunk: int | None) -> list[harness.Record]:
    from pebble import ThreadPool

    with ThreadPool(max_workers=case.workers) as workers:
        return list(workers.map(case.timed, items, chunksize=chunk or 1).result())


def shared_iterator(case: harness.Case, items: Items, chunk: int | None) -> list[harness.Record]:
    return floor.run_in_threads(case.timed, items, case.workers, batch=64)


IN_CHUNKS = (
    harness.Contestant("multiprocessing.dummy", "default", dummy),
    harness.Contestant("joblib threads", "default", joblib, "joblib"),
    harness.Contestant("pebble threads", "default", pebble, "pebble"),
)
CONTESTANTS = (
    harness.Contestant("worker_dispatcher", "ours", rivals.ours),
    harness.Contestant("floor", "floor", shared_iterator),
    harness.Contestant("ThreadPoolExecutor", "default", futures),
    *IN_CHUNKS,
    *rivals.tuned(IN_CHUNKS),
)
GOALS = (Goal(at_most=2), Goal(times=8, than="ThreadPoolExecutor (default)"))
CASE = harness.Case(
    "1e5 no-op tasks, threads",
    100_000,
    noop,
    timed_noop,
    range,
    check,
    figures,
    "us_per_task",
    workers=8,
    goals=GOALS,
)
ROW = harness.Row(str(__doc__), (CASE, with_logs(CASE, CONTESTANTS)), CONTESTANTS)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.h_threads"))
