"""J. How long until a trivial job is back: 4 tasks, 4 processes, the first call in a process and the second?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from time import perf_counter

from benchmarks import harness, rivals
from benchmarks.a_noop import check
from benchmarks.goals import Goal
from benchmarks.trivial import noop, timed_noop

MODULES = {  # the rest are named as their library is
    "ProcessPoolExecutor": "concurrent.futures.process",
    "futures": "concurrent.futures.process",
    "multiprocessing.Pool": "multiprocessing.pool",
    "dask": "dask.bag",
    "floor": "benchmarks.floor",
}


def first_and_second(
    case: harness.Case, contestant: harness.Contestant, items: Sequence[int], chunk: int | None
) -> dict[str, float]:
    """Milliseconds: importing the library, the first call after it, and the second call. No warm-up."""
    library = contestant.name.split()[0]
    began = perf_counter()
    __import__(MODULES.get(library, library))
    imported = perf_counter()
    check(items, harness.results_of(contestant.run(case, items, chunk)))
    first = perf_counter()
    check(items, harness.results_of(contestant.run(case, items, chunk)))
    second = perf_counter()
    return {
        "cold_ms": (first - imported) * 1e3,
        "warm_ms": (second - first) * 1e3,
        "import_ms": (imported - began) * 1e3,
    }


def case(name: str, headline: str, *goals: Goal) -> harness.Case:
    return harness.Case(
        name, 4, noop, timed_noop, range, check, harness.no_figures, headline, measure=first_and_second, goals=goals
    )


CASES = (
    case("first call", "cold_ms", Goal(at_most=80), Goal(at_most=20, by="worker_dispatcher fork")),
    case("second call", "warm_ms", Goal(at_most=12)),
)
ROW = harness.Row(
    str(__doc__),
    CASES,
    (rivals.OURS, rivals.OURS_WITH_FORK, rivals.FLOOR, *rivals.DEFAULTS, rivals.FUTURES_WITH_FORKSERVER),
)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.j_first_result"))
