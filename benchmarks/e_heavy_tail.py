"""E. Does one slow task idle the others: 1 000 heavy-tailed CPU tasks, in random order and longest last?"""

from __future__ import annotations

import random
import sys

from benchmarks import harness, rivals
from benchmarks.c_cpu import case
from benchmarks.goals import Goal

MEAN_SECONDS = 8e-3
SIGMA = 1.2  # of the lognormal law: the longest of 1 000 takes about twenty times the mean


def shuffled(count: int) -> list[float]:
    dice = random.Random(1)
    raw = [dice.lognormvariate(0, SIGMA) for _ in range(count)]
    scale = MEAN_SECONDS * count / sum(raw)
    return [value * scale for value in raw]


def longest_last(count: int) -> list[float]:
    return sorted(shuffled(count))


CASES = (
    case("random order", 1_000, shuffled, Goal(at_least=0.96), (2, 8, 32)),
    case("longest last", 1_000, longest_last, Goal(at_least=0.88), (2, 8, 32)),
)
ROW = harness.Row(str(__doc__), CASES, rivals.EVERYBODY)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.e_heavy_tail"))
