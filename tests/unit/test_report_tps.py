"""get_tps on runs small enough to be worked out by hand: keys, numbers, refusals, lines."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import numpy as np
import pytest

import worker_dispatcher
from worker_dispatcher.reports.rows import Rows
from worker_dispatcher.reports.tps import get_tps


def log(task_id: int, start: float, end: float, result: Any = True, **more: Any) -> dict[str, Any]:
    return {"task_id": task_id, "started_at": start, "ended_at": end, "duration": end - start, "result": result} | more


TIMES = {"avg": 0, "max": 0, "min": 0}
EMPTY = {
    "tps": 0,
    "started_at": 0,
    "ended_at": 0,
    "duration": 0,
    "metrics": {"execution_time": TIMES, "success_execution_time": TIMES},
    "count": {"success": 0, "total": 0, "start": 0, "end": 0, "invalidity": 0},
    "peak": {},
    "intervals": [],
    "percentiles": {"execution_time": {}},
    "peak_rate": {},
    "steady_tps": 0,
    "errors": {},
    "in_flight": {"max": 0, "mean": 0},
}


def test_no_logs_give_every_key_and_no_number() -> None:
    assert get_tps([], display_intervals=True) == EMPTY
    assert list(get_tps([], display_intervals=True)) == list(EMPTY)


def test_one_task_is_a_run() -> None:
    report = get_tps([log(7, 10.0, 12.0)], display_intervals=True)
    assert report["tps"] == 0.5
    assert report["peak"] == {}  # nothing beats the average
    assert [(row["started_at"], row["ended_at"]) for row in report["intervals"]] == [(10.0, 12.0)]
    assert report["percentiles"]["execution_time"] == dict.fromkeys(["p50", "p75", "p90", "p95", "p99", "p99.9"], 2.0)
    peak_rate = {"tps": 1.0, "count": 1, "started_at": 12.0, "ended_at": 13.0, "duration": 1.0, "window": 1.0}
    assert report["peak_rate"] == peak_rate
    assert report["in_flight"] == {"max": 1, "mean": 1.0}


def test_tasks_without_length_at_one_moment_are_a_run_of_no_length() -> None:
    report = get_tps([log(1, 10.5, 10.5), log(2, 10.5, 10.5)], display_intervals=True)
    assert (report["tps"], report["duration"], report["count"]["success"]) == (0, 0, 2)
    assert [row["tps"] for row in report["intervals"]] == [0]
    assert report["peak"]["tps"] == 2.0  # from 10 to 11
    assert (report["steady_tps"], report["in_flight"]) == (0, {"max": 0, "mean": 0})


def test_a_run_of_failures_has_no_intervals_and_no_peak() -> None:
    report = get_tps([log(1, 1.0, 2.0, False), log(2, 1.0, 4.0, None)], display_intervals=True)
    assert (report["tps"], report["peak"], report["intervals"], report["peak_rate"]) == (0, {}, [], {})
    assert report["metrics"]["execution_time"] == {"avg": 2.0, "max": 3.0, "min": 1.0}
    assert report["metrics"]["success_execution_time"] == TIMES


def test_every_key_of_a_summary_is_in_the_contracts_order() -> None:
    report = get_tps([log(1, 10.2, 10.4), log(2, 10.5, 12.5), log(3, 17.0, 18.0)], display_intervals=True, interval=2)
    ours = ["percentiles", "peak_rate", "steady_tps", "errors", "in_flight"]
    summary = ["tps", "started_at", "ended_at", "duration", "metrics", "count"]
    assert list(report) == [*summary, "peak", "intervals", *ours]
    assert list(report["count"]) == ["success", "total", "start", "end", "invalidity"]
    for row in (report["peak"], *report["intervals"]):
        assert list(row) == summary
        assert list(row["metrics"]) == ["execution_time", "success_execution_time"]
        assert list(row["metrics"]["execution_time"]) == ["avg", "max", "min"]
        assert list(row["count"]) == ["success", "total", "start", "end"]
    assert all(type(report["peak"][key]) is int for key in ("started_at", "ended_at", "duration"))


def test_intervals_share_boundaries_and_one_may_have_no_length() -> None:
    logs = [log(1, 0.0, 1.0), log(2, 1.0, 1.0), log(3, 1.5, 2.5), log(4, 3.0, 4.0)]
    rows = get_tps(logs, True, 2)["intervals"]
    assert [(row["started_at"], row["ended_at"], row["count"]["total"]) for row in rows] == [
        *((0.0, 2.0, 2), (2.0, 4.0, 1), (4.0, 4.0, 0))
    ]
    assert [(row["count"]["start"], row["count"]["end"]) for row in rows] == [(3, 2), (1, 2), (0, 0)]
    back = get_tps(logs, True, 3, reverse_interval=True)["intervals"]
    assert [(row["started_at"], row["ended_at"], row["count"]["total"]) for row in back] == [
        (1.0, 4.0, 3),
        (0.0, 1.0, 2),
    ]


@pytest.mark.parametrize(
    ("logs", "step"),
    [
        ([log(1, 0.0, 0.1), log(2, 4.0, 4.1)], 1),
        ([log(1, 0.0, 1.234), log(2, 4.0, 5.234)], 3.7),
        ([log(1, 0.0, 0.1), log(2, 99.0, 99.1)], 1),
        ([log(1, 0.0, 0.1), log(2, 450.0, 450.1)], 5),
        ([log(1, 0.0, 0.0), log(2, 450.0, 450.0)], 5),
        ([log(1, 0.0, 0.0), log(2, 50.0, 50.0)], 1),
    ],
)
def test_an_interval_is_three_tasks_long_or_a_hundredth_of_the_run(logs: list[dict[str, Any]], step: float) -> None:
    rows = get_tps(logs, True)["intervals"]
    assert rows[0]["ended_at"] == step


@pytest.mark.parametrize("interval", [-1, -0.5, float("nan"), "2", True, [1], 1j])
def test_an_interval_that_is_no_length_is_refused_also_where_none_is_needed(interval: Any) -> None:
    with pytest.raises(ValueError, match="interval must be"):
        get_tps([], interval=interval)


@pytest.mark.parametrize("interval", [1e-9, 1e-300])
def test_an_interval_too_short_for_the_run_is_refused_instead_of_filling_the_memory(interval: float) -> None:
    for logs in ([log(1, 1.7e9, 1.7e9 + 5)], [log(1, 1.7e9, 1.7e9)]):
        with pytest.raises(ValueError, match="too short"):
            get_tps(logs, interval=interval)


def test_an_endless_interval_is_the_whole_run() -> None:
    for backwards in (False, True):
        (row,) = get_tps([log(1, 1.0, 3.0)], True, float("inf"), backwards)["intervals"]
        assert (row["started_at"], row["ended_at"]) == (1.0, 3.0)


@pytest.mark.parametrize("window", [0, -1, float("inf"), float("nan")])
def test_a_window_that_is_no_length_is_refused(window: float) -> None:
    with pytest.raises(ValueError, match="window"):
        get_tps([], window=window)


@pytest.mark.parametrize("percent", [0, -1, 100.1, float("nan")])
def test_a_percentile_that_is_none_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        get_tps([], percentiles=[50, percent])


def test_a_log_with_a_status_succeeds_only_if_it_is_ok() -> None:
    logs = [log(1, 0.0, 1.0, True, status="ok"), log(2, 0.0, 1.0, True, status="timeout", error=None)]
    report = get_tps(logs)
    assert report["count"]["success"] == 1
    assert report["errors"] == {"timeout": {"count": 1, "message": "", "task_ids": [2]}}


def test_load_fields_have_percentiles_of_their_own() -> None:
    logs = [log(n, 0.0, 1.0, response_time=float(n), queue_delay=n / 10) for n in range(1, 11)] + [log(11, 0.0, 1.0)]
    found = get_tps(logs, percentiles=[50, 100])["percentiles"]
    assert found == {
        "execution_time": {"p50": 1.0, "p100": 1.0},
        "response_time": {"p50": 5.0, "p100": 10.0},
        "queue_delay": {"p50": 0.5, "p100": 1.0},
    }


def test_columns_give_the_report_that_their_logs_give() -> None:
    dice = np.random.default_rng(5)
    starts, took, ok = dice.random(300) * 20, dice.exponential(0.4, 300), dice.random(300) < 0.8
    columns = zip(starts.tolist(), took.tolist(), ok.tolist(), strict=True)
    logs = [log(n, s, s + t, good) for n, (s, t, good) in enumerate(columns)]
    rows = Rows.from_columns(starts, starts + took, ok, times=(starts + took) - starts)
    assert get_tps(rows, display_intervals=True, reverse_interval=True) == get_tps(logs, True, 0, True)


def test_errors_of_columns_are_in_the_report() -> None:
    errors = {"ValueError": {"count": 1, "message": "no", "task_ids": [4]}}
    rows = Rows.from_columns([0.0], [1.0], [False], errors=errors)
    assert get_tps(rows)["errors"] == errors


def test_numpy_numbers_and_ids_leave_as_plain_ones() -> None:
    logs = [log(np.int64(1), np.float64(1), np.float64(3), np.bool_(True), response_time=np.float32(2))]  # type: ignore[arg-type]
    report = get_tps(logs, True, np.int64(1))  # type: ignore[arg-type]
    assert json.loads(json.dumps(report)) == report


LOGS = [
    log(1, 20.2, 21.4),
    log(2, 20.3, 20.4),
    log(3, 20.5, 20.6),
    log(4, 22.5, 23.6),
    log(5, 22.5, 25.6),
    log(6, 30.1, 30.2, False),
]


def lines_of(logs: list[dict[str, Any]], **options: Any) -> list[str]:
    lines: list[str] = []
    get_tps(logs, emit=lines.append, **options)
    return lines


def test_debug_tells_each_step_and_what_it_found() -> None:
    assert lines_of(LOGS, debug=True) == [
        "--- Start calculating the TPS data ---",
        "  - Average TPS: 0.5, Total Duration: 10.0s, Success Count: 5",
        "--- Start to compile intervals with an interval of 2.85 seconds ---",
        "  - Interval - Start Time: 20.2, End Time: 23.05, TPS: 1.05",
        "    * Peak detected above the current TPS threshold - Interval TPS: 1.05, Main TPS: 0.5",
        "  - Interval - Start Time: 23.05, End Time: 25.900000000000002, TPS: 0.0",
        "  - Interval - Start Time: 25.900000000000002, End Time: 28.750000000000004, TPS: 0.0",
        "  - Interval - Start Time: 28.750000000000004, End Time: 30.2, TPS: 0.0",
        "--- Start to find the peak TPS ---",
        "  - Detecting from Start Time: 20, Count: 3, Current TPS Threshold: 1.05, Worker: MainProcess",
        "    * Peak detected above the current TPS threshold - TPS: 2.0, Started at: 20, Ended at: 21",
    ]


def test_use_processing_changes_a_name_in_the_lines_and_no_number() -> None:
    assert get_tps(LOGS, use_processing=True) == get_tps(LOGS)
    assert [line for line in lines_of(LOGS, debug=True, use_processing=True) if "Worker: 1" in line]


def test_verbose_tells_the_steps_only_and_silence_is_the_default() -> None:
    assert [line[:3] for line in lines_of(LOGS, verbose=True)] == ["---"] * 3
    assert lines_of(LOGS) == []
    assert "interval of -2 seconds" in lines_of(LOGS, verbose=True, interval=2, reverse_interval=True)[1]


def test_a_run_without_a_success_says_that_it_has_no_intervals() -> None:
    assert lines_of([log(1, 1.0, 2.0, False)], debug=True) == [
        "--- Start calculating the TPS data ---",
        "  - Average TPS: 0.0, Total Duration: 1.0s, Success Count: 0",
        "--- No sucessful task to compile intervals ---",
        "--- Start to find the peak TPS ---",
    ]


def test_lines_change_no_number() -> None:
    assert get_tps(LOGS, debug=True, emit=lambda line: None) == get_tps(LOGS)


def test_help_of_get_tps_names_the_parameters_that_it_takes() -> None:
    text = inspect.getdoc(worker_dispatcher.get_tps) or ""
    more = re.findall(r"(\w+) \(", text.partition("more:")[2].partition("\n\n")[0])
    assert more == ["percentiles", "window"]
    worker_dispatcher.get_tps([], **dict(zip(more, ([50], 2.0), strict=True)))
    own = [name for name in inspect.signature(worker_dispatcher.get_tps).parameters if name != "more"]
    assert [name for name in own if f"{name}:" not in text and f"{name}, " not in text] == []


def test_help_of_get_tps_explains_every_key_and_its_unit() -> None:
    text = inspect.getdoc(worker_dispatcher.get_tps) or ""
    given = get_tps([*LOGS, failed_log()], display_intervals=True)
    given["errors"] = next(iter(given["errors"].values()))
    of_load = get_tps([{**log(1, 1.0, 2.0), "queue_delay": 0.5, "response_time": 1.5}])

    def keys(node: Any) -> set[str]:
        if isinstance(node, list):
            return set().union(*map(keys, node))
        return set().union(node, *map(keys, node.values())) if isinstance(node, dict) else set()

    named = keys(given) | keys(of_load)
    assert {"response_time", "invalidity", "task_ids", "peak_rate"} <= named
    assert sorted(key for key in named if not re.search(rf"(?<![\w.]){re.escape(key)}(?![\w])", text)) == []
    assert "in seconds" in text
    assert "tasks\nper second" in text


def failed_log() -> dict[str, Any]:
    error = {"type": "ValueError", "message": "no such order", "traceback": ""}
    return {**log(99, 1.0, 2.0, None), "status": "error", "error": error}
