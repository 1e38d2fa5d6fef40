"""What is told of a run with retries: the rate goes by the run's real time, times say which attempt they are of."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from staging import SHAPES, Shape

import worker_dispatcher as wd

pytestmark = [
    pytest.mark.above_the_pools,
    pytest.mark.filterwarnings("ignore::worker_dispatcher.TaskFailuresWarning"),
]

TOOK = 0.02  # seconds of an attempt
FAILING = 3  # attempts of each task that fail


def flaky(id: int, config: Any) -> int:
    """Fails as often as FAILING says; how often it did is known in every process."""
    time.sleep(TOOK)
    for nth in range(FAILING):
        try:
            os.close(os.open(f"{config}/{id}.{nth}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        raise ValueError("not yet")
    return id


def config(folder: Path, function: Any = flaky, **more: Any) -> dict[str, Any]:
    task = {"list": 4, "function": function, "config": str(folder), "retries": FAILING, **more.pop("task", {})}
    return {"task": task, "worker": more.pop("worker", {"number": 2}), "verbose": False, **more}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=str)
def test_rates_are_of_the_real_time_and_attempts_are_told_in_every_output(shape: Shape, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    worker = {"number": 2, **shape.worker}
    run = wd.launch(config(tmp_path / "notes", shape.function(flaky), worker=worker, journal=tmp_path / "run.db")).wait(
        60
    )
    made = wd.report(run)
    assert (run.info["retried"], run.info["retries"]) == (4, 4 * FAILING)
    told = "retries: 12 attempts more, of 4 tasks"
    first = min(one["earlier_attempts"][0][0] for one in run.logs)
    for one in run.logs:
        assert len(one["earlier_attempts"]) == one["attempts"] - 1 == FAILING
        assert all(ended - began > TOOK / 2 for began, ended in one["earlier_attempts"])
    assert made.tps["started_at"] == first
    assert made.tps["duration"] > 4 * 4 * TOOK / 2 * 0.9
    assert made.tps["tps"] == round(4 / made.tps["duration"], 2)
    assert wd.get_tps() == run.tps()
    assert run.tps()["started_at"] == first
    task_time = made.tps["percentiles"]["task_time"]
    longest = max(one["ended_at"] - one["earlier_attempts"][0][0] for one in run.logs)
    assert max(task_time.values()) == pytest.approx(longest)
    assert min(task_time.values()) > 4 * TOOK * 0.9
    assert made.check(["task.p50>70ms", f"execution.p50<{task_time['p50'] - 2 * TOOK}s", "in_flight<=2"])
    assert told in str(made)
    assert "\nlast attempt " in str(made)
    assert "\nwith retries " in str(made)
    assert told in made._repr_html_()
    assert "Retries: 12 attempts more, of 4 tasks." in made.to_html(tmp_path / "run.html").read_text()
    sheet = openpyxl.load_workbook(made.to_xlsx(tmp_path / "run.xlsx"))["Report"]
    assert ("Note", told) in [row[:2] for row in sheet.iter_rows(values_only=True)]
    assert made.as_data()["retries"] == {"attempts": 12, "tasks": 4}
    saved = wd.report(made.to_jsonl(tmp_path / "run.jsonl"))
    assert saved.as_data() | {"config": 0, "machine": 0} == made.as_data() | {"config": 0, "machine": 0}
    kept = wd.report(tmp_path / "run.db").as_data()
    assert kept["tps"]["duration"] == pytest.approx(made.tps["duration"], abs=1e-5)
    assert kept["tps"]["tps"] == pytest.approx(made.tps["tps"], abs=0.01)
    assert kept["retries"] == made.as_data()["retries"]
    assert kept["tps"]["percentiles"]["task_time"] == pytest.approx(task_time, abs=1e-5)


def test_the_summary_of_a_verbose_run_says_so_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = wd.launch(config(tmp_path) | {"verbose": True}).wait(60)
    said = " ".join(capsys.readouterr().out.split())
    assert "failed 0 retries 12 (of 4 tasks) last attempts p50 " in said
    assert f" {wd.report(run).tps['tps']:.1f} tasks/s" in said
    began = min(one["earlier_attempts"][0][0] for one in run.logs) - run.info["started_at"]
    assert "until workers began" not in said or began > 0.01


def test_a_load_counts_a_retried_task_s_wait_up_to_its_first_attempt(tmp_path: Path) -> None:
    mode = {"enabled": True, "pacing": [0.0, 0.1, 0.2, 0.3], "max_workers": 2}
    run = wd.launch(config(tmp_path, worker={"frequency_mode": mode}, journal=tmp_path / "run.db")).wait(60)
    for made in (wd.report(run), wd.report(run.logs), wd.report(tmp_path / "run.db")):
        for one in made.run.logs:
            first = one["earlier_attempts"][0][0]
            assert one["queue_delay"] == pytest.approx(first - one["scheduled_at"], abs=1e-5)
            assert one["response_time"] == pytest.approx(one["ended_at"] - one["scheduled_at"], abs=1e-5)
        assert (
            made.tps["percentiles"]["queue_delay"]["p99"] < made.tps["percentiles"]["response_time"]["p50"] - 2 * TOOK
        )
        assert made.health is not None
        assert made.health.judged == 4


def fails_for_good(config: Any) -> None:
    raise ValueError("never")


def test_the_attempt_of_a_task_that_waits_for_another_when_the_run_is_stopped_is_counted_once(tmp_path: Path) -> None:
    made = config(tmp_path, fails_for_good, task={"list": 1, "retries": 5, "backoff": {"initial": 600, "jitter": 0}})
    run = wd.launch(made | {"journal": tmp_path / "run.db"})
    until = time.monotonic() + 20
    while not run._execution.records.earlier and time.monotonic() < until:
        time.sleep(0.001)
    run.cancel()
    run.wait(30)
    for logs in (run.logs, wd.read_journal(tmp_path / "run.db")):
        assert [(one["status"], one["attempts"]) for one in logs] == [("error", 1)]
        assert "earlier_attempts" not in logs[0]
    assert (run.info["retried"], run.info["retries"]) == (0, 0)
    assert "retries:" not in str(wd.report(run))


def test_records_that_are_handed_over_have_them_and_nothing_of_them_is_kept(tmp_path: Path) -> None:
    run = wd.launch(config(tmp_path), keep_records=False)
    assert [len(one["earlier_attempts"]) for one in run] == [FAILING] * 4
    assert (run.info["retried"], run.info["retries"]) == (4, 12)
    assert not run._execution.records.earlier


def test_attempts_of_an_earlier_session_come_back_with_its_records(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    again = config(tmp_path / "notes", journal=tmp_path / "run.db")
    before = wd.launch(again).wait(60).logs
    run = wd.launch(again).wait(60)
    assert (run.info["resumed"], run.info["retried"], run.info["retries"]) == (4, 0, 0)
    for one, other in zip(run.logs, before, strict=True):
        assert one["phase"] == "resumed"
        for span, known in zip(one["earlier_attempts"], other["earlier_attempts"], strict=True):
            assert span == pytest.approx(known, abs=1e-5)


@pytest.mark.parametrize("given", [3, "often", [1], [[1, 2, 3]], [[None, 2]], [[5.0, 4.0]], [[9e9, 9e9]], [["a", "b"]]])
def test_attempts_that_are_none_in_somebody_s_log_are_left_out(given: Any) -> None:
    one = {"started_at": 10.0, "ended_at": 12.0, "result": 1, "earlier_attempts": given}
    assert wd.report([one]).tps["duration"] == 2.0


def test_a_log_that_says_nothing_of_earlier_attempts_is_read_as_before() -> None:
    made = wd.report([{"task_id": 1, "started_at": 10.0, "ended_at": 12.0, "result": 1, "attempts": 3}])
    assert made.tps["duration"] == 2.0
    assert "retries: 2 attempts more, of 1 task" in str(made)
    assert "with retries" not in str(made)
    assert made.check(["task.p50==2s"])
