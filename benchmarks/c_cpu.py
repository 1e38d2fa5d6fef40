"""C. How much of the cores do short CPU tasks get: 20 000 tasks of 100 us, 4 processes?"""

from __future__ import annotations

import sys

from benchmarks import cpu, harness, rivals


def items(count: int) -> list[float]:
    return [100e-6] * count


CASE = harness.Case(
    "20 000 x 100 us",
    20_000,
    cpu.burn,
    cpu.timed_burn,
    items,
    cpu.check,
    cpu.figures,
    "efficiency",
    higher_is_better=True,
    workers=cpu.WORKERS,
    chunks=(8, 32, 128, 512),
)
ROW = harness.Row(str(__doc__), (CASE,), rivals.EVERYBODY)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.c_cpu"))
