"""J. How long until a trivial job is back: 4 tasks, 4 processes, the first call in a process and the second?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from time import perf_counter

from benchmarks import harness, rivals
from benchmarks.a_noop import check
from benchmarks.trivial import noop, timed_noop

MODULES = {"ProcessPoolExecutor": "concurrent.futures.process", "multiprocessing.Pool": "multiprocessing.pool"}


def first_and_second(
    case: harness.Case, contestant: harness.Contestant, items: Sequence[int], chunk: int | None
) -> dict[str, float]:
    """Milliseconds: importing the library, the first call after it, and the second call. No warm-up."""
    library = contestant.name.split()[0]
    began = perf_counter()
    __import__(MODULES.get(library, "concurrent.futures.process" if library == "futures" else library))
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


def no_figures(items: Sequence[int], seconds: float) -> dict[str, float]:
    return {}


def case(name: str, headline: str) -> harness.Case:
    return harness.Case(name, 4, noop, timed_noop, range, check, no_figures, headline, measure=first_and_second)


ROW = harness.Row(
    str(__doc__),
    (case("first call", "cold_ms"), case("second call", "warm_ms")),
    (rivals.OURS, rivals.OURS_WITH_FORK, *rivals.DEFAULTS, rivals.FUTURES_WITH_FORKSERVER),
)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.j_first_result"))
