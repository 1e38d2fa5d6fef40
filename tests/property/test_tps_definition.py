"""get_tps against the contract's definitions, written down here as plainly as they are worded; seeds are printed."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounds import examples

from worker_dispatcher.reports.tps import get_tps

Log = dict[str, Any]


def summary(logs: list[Log], begin: float, end: float) -> dict[str, Any]:
    """F(S, E)."""
    inside = [log for log in logs if log["started_at"] >= begin and log["ended_at"] <= end]
    good = [log for log in inside if log["result"]]
    duration = end - begin
    return {
        "tps": round(len(good) / duration, 2) if duration > 0 else 0,
        "started_at": begin,
        "ended_at": end,
        "duration": duration,
        "metrics": {"execution_time": times(inside), "success_execution_time": times(good)},
        "count": {
            "success": len(good),
            "total": len(inside),
            "start": sum(begin <= log["started_at"] < end for log in logs),
            "end": sum(begin < log["ended_at"] <= end for log in logs),
        },
    }


def times(logs: list[Log]) -> dict[str, float]:
    values = [log["duration"] if "duration" in log else log["ended_at"] - log["started_at"] for log in logs]
    if not values:
        return {"avg": 0, "max": 0, "min": 0}
    total = 0.0
    for value in values:  # not sum(): newer Pythons sum floats better than one by one
        total += value
    return {"avg": total / len(values), "max": max(values), "min": min(values)}


def whole(logs: list[Log]) -> dict[str, Any]:
    begin = min((log["started_at"] for log in logs), default=0)
    end = max((log["ended_at"] for log in logs), default=0)
    found = summary(logs, begin, end)
    found["count"] |= {"start": len(logs), "end": len(logs), "invalidity": 0}
    return found


def step_of(main: dict[str, Any], interval: float) -> float:
    if interval:
        return interval
    length: float = main["duration"]
    q: float = 3 * main["metrics"]["execution_time"]["avg"]
    if q and length / q <= 100:
        return max(1, round(q, 2))
    return math.ceil(length / 100) if length / 100 >= 1 else 1


def intervals(logs: list[Log], main: dict[str, Any], interval: float, newest_first: bool) -> list[dict[str, Any]]:
    begin, end, step, rows = main["started_at"], main["ended_at"], step_of(main, interval), []
    if not main["count"]["success"]:
        return []
    bound = end if newest_first else begin
    while bound >= begin if newest_first else bound <= end:
        following = bound - step if newest_first else bound + step
        window = (max(following, begin), bound) if newest_first else (bound, min(following, end))
        rows.append(summary(logs, *window))
        bound = following
    return rows


def peak_of_intervals(rows: list[dict[str, Any]], average: float) -> tuple[dict[str, Any], float]:
    peak, threshold, record = {}, average, 0
    for row in rows:
        if row["count"]["success"] > record:
            record = row["count"]["success"]
            if row["tps"] > threshold:
                peak, threshold = row, row["tps"]
    return peak, threshold


def best_window(logs: list[Log]) -> tuple[float, int, int]:
    """(rate, w, k): every window tried, shorter and earlier ones first."""
    rows = [(math.floor(log["started_at"]), math.ceil(log["ended_at"])) for log in logs if log["result"]]
    end = max((math.ceil(log["ended_at"]) for log in logs), default=0)
    best = (0.0, 0, 0)
    for w in sorted({a for a, _ in rows}):
        for k in range(1, max(1, end - w) + 1):
            rate = sum(a >= w and b <= w + k for a, b in rows) / k
            if rate > best[0]:
                best = (rate, w, k)
    return best


def slow_tps(logs: list[Log], interval: float = 0, newest_first: bool = False) -> dict[str, Any]:
    main = whole(logs)
    rows = intervals(logs, main, interval, newest_first)
    peak, threshold = peak_of_intervals(rows, main["tps"])
    rate, w, k = best_window(logs)
    if rate > threshold:
        peak = summary(logs, w, w + k)
    return main | {"peak": peak, "intervals": rows}


def some_logs(dice: random.Random) -> list[Log]:
    """Ties, gaps, bursts, failures, zero durations, rows on whole seconds and half ones; in any order."""
    count, span = dice.choice([1, 1, 2, 3, 5, 8, 20, 40]), dice.choice([0.5, 2, 10, 40])
    base = dice.choice([0.0, -7.3, 100.0, 1734937209.85, 1734937209.0])
    grid, typical = dice.choice([None, None, 1, 0.5, 0.1]), dice.choice([0.05, 0.7, 3, 20])
    zeros, good = dice.choice([0, 0, 0.3, 1]), dice.choice([0, 0.5, 0.9, 1, 1])
    bursts = [dice.random() * span for _ in range(3)]
    logs = []
    for task_id in range(1, count + 1):
        start = base + (dice.choice(bursts) if dice.random() < 0.3 else dice.random() * span)
        took = 0.0 if dice.random() < zeros else dice.expovariate(1 / typical)
        if grid:
            start, took = round(start / grid) * float(grid), round(took / grid) * float(grid)
        log = {"task_id": task_id, "started_at": start, "ended_at": start + took, "result": dice.random() < good}
        if dice.random() < 0.7:
            log["duration"] = (log["ended_at"] - start) * dice.choice([1, 1, 0.9]) + dice.choice([0, 0, dice.random()])
        logs.append(log)
    dice.shuffle(logs)
    return logs


OURS = ["percentiles", "peak_rate", "steady_tps", "errors", "in_flight"]
SEEDS_KEYS = ["tps", "started_at", "ended_at", "duration", "metrics", "count", "peak"]


def assert_as_defined(logs: list[Log], interval: float, newest_first: bool) -> None:
    fast = get_tps(logs, True, interval, newest_first)
    assert list(fast) == [*SEEDS_KEYS, "intervals", *OURS]
    slow = slow_tps(logs, interval, newest_first)
    assert {key: fast[key] for key in slow} == slow
    assert json.dumps({key: fast[key] for key in slow}, sort_keys=False).startswith('{"tps": ')
    assert [list(row) for row in fast["intervals"]] == [SEEDS_KEYS[:6]] * len(slow["intervals"])
    without = get_tps(logs, interval=interval, reverse_interval=newest_first)
    assert without == {key: value for key, value in fast.items() if key != "intervals"}


@pytest.mark.parametrize("seed", range(examples(20)))
def test_every_number_of_random_logs_is_as_defined(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(150):
        assert_as_defined(some_logs(dice), dice.choice([0, 0, 0.3, 1, 2.5, 0.1, 7, 1000]), dice.random() < 0.4)


# On a grid of quarters, so that ties, whole seconds and boundaries that fall on tasks are the rule.
quarters = st.integers(0, 60).map(lambda value: value / 4)
rows = st.builds(
    lambda start, took, good: {"started_at": 1000 + start, "ended_at": 1000 + start + took, "result": good},
    quarters,
    quarters,
    st.booleans(),
)


@given(st.lists(rows, max_size=25), st.sampled_from([0, 0.25, 0.5, 1, 1.25, 3, 100]), st.booleans())
@settings(max_examples=examples(300))
def test_every_number_on_a_grid_is_as_defined(logs: list[Log], interval: float, newest_first: bool) -> None:
    assert_as_defined(logs, interval, newest_first)


@given(st.lists(rows, min_size=1, max_size=25), st.randoms(use_true_random=False))
@settings(max_examples=examples(100))
def test_the_order_of_the_logs_tells_nothing(logs: list[Log], dice: random.Random) -> None:
    mixed = logs[:]
    dice.shuffle(mixed)
    one, other = get_tps(logs), get_tps(mixed)
    for report in (one, other):  # an average sums in row order, so its last digit may differ
        report.pop("metrics")
        report["peak"].pop("metrics", None)
        report.pop("in_flight")
    assert one == other


@given(st.lists(rows, min_size=1, max_size=25))
@settings(max_examples=examples(100))
def test_shifting_all_times_by_whole_seconds_shifts_moments_only(logs: list[Log]) -> None:
    later = [log | {"started_at": log["started_at"] + 512, "ended_at": log["ended_at"] + 512} for log in logs]
    before, after = get_tps(logs, True, 0.5), get_tps(later, True, 0.5)
    for report in (before, after):  # its tenth of the span is rounded
        report.pop("steady_tps")
    assert moved(before, 512) == after


def moved(value: Any, by: float, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: moved(inner, by, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [moved(inner, by) for inner in value]
    return value + by if key in ("started_at", "ended_at") else value


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "started_at": st.one_of(st.floats(), st.integers(), st.booleans(), st.none(), st.text(max_size=2)),
                "ended_at": st.one_of(st.floats(), st.integers(-9, 9), st.complex_numbers(), st.just(10**400)),
                "duration": st.one_of(st.floats(), st.none(), st.text(max_size=2), st.integers()),
                "result": st.one_of(st.none(), st.booleans(), st.text(max_size=1)),
                "status": st.sampled_from(["ok", "error", None, 3]),
                "error": st.one_of(st.none(), st.just({"type": "E", "message": "m"}), st.just({}), st.text(max_size=2)),
                "response_time": st.one_of(st.floats(), st.none()),
                "task_id": st.one_of(st.integers(), st.none(), st.tuples()),
            },
        )
        | st.none()
        | st.integers(),
        max_size=12,
    )
)
@settings(max_examples=examples(300))
def test_any_rows_give_a_report_of_plain_numbers_that_adds_up(logs: list[Any]) -> None:
    report = get_tps(logs)
    assert report["count"]["total"] + report["count"]["invalidity"] == len(logs)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
