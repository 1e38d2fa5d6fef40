"""N. What does importing the library cost beyond the bare interpreter, each time in a fresh process?

Names of ours are loaded when they are first used, so the import alone would flatter us. The second case imports what a
first call needs: the function or class of each library's first example.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence
from time import perf_counter

from benchmarks import harness
from benchmarks.goals import Goal
from benchmarks.trivial import noop, timed_noop

NOTHING = "pass"


def seconds_of(statement: str) -> float:
    began = perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, cwd=harness.ROOT)
    return perf_counter() - began


def beyond_bare(
    case: harness.Case, contestant: harness.Contestant, items: Sequence[int], chunk: int | None
) -> dict[str, float]:
    """Medians over fresh processes, from start to exit, taken in turns with a bare interpreter."""
    statement = str(contestant.run(case, items, chunk))
    for one in (statement, NOTHING):  # the files are in memory now, and compiled
        seconds_of(one)
    pairs = [(seconds_of(statement), seconds_of(NOTHING)) for _ in items]
    with_it, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {"ms": (with_it - bare) * 1e3, "bare_ms": bare * 1e3}


def contestant(name: str, kind: str, package: str, names: str, needs: str | None = None) -> harness.Contestant:
    """Its run gives the statement that the case is about."""

    def statement(case: harness.Case, items: Sequence[int], chunk: int | None) -> str:
        return f"import {package}" if case is PACKAGE else f"from {package} import {names}"

    return harness.Contestant(name, kind, statement, needs)


def no_check(items: Sequence[int], results: Sequence[int]) -> None:
    """An import that fails raises."""


def case(name: str) -> harness.Case:
    goals = (Goal(at_most=25),)
    return harness.Case(
        name, 20, noop, timed_noop, range, no_check, harness.no_figures, "ms", measure=beyond_bare, goals=goals
    )


PACKAGE = case("import of the package")
CONTESTANTS = (
    contestant("worker_dispatcher", "ours", "worker_dispatcher", "start"),
    contestant("ProcessPoolExecutor", "default", "concurrent.futures", "ProcessPoolExecutor"),
    contestant("multiprocessing", "default", "multiprocessing.pool", "Pool"),
    contestant("joblib", "default", "joblib", "Parallel, delayed", "joblib"),
    contestant("loky", "default", "loky", "get_reusable_executor", "loky"),
    contestant("mpire", "default", "mpire", "WorkerPool", "mpire"),
    contestant("pebble", "default", "pebble", "ProcessPool", "pebble"),
    contestant("ray", "default", "ray", "remote", "ray"),
    contestant("dask", "default", "dask.bag", "from_sequence", "dask"),
)
ROW = harness.Row(str(__doc__), (PACKAGE, case("import for a first call")), CONTESTANTS)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.n_import"))
