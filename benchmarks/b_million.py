"""B. Does the cost of a task stay small for 1e6 tasks that do nothing, 4 processes, records on?"""

from __future__ import annotations

import sys

from benchmarks import harness, rivals
from benchmarks.a_noop import check, figures
from benchmarks.goals import Goal
from benchmarks.logged import with_logs
from benchmarks.trivial import noop, timed_noop

# Those that send each task by itself unless told otherwise need minutes for this; row A has them.
ONE_BY_ONE = {"ProcessPoolExecutor", "loky", "pebble"}
CONTESTANTS = tuple(one for one in rivals.EVERYBODY if one.kind != "default" or one.name not in ONE_BY_ONE)
GOALS = (Goal(at_most=1.0), Goal("peak_mb", at_most=600))  # the memory includes the results
CASE = harness.Case(
    "1e6 no-op tasks",
    1_000_000,
    noop,
    timed_noop,
    range,
    check,
    figures,
    "us_per_task",
    chunks=(256, 1024, 4096, 16384),
    goals=GOALS,
)
ROW = harness.Row(str(__doc__), (CASE, with_logs(CASE, CONTESTANTS)), CONTESTANTS)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.b_million"))
