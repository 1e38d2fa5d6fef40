"""A. What does the dispatcher itself cost: 1e5 tasks that do nothing, 4 processes, records on?"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks import harness, rivals
from benchmarks.goals import Goal
from benchmarks.logged import with_logs
from benchmarks.trivial import noop, timed_noop


def check(items: Sequence[int], results: Sequence[int]) -> None:
    assert list(results) == list(items)


def figures(items: Sequence[int], seconds: float) -> dict[str, float]:
    return {"us_per_task": seconds / len(items) * 1e6}


GOALS = (
    Goal(times=200, than="ProcessPoolExecutor (default)"),
    Goal(times=10, than="mpire (default)"),
    Goal(times=1.2),
)
CASE = harness.Case("1e5 no-op tasks", 100_000, noop, timed_noop, range, check, figures, "us_per_task", goals=GOALS)
ROW = harness.Row(str(__doc__), (CASE, with_logs(CASE, rivals.EVERYBODY)), rivals.EVERYBODY)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.a_noop"))
