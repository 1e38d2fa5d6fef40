"""Q. What does a task cost in the map of a pool of processes that is warm: 1e5 that do nothing, chunksize left alone?

Ours once more as `start`, which makes no futures; mpire and multiprocessing.Pool choose chunks by themselves, the
others send task by task, which is why they get a tenth of the tasks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any

from benchmarks import harness
from benchmarks.goals import Goal
from benchmarks.kept_pools import Loky, kept, process_futures
from benchmarks.p_burst import check
from benchmarks.trivial import noop, timed_noop

COUNT = 100_000
SLOW = 10  # of those that send task by task, what share is measured


def mapped(
    opened: Callable[[int], AbstractContextManager[Any]], share: int = 1, call: str = "map"
) -> Callable[..., tuple[float, int]]:
    def run(case: harness.Case, items: Sequence[int], chunk: int | None) -> tuple[float, int]:
        some = items[: len(items) // share]
        with opened(case.workers) as pool:
            list(getattr(pool, call)(timed_noop, items[:200]))
            began = perf_counter()
            records = list(getattr(pool, call)(timed_noop, some))
            took = perf_counter() - began
        case.check(some, harness.results_of(records))
        return took, len(some)

    return run


def started(case: harness.Case, items: Sequence[int], chunk: int | None) -> tuple[float, int]:
    import worker_dispatcher

    worker = {"number": case.workers, "use_processing": True}
    began = perf_counter()
    records = worker_dispatcher.start(
        {"task": {"list": items, "function": timed_noop}, "worker": worker, "verbose": False}
    )
    took = perf_counter() - began
    case.check(items, harness.results_of(records))
    return took, len(items)


def multiprocessing_pool(workers: int) -> Any:
    import multiprocessing

    return multiprocessing.Pool(workers)


def mpire(workers: int) -> Any:
    from mpire import WorkerPool

    return WorkerPool(n_jobs=workers)


def per_task(
    case: harness.Case, contestant: harness.Contestant, items: Sequence[int], chunk: int | None
) -> dict[str, float]:
    took, count = contestant.run(case, items, chunk)  # type: ignore[misc]
    return {"us_per_task": took / count * 1e6}


CASE = harness.Case(
    "1e5 no-op tasks, processes", COUNT, noop, timed_noop, range, check, harness.no_figures, "us_per_task",
    measure=per_task,
    goals=(Goal(times=5, than="ProcessPoolExecutor (default)"),),
    contestants=(
        harness.Contestant("worker_dispatcher", "ours", mapped(kept("process"))),
        harness.Contestant("worker_dispatcher, start", "ours-start", started),
        harness.Contestant("ProcessPoolExecutor", "default", mapped(process_futures, SLOW)),
        harness.Contestant("loky", "default", mapped(Loky, SLOW), "loky"),
        harness.Contestant("multiprocessing.Pool", "default", mapped(multiprocessing_pool)),
        harness.Contestant("mpire", "default", mapped(mpire), "mpire"),
    ),
)  # fmt: skip
ROW = harness.Row(str(__doc__), (CASE,))

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.q_map"))
