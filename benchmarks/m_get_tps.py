"""M. How long does get_tps take over 2e4 and 1e6 logs, as dicts that the caller holds?

There is no rival; the floor reads the three fields that count into columns and sums them, without peak or percentiles.
Version 1.4.0 took 9 s for the smaller one.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.goals import Goal
from benchmarks.trivial import noop, timed_noop

RATE = 1000  # tasks a second
FAILED_EVERY = 50
Log = dict[str, Any]


def items(count: int) -> list[Log]:
    dice = random.Random(1)
    return [log(nth, 1.7e9 + nth / RATE + dice.random() * 0.1, dice.lognormvariate(-4, 0.7)) for nth in range(count)]


def log(nth: int, started: float, seconds: float) -> Log:
    failed = nth % FAILED_EVERY == 0
    return {
        "task_id": nth + 1,
        "started_at": started,
        "ended_at": started + seconds,
        "duration": seconds,
        "result": None if failed else nth + 1,
        "metadata": {},
        "status": "error" if failed else "ok",
        "error": {"type": "OSError", "message": "refused", "traceback": ""} if failed else None,
        "attempts": 1,
        "worker": nth % 100 + 1,
        "pid": 1,
    }


def ours(case: harness.Case, logs: Sequence[Log], chunk: int | None) -> Any:
    import worker_dispatcher

    tps = worker_dispatcher.get_tps(logs)
    return tps["tps"], tps["count"]["success"], tps["metrics"]["execution_time"]["max"]


def three_columns(case: harness.Case, logs: Sequence[Log], chunk: int | None) -> Any:
    rows = [(log["started_at"], log["ended_at"], log["duration"], bool(log["result"])) for log in logs]
    starts, ends, seconds, ok = np.array(rows).T
    return round(ok.sum() / (ends.max() - starts.min()), 2), int(ok.sum()), float(seconds.max())


def right(logs: Sequence[Log]) -> Any:
    good = sum(log["status"] == "ok" for log in logs)
    span = max(log["ended_at"] for log in logs) - min(log["started_at"] for log in logs)
    return round(good / span, 2), good, max(log["duration"] for log in logs)


def duration(
    case: harness.Case, contestant: harness.Contestant, logs: Sequence[Log], chunk: int | None
) -> dict[str, float]:
    few = logs[: len(logs) // 10]
    assert contestant.run(case, few, chunk) == right(few)  # the warm-up
    expected = right(logs)
    began = perf_counter()
    assert contestant.run(case, logs, chunk) == expected
    return {"seconds": perf_counter() - began}


def no_check(logs: Sequence[Log], results: Any) -> None:
    """`duration` has checked."""


def case(name: str, count: int, most: float) -> harness.Case:
    """most: the goal, in seconds."""
    goals = (Goal(at_most=most),)
    return harness.Case(
        name, count, noop, timed_noop, items, no_check, harness.no_figures, "seconds", measure=duration, goals=goals
    )


CONTESTANTS = (
    harness.Contestant("worker_dispatcher", "ours", ours),
    harness.Contestant("floor", "floor", three_columns),
)
ROW = harness.Row(str(__doc__), (case("2e4 logs", 20_000, 0.09), case("1e6 logs", 1_000_000, 2)), CONTESTANTS)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.m_get_tps"))
