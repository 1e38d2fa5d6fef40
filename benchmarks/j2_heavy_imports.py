"""J2. How long until a trivial job is back whose module imports numpy and pandas: the first call and the second?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from time import perf_counter

from benchmarks import harness, rivals
from benchmarks.a_noop import check
from benchmarks.goals import Goal
from benchmarks.j_first_result import MODULES
from benchmarks.trivial import noop, timed_noop


def calls(
    case: harness.Case, contestant: harness.Contestant, items: Sequence[int], chunk: int | None
) -> dict[str, float]:
    """Milliseconds, all in one process: to import the module here, the first call and the second, and how much longer
    the first took than the import; then a second call of a function whose module imports nothing, and how many times
    as long the other took."""
    library = contestant.name.split()[0]
    import_module(MODULES.get(library, library))
    began = perf_counter()
    heavy = import_module("benchmarks.heavy")
    module_ms = (perf_counter() - began) * 1e3
    loaded = replace(case, function=heavy.noop, timed=heavy.timed_noop)
    first, second = (call_ms(loaded, contestant, items, chunk) for _ in range(2))
    _, light = (call_ms(case, contestant, items, chunk) for _ in range(2))
    figures = {"cold_ms": first, "warm_ms": second, "module_ms": module_ms, "beyond_ms": first - module_ms}
    return figures | {"light_ms": light, "times_light": second / light}


def call_ms(case: harness.Case, contestant: harness.Contestant, items: Sequence[int], chunk: int | None) -> float:
    began = perf_counter()
    check(items, harness.results_of(contestant.run(case, items, chunk)))
    return (perf_counter() - began) * 1e3


def case(workers: int, name: str, headline: str, *goals: Goal) -> harness.Case:
    return harness.Case(
        f"{workers} workers, {name}",
        2 * workers,
        noop,
        timed_noop,
        range,
        check,
        harness.no_figures,
        headline,
        workers=workers,
        measure=calls,
        goals=goals,
    )


CASES = tuple(
    made
    for workers in (2, 8)
    for made in (
        case(workers, "first call", "cold_ms", Goal("beyond_ms", at_most=60)),
        case(workers, "second call", "warm_ms", Goal("times_light", at_most=1.3)),
    )
)
CONTESTANTS = (
    rivals.OURS,
    *(one for one in rivals.DEFAULTS if one.name in {"ProcessPoolExecutor", "loky", "joblib", "mpire"}),
    rivals.FUTURES_WITH_FORKSERVER,
)
ROW = harness.Row(str(__doc__), CASES, CONTESTANTS)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.j2_heavy_imports"))
