"""C. How much of the cores do short CPU tasks get: 20 000 tasks of 100 us, 4 processes?"""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks import cpu, harness, rivals
from benchmarks.goals import Goal


def case(
    name: str,
    count: int,
    items: Callable[[int], list[float]],
    goal: Goal,
    chunks: tuple[int, ...],
    workers: int = cpu.WORKERS,
) -> harness.Case:
    """Tasks that burn items(count) seconds of CPU each."""
    return harness.Case(
        name,
        count,
        cpu.burn,
        cpu.timed_burn,
        items,
        cpu.check,
        cpu.figures,
        "efficiency",
        higher_is_better=True,
        workers=workers,
        chunks=chunks,
        goals=(goal,),
    )


def each(seconds: float) -> Callable[[int], list[float]]:
    return lambda count: [seconds] * count


CASE = case("20 000 x 100 us", 20_000, each(100e-6), Goal(at_least=0.90), (8, 32, 128, 512))
ROW = harness.Row(str(__doc__), (CASE,), rivals.EVERYBODY)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.c_cpu"))
