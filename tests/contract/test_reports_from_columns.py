"""Reports and get_tps read a run's columns and make no dict of a task; what somebody has changed in a log counts."""

from __future__ import annotations

import time
from typing import Any

import pytest

import worker_dispatcher as wd
from worker_dispatcher.records import Records
from worker_dispatcher.reports.outputs.json_lines import report_as_data
from worker_dispatcher.reports.report import make_report
from worker_dispatcher.reports.run_data import RunData


def visit(id, metadata):
    metadata["seen"] = id
    if id % 7 == 0:
        raise ValueError(f"no order {id}")
    if id % 11 == 0:
        time.sleep(0.05)
    return id % 5 != 0


WORKERS: dict[str, dict[str, Any]] = {
    "threads": {"number": 3},
    "processes": {"number": 2, "use_processing": True},
    "load": {"frequency_mode": {"enabled": True, "rate": 200, "duration": 0.5, "warmup": 0.1}},
    "dropping": {
        "frequency_mode": {
            **{"enabled": True, "rate": 300, "duration": 0.4, "max_workers": 1, "on_saturation": "drop"},
        },
    },
}


def config(worker: dict[str, Any], **task: Any) -> dict[str, Any]:
    return {"task": {"list": 60, "function": visit, **task}, "worker": worker, "verbose": False}


@pytest.fixture
def no_dicts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any) -> Any:
        raise AssertionError("a dict was made of every task")

    monkeypatch.setattr(Records, "each_log", refuse)


@pytest.mark.filterwarnings("ignore::worker_dispatcher.TaskFailuresWarning")
@pytest.mark.parametrize("worker", WORKERS.values(), ids=WORKERS)
@pytest.mark.parametrize("task", [{}, {"retries": 1, "show_input": False}], ids=["once", "retried"])
def test_a_report_of_a_run_is_that_of_its_logs(worker: dict[str, Any], task: dict[str, Any]) -> None:
    run = wd.launch(config(worker, **task)).wait(30)
    made, tps = make_report(run), run.tps(display_intervals=True)
    read = report_as_data(made._data)
    by_dicts = make_report(RunData(run.logs, run.info, run.config, run.dropped))
    assert read == report_as_data(by_dicts._data)
    assert tps == wd.get_tps(run.logs, display_intervals=True)
    assert str(made) == str(by_dicts)


@pytest.mark.filterwarnings("ignore::worker_dispatcher.TaskFailuresWarning")
def test_a_resumed_run_is_reported_as_its_logs_are(tmp_path: Any) -> None:
    journal = {"journal": str(tmp_path / "run.journal")}
    for _ in range(2):
        run = wd.launch(config({"number": 2}) | journal).wait(30)
        read = report_as_data(make_report(run)._data)
        assert read == report_as_data(make_report(RunData(run.logs, run.info, run.config, run.dropped))._data)
    assert read["phases"]["resumed"] > 0


@pytest.mark.filterwarnings("ignore::worker_dispatcher.TaskFailuresWarning")
@pytest.mark.usefixtures("no_dicts")
def test_reports_checks_and_get_tps_of_a_run_make_no_dict_of_every_task() -> None:
    run = wd.launch(config(WORKERS["load"])).wait(30)
    wd.start(config(WORKERS["threads"]))
    assert wd.check(run, ["p99<60s", "failed>0", "dropped==0"])
    assert wd.get_tps()["count"]["total"] == 60
    assert run.tps()["count"]["total"] > 0
    assert wd.report().as_data()["outcomes"]["error"] == 8
    assert wd.compare(run)["success"].a > 0
    assert "ValueError" in wd.report(run).text()
    assert "ValueError" in wd.report(run)._repr_html_()


def test_what_somebody_has_changed_in_the_logs_of_the_last_run_counts() -> None:
    wd.start({"task": {"list": [1] * 10, "function": bool}, "verbose": False})
    for log in wd.get_logs()[:4]:
        log["result"] = False
    assert wd.get_tps()["count"]["success"] == 6
    assert wd.report().run.outcomes == {"succeeded": 6, "no success": 4}


def test_what_on_done_adds_counts_where_reports_go_by_it(shape: Any, run: Any) -> None:
    def add(id, result, log):
        log["queue_delay"], log["response_time"] = 1.0, 2.0
        if id == 1:
            log["no_success"] = "too slow"
        return result

    run(shape, lambda id: id, 4, callback={"on_done": add})
    assert wd.report().run.outcomes == {"succeeded": 3, "no success": 1}
    assert wd.get_tps()["percentiles"]["queue_delay"]["p50"] == 1.0


def test_a_run_that_goes_on_is_reported_as_far_as_it_is() -> None:
    run = wd.launch({"task": {"list": [0.1, 0.2], "function": time.sleep}, "verbose": False})
    assert run.columns is None or run.done
    assert wd.report(run).tps["count"]["total"] <= 2
    run.wait(10)
    assert wd.report(run).tps["count"]["total"] == 2
