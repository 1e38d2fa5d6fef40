"""D2. How much of two cores do two workers get out of: 2 000 tasks of 1 ms and 500 of 4 ms, 2 processes?"""

from __future__ import annotations

import sys

from benchmarks import harness, rivals
from benchmarks.c_cpu import case, each
from benchmarks.goals import Goal

NEAR = Goal(times=0.97)
CASES = (
    case("2 000 x 1 ms, two cores", 2_000, each(1e-3), NEAR, (2, 8, 32, 128), workers=2),
    case("500 x 4 ms, two cores", 500, each(4e-3), NEAR, (2, 8, 32), workers=2),
)
ROW = harness.Row(str(__doc__), CASES, rivals.EVERYBODY, cores=2)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.d2_two_cores"))
