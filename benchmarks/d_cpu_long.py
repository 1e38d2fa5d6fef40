"""D. How much of the cores do longer CPU tasks get: 2 000 tasks of 1 ms and 200 of 10 ms, 4 processes?"""

from __future__ import annotations

import sys

from benchmarks import harness, rivals
from benchmarks.c_cpu import case, each
from benchmarks.goals import Goal

CASES = (
    case("2 000 x 1 ms", 2_000, each(1e-3), Goal(at_least=0.93), (2, 8, 32, 128)),
    case("200 x 10 ms", 200, each(10e-3), Goal(at_least=0.96), (2, 5, 10)),
)
ROW = harness.Row(str(__doc__), CASES, rivals.EVERYBODY)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.d_cpu_long"))
