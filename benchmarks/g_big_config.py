"""G. What does a large read-only config cost: a 400 MB array in task.config, 4 processes, 40 short tasks?

Each task sums its fortieth of the array, so that all of it has arrived. No process has seen the array before the clock
starts: the warm-up runs with a small one. "default" binds the array to the task, as a first script does; "tuned" gives
it to each process once, by an initializer (and fork, where there is a choice) or by what the library has for it.
"""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import harness, rivals
from benchmarks.arrays import MB, PARTS, Array, keep, sum_of_part, timed_sum_of_kept, timed_sum_of_part
from benchmarks.goals import Goal

SIZE = 400 * MB


class Tasks(Sequence[int]):
    """The numbers of parts, and the array they are of; a slice, as a warm-up takes it, is of a small array."""

    def __init__(self, numbers: Sequence[int], array: Array) -> None:
        self._numbers, self.array = numbers, array

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, key: Any) -> Any:
        return Tasks(self._numbers[key], np.arange(8.0 * PARTS)) if isinstance(key, slice) else self._numbers[key]


def items(count: int) -> Tasks:
    return Tasks(range(count), np.arange(SIZE // 8, dtype=float))


def check(tasks: Tasks, results: Sequence[float]) -> None:
    """The array holds 0, 1, 2, ..., so that each sum is known, and exact."""
    size = len(tasks.array) // PARTS
    assert list(results) == [size * (2 * number * size + size - 1) / 2 for number in tasks]


def ours(case: harness.Case, tasks: Tasks, chunk: int | None, **worker: Any) -> rivals.OurRun:
    return rivals.processes(case, tasks, chunk, config=tasks.array, **worker)


def bound(run: Callable[..., Any]) -> Callable[..., Any]:
    """The contestant that runs in this way, with the array bound to the function."""

    def with_array(case: harness.Case, tasks: Tasks, chunk: int | None) -> Any:
        timed = functools.partial(timed_sum_of_part, tasks.array)
        return run(dataclasses.replace(case, timed=timed), list(tasks), chunk)

    return with_array


def joblib(case: harness.Case, tasks: Tasks, chunk: int | None) -> list[harness.Record]:
    """The array as an argument, which joblib maps from a file by itself."""
    from joblib import Parallel, delayed

    return list(Parallel(n_jobs=case.workers)(delayed(case.timed)(tasks.array, number) for number in tasks))


def futures_tuned(case: harness.Case, tasks: Tasks, chunk: int | None) -> list[harness.Record]:
    from concurrent.futures import ProcessPoolExecutor

    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(case.workers, fork, keep, (tasks.array,)) as executor:
        return list(executor.map(timed_sum_of_kept, tasks))


def pool_tuned(case: harness.Case, tasks: Tasks, chunk: int | None) -> list[harness.Record]:
    with multiprocessing.get_context("fork").Pool(case.workers, keep, (tasks.array,)) as workers:
        return workers.map(timed_sum_of_kept, tasks)


def loky_tuned(case: harness.Case, tasks: Tasks, chunk: int | None) -> list[harness.Record]:
    from loky import ProcessPoolExecutor

    with ProcessPoolExecutor(case.workers, initializer=keep, initargs=(tasks.array,)) as executor:
        return list(executor.map(timed_sum_of_kept, tasks))


def mpire_tuned(case: harness.Case, tasks: Tasks, chunk: int | None) -> list[harness.Record]:
    from mpire import WorkerPool

    with WorkerPool(n_jobs=case.workers, shared_objects=tasks.array, start_method="fork") as workers:
        return list(workers.map(case.timed, tasks))


CONTESTANTS = (
    harness.Contestant("worker_dispatcher", "ours", ours),
    harness.Contestant("worker_dispatcher fork", "ours-fork", functools.partial(ours, start_method="fork")),
    harness.Contestant("floor", "floor", bound(rivals.floor)),
    harness.Contestant("ProcessPoolExecutor", "default", bound(rivals.futures)),
    harness.Contestant("multiprocessing.Pool", "default", bound(rivals.pool)),
    harness.Contestant("joblib", "default", joblib, "joblib"),
    harness.Contestant("mpire", "default", bound(rivals.mpire), "mpire"),
    harness.Contestant("ProcessPoolExecutor", "tuned", futures_tuned),
    harness.Contestant("multiprocessing.Pool", "tuned", pool_tuned),
    harness.Contestant("loky", "tuned", loky_tuned, "loky"),
    harness.Contestant("mpire", "tuned", mpire_tuned, "mpire"),
)
CASE = harness.Case(
    "400 MB, 40 tasks",
    PARTS,
    sum_of_part,
    timed_sum_of_part,
    items,
    check,
    harness.no_figures,
    "seconds",
    chunks=(),
    goals=(Goal(at_most=0.5), Goal("peak_mb", at_most=1.25 * SIZE / MB)),  # one copy, and four processes with numpy
)
ROW = harness.Row(str(__doc__), (CASE,), CONTESTANTS)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.g_big_config"))
