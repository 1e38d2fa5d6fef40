"""Rates of a load are divided by the window that was planned for it, live and from a file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

import worker_dispatcher as wd
from worker_dispatcher import report
from worker_dispatcher.reports.run_data import RunData


def at_once(task: object) -> None:
    """Takes no time."""


def load(function: Any = at_once, tasks: Any = None, **mode: Any) -> wd.Run:
    task = {"list": tasks, "function": function}
    worker = {"frequency_mode": {"enabled": True, "max_workers": 4, **mode}}
    return wd.launch({"task": task, "worker": worker, "verbose": False}).wait()


@pytest.mark.parametrize(
    ("mode", "rate", "planned"),
    [
        ({"rate": 2, "duration": 1.5}, 2.0, 1.5),
        ({"rate": "1/h", "duration": 0.5}, 2.0, 0.5),
        ({"rate": "60/min", "duration": 2, "warmup": 1}, 1.0, 1.0),
        ({"rate": 4, "tasks": 4}, 4.0, 1.0),
        ({"stages": [{"duration": 1, "rate": 4, "step": True}]}, 4.0, 1.0),
    ],
)
def test_a_rate_is_that_of_the_planned_window(
    mode: dict[str, Any], rate: float, planned: float, tmp_path: Path
) -> None:
    made = report(load(**mode))
    for one in (made, report(made.to_jsonl(tmp_path / "run.jsonl"))):
        assert one.run.rows.planned is not None
        assert one.tps["duration"] == pytest.approx(max(planned, one.run.rows.span[1] - one.run.rows.span[0]))
        assert one.tps["tps"] == pytest.approx(rate, rel=0.2)
        assert one.tps["tps"] <= rate
        assert one.check(f"tps<={rate}")
        assert sum(one["count"]["total"] for one in made.tps["intervals"]) == made.tps["count"]["total"]
        assert max(row["tps"] for row in one.tps["intervals"]) <= 2 * rate
        assert one._data.bins.edges[-1] >= planned * 0.95


def test_what_fails_after_the_window_of_a_load_is_in_an_interval_too(tmp_path: Path) -> None:
    def late(id: int) -> bool:
        if id == 4:
            time.sleep(1.0)
        return id != 4

    made = report(load(late, rate=10, duration=0.4))
    for one in (made, report(made.to_jsonl(tmp_path / "run.jsonl"))):
        assert one.run.rows.ends.max() > one.run.rows.span[1]
        assert sum(interval["count"]["end"] for interval in one.tps["intervals"]) == 4
        assert one.text()


def test_rows_outside_of_the_window_that_a_file_tells_do_no_harm(tmp_path: Path) -> None:
    logs = load(rate=10, duration=0.4).logs
    middle = logs[1]["ended_at"] + 0.01
    for window in ({"from": middle, "until": middle + 0.05}, {"from": middle + 9, "until": middle + 10}):
        made = report(RunData(logs, {"load": window}))
        assert made.tps["count"]["total"] == 4
        assert made.text()


def test_a_service_that_lags_behind_has_not_reached_the_rate_asked() -> None:
    made = report(load(lambda id: time.sleep(0.05), rate=200, duration=0.2, max_workers=1))
    assert made.tps["tps"] <= 20


def test_get_tps_keeps_the_numbers_of_1x() -> None:
    run = load(lambda id: 1, rate=4, duration=1)
    assert wd.get_tps(run.logs)["duration"] == pytest.approx(
        max(log["ended_at"] for log in run.logs) - min(log["started_at"] for log in run.logs)
    )


def test_a_rest_of_an_interval_is_not_listed_as_a_rate_of_its_own() -> None:
    logs = [{"started_at": 1.0 * n, "ended_at": 1.0 * n + 0.5, "result": 1} for n in range(5)]
    logs += [{"started_at": 5.0, "ended_at": 5.01, "result": 1}]
    assert [row["tps"] for row in report(logs, interval=1).tps["intervals"]] == [
        1.0,
        1.0,
        1.0,
        1.0,
        pytest.approx(1.98),
    ]
    assert wd.get_tps(logs, display_intervals=True, interval=1)["intervals"][-1]["tps"] == pytest.approx(100)
