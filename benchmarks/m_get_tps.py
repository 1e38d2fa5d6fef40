"""M. How long does get_tps take over 2e4 and 1e6 logs, as dicts that the caller holds, and get_logs to make them?

There is no rival. The floor of get_tps reads the three fields that count into columns and sums them, without peak or
percentiles; version 1.4.0 took 9 s for the smaller one. That of get_logs is a plain loop over the columns of the same
run, which makes the same dicts.
"""

from __future__ import annotations

import bisect
import gc
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


def get_logs(case: harness.Case, records: Any, chunk: int | None) -> Any:
    import worker_dispatcher

    return worker_dispatcher.get_logs()


def plain_loop(case: harness.Case, records: Any, chunk: int | None) -> list[Log]:
    """Of a run without failures."""
    (wall, monotonic), pids, logs = records.anchor, records.pids, []
    for place in range(len(records.status)):
        started, ended, worker = records.started[place], records.ended[place], records.worker[place]
        logs.append(
            {
                "task_id": place + 1,
                "started_at": wall + (started - monotonic),
                "ended_at": wall + (ended - monotonic),
                "duration": ended - started,
                "result": records.results[place],
                "metadata": {},
                "status": "ok",
                "error": None,
                "attempts": 1,
                "worker": worker,
                "pid": pids.get(worker),
            }
        )
    return logs


def plain_loop_of_load(case: harness.Case, records: Any, chunk: int | None) -> list[Log]:
    wall, monotonic = records.anchor
    starts, ends = sorted(records.started), sorted(records.ended)
    logs = plain_loop(case, records, chunk)
    for place, log in enumerate(logs):
        started, due = records.started[place], records.due[place]
        log["scheduled_at"], log["interval"], log["phase"] = wall + (due - monotonic), 1, "main"
        log["queue_delay"], log["response_time"] = started - due, records.ended[place] - due
        log["in_flight"] = bisect.bisect_right(starts, started) - bisect.bisect_left(ends, started)
    return logs


def making(
    case: harness.Case, contestant: harness.Contestant, items: Sequence[Any], chunk: int | None
) -> dict[str, float]:
    import worker_dispatcher
    from worker_dispatcher.last_run import last_run

    load = {"frequency_mode": {"enabled": True, "rate": LOAD_RATE}}
    worker = load if case.name.endswith("load") else {"number": 2}
    for part in (items[: len(items) // 10], items):  # the first is the warm-up
        worker_dispatcher.start({"task": {"list": part, "function": noop}, "worker": worker, "verbose": False})
        records = last_run().columns
        gc.collect()
        began = perf_counter()
        logs = contestant.run(case, records, chunk)
        seconds = perf_counter() - began
        assert len(logs) == len(part)
        assert {**logs[-1], "interval": 1} == {**worker_dispatcher.get_logs()[-1], "interval": 1}
    return {"us_per_log": seconds / len(items) * 1e6, "seconds": seconds}


def logs_case(name: str, count: int, floor: Any) -> harness.Case:
    goals = (Goal(times=1 / 1.5, than="plain loop"),)
    contestants = (
        harness.Contestant("worker_dispatcher", "ours", get_logs),
        harness.Contestant("plain loop", "floor", floor),
    )
    return harness.Case(
        name,
        count,
        noop,
        timed_noop,
        range,
        no_check,
        harness.no_figures,
        "us_per_log",
        measure=making,
        goals=goals,
        contestants=contestants,
    )


LOAD_RATE = 20_000  # tasks a second
CONTESTANTS = (
    harness.Contestant("worker_dispatcher", "ours", ours),
    harness.Contestant("floor", "floor", three_columns),
)
CASES = (
    case("2e4 logs", 20_000, 0.09),
    case("1e6 logs", 1_000_000, 2),
    logs_case("get_logs of 1e5 tasks", 100_000, plain_loop),
    logs_case("get_logs of 1e6 tasks", 1_000_000, plain_loop),
    logs_case("get_logs of 1e5 tasks of a load", 100_000, plain_loop_of_load),
)
ROW = harness.Row(str(__doc__), CASES, CONTESTANTS)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.m_get_tps"))
