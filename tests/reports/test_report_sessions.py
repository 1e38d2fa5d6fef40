"""The report of a journal that more than one run wrote to: all its tasks, and no number counts the pauses."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import openpyxl
import pytest

import worker_dispatcher as wd
from worker_dispatcher.clock import Anchor
from worker_dispatcher.journal.journal import Journal
from worker_dispatcher.journal.row_format import LoadFacts
from worker_dispatcher.records import ERROR, Failure, Outcome
from worker_dispatcher.reports.outputs.figures import figures_of
from worker_dispatcher.units import rate_text

NOON = 1_700_000_000.0
MIDNIGHT = 1000.0  # by the monotonic clock


def work(task: int) -> int:
    return task


def record(path: Path, wall: float, ids: range, *, workers: int = 4, failed: int = 0, load: bool = False) -> None:
    """A session in which each of so many workers takes 0.5 s for a task; of a hundred, the last `failed` ones fail."""
    with Journal(path, work, Anchor(wall, MIDNIGHT)) as journal:
        journal.total = 100
        journal.seen(1, list(range(1, 101)))
        starts = [MIDNIGHT + 0.5 * (nth // workers) for nth in range(len(ids))]
        if load:
            journal.load = LoadFacts(workers, MIDNIGHT - 1, MIDNIGHT + 60)
            journal.dues = [0.0] * (ids.start - 1) + [start - 0.001 for start in starts]
        for task_id, start, nth in zip(ids, starts, range(len(ids)), strict=True):
            worker = nth % workers + 1
            if nth < len(ids) - failed:
                journal.record_run(task_id, [start], [start + 0.5], [True], worker)
            else:
                failure = Failure("ValueError", "no")
                journal.record_one(Outcome(task_id, ERROR, start, start + 0.5, failure=failure, worker=worker))
        journal.commit()


PAUSE = 3 * 3600 + 20 * 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """40 tasks in 5 s on four workers, and 3 h 20 min later 60 in 15 s on two."""
    record(tmp_path / "run.db", NOON, range(1, 41))
    record(tmp_path / "run.db", NOON + 5 + PAUSE, range(41, 101), workers=2)
    return tmp_path / "run.db"


TOLD = "2 sessions, 3 h 20 min apart; rates and times leave the pause out"


def test_all_tasks_count_and_the_pause_is_in_no_number(path: Path) -> None:
    made = wd.report(path)
    first, second, *_ = str(made).splitlines()
    assert first == "100 tasks in 20.0 s   5.00/s, peak 8.00/s over 1.00 s   in flight 4"
    assert second == TOLD
    assert "succeeded                100   100.0 %" in str(made)
    tps = made.tps
    assert (tps["tps"], tps["duration"], tps["count"]["total"]) == (5.0, 20.0, 100)
    assert tps["in_flight"] == {"max": 4, "mean": pytest.approx(50 / 20)}
    assert made.check(["tps==5", "steady_tps>4", "p99<501ms", "total==100", "in_flight==4"])
    assert [one.a for one in wd.compare(path, path).differences if one.name == "tps"] == [5.0]


def test_every_output_says_so_and_has_the_same_numbers(path: Path, tmp_path: Path) -> None:
    made = wd.report(path)
    peak = made._data.peak
    assert peak is not None
    page = html.unescape(re.sub(r"<[^>]+>", " ", made.to_html(tmp_path / "run.html").read_text()))
    for text in (page, made._repr_html_()):
        assert TOLD in text
        assert "5.00/s" in text
        assert rate_text(peak["tps"]) in text
    book = openpyxl.load_workbook(made.to_xlsx(tmp_path / "run.xlsx"))
    rows = [[cell for cell in row if cell is not None] for row in book["Report"].iter_rows(values_only=True)]
    assert ["Note", TOLD] in rows
    assert ["TPS", 5.0] in rows
    assert ["Duration (sec)", 20.0] in rows
    assert rows[rows.index(["Peak"]) + 1] == ["TPS", peak["tps"]]
    data = json.loads(made.to_json(tmp_path / "run.json").read_text())
    assert (data["tps"]["tps"], data["remarks"], data["tps"]["peak_rate"]["tps"]) == (5.0, [TOLD], peak["tps"])
    assert made.to_png(tmp_path / "run.png").stat().st_size > 10_000


def test_moments_are_those_that_were_recorded(path: Path) -> None:
    intervals = wd.report(path, interval=2.5).tps["intervals"]
    assert [one["started_at"] - NOON for one in intervals][:4] == pytest.approx([0, 2.5, 5 + PAUSE, 7.5 + PAUSE])
    assert [one["ended_at"] - NOON for one in intervals][:4] == pytest.approx([2.5, 5, 7.5 + PAUSE, 10 + PAUSE])
    assert [one["count"]["success"] for one in intervals] == [20, 20, 10, 10, 10, 10, 10, 10]
    assert wd.report(path).tps["ended_at"] == pytest.approx(NOON + PAUSE + 20)


def test_what_was_saved_of_it_and_the_logs_of_read_journal_say_the_same(path: Path, tmp_path: Path) -> None:
    made = wd.report(path)
    assert wd.report(made.to_jsonl(tmp_path / "run.jsonl")).as_data() == made.as_data()
    logs = wd.read_journal(path)
    assert wd.report(logs).as_data() == made.as_data()
    assert [one["session"] for one in logs] == [1] * 40 + [2] * 60
    assert (wd.get_tps(logs)["tps"], wd.get_tps(logs)["duration"]) == (5.0, 20.0)


def test_no_worker_of_an_earlier_session_is_idle_until_the_end(path: Path) -> None:
    (note,) = [figure.note for figure in figures_of(wd.report(path)._data) if figure.name == "workers"]
    assert note == "each bar is a task; 0.0 % of the workers' time passed idle at the end of the last session"


def test_three_sessions_and_one_that_did_nothing(path: Path) -> None:
    with Journal(path, work, Anchor(NOON + 50_000, MIDNIGHT)) as journal:
        journal.seen(1, list(range(1, 101)))
    assert str(wd.report(path)).splitlines()[1] == TOLD
    record(path, NOON + 5 + PAUSE + 15 + 600, range(1, 5))
    first, second, *_ = str(wd.report(path)).splitlines()
    assert first.startswith("100 tasks in 20.5 s")
    assert second == "3 sessions with pauses of 3 h 30 min; rates and times leave them out"


def test_time_that_went_into_tasks_which_failed_and_were_run_again_counts(tmp_path: Path) -> None:
    record(tmp_path / "run.db", NOON, range(1, 41), failed=20)
    record(tmp_path / "run.db", NOON + 1000, range(21, 101))
    made = wd.report(tmp_path / "run.db")
    assert (made.tps["count"]["success"], made.tps["duration"]) == (100, 15.0)


@pytest.mark.parametrize("later", [-7200.0, 2.0, 0.0])
def test_a_second_machine_whose_clock_is_behind_changes_no_number(tmp_path: Path, later: float) -> None:
    record(tmp_path / "run.db", NOON, range(1, 41))
    record(tmp_path / "run.db", NOON + later, range(41, 101))
    made = wd.report(tmp_path / "run.db")
    first, second, *_ = str(made).splitlines()
    assert first.startswith("100 tasks in 12.5 s   8.00/s")
    assert second == "2 sessions, by clocks that differ; rates leave out what lay between"
    assert made.tps["in_flight"]["max"] == 4


def test_the_sessions_of_a_load_have_no_window_between_them(tmp_path: Path) -> None:
    record(tmp_path / "run.db", NOON, range(1, 41), load=True)
    record(tmp_path / "run.db", NOON + PAUSE, range(41, 101), load=True)
    made = wd.report(tmp_path / "run.db")
    assert made.tps["duration"] == pytest.approx(12.5)
    assert made.health is not None
    assert made.health.ok
    assert made.tps["percentiles"]["queue_delay"]["p99"] == pytest.approx(0.001)
    assert max(made._data.bins.edges) < 14


def test_one_session_is_told_as_before(tmp_path: Path) -> None:
    record(tmp_path / "run.db", NOON, range(1, 41))
    assert "session" not in str(wd.report(tmp_path / "run.db"))
    logs = wd.read_journal(tmp_path / "run.db")
    assert logs.sessions == []
    assert not any("session" in one for one in logs)


@pytest.mark.parametrize(
    "sessions", [3, [1, 2], [{}, {}], [{"from": 2.0, "until": 1.0}] * 2, [{"from": "x", "until": 9}] * 2]
)
def test_sessions_that_are_none_in_somebody_s_file_are_left_out(tmp_path: Path, sessions: Any) -> None:
    one = {"task_id": 1, "started_at": 10.0, "ended_at": 12.0, "result": 1, "session": 2}
    (tmp_path / "run.jsonl").write_text(f"{json.dumps(one)}\n{json.dumps({'run': {'sessions': sessions}})}\n")
    assert wd.report(tmp_path / "run.jsonl").tps["duration"] == 2.0


def test_the_run_that_went_on_counts_all_tasks_and_says_which_it_measured(tmp_path: Path) -> None:
    config = {"task": {"list": 40, "function": work}, "journal": tmp_path / "run.db", "verbose": False}
    record(tmp_path / "run.db", NOON, range(1, 31))
    config["task"] |= {"list": range(1, 101)}
    made = wd.report(wd.launch(config).wait(30))
    first, second, *_ = str(made).splitlines()
    assert first.startswith("100 tasks, 70 measured in ")
    assert second == "phases: resumed 30, main 70; the numbers are of the main phase"
    cards = {name: (value, note) for name, value, note in made._data.headline}
    assert cards["Tasks"] == ("100", "70 measured")
    assert cards["Succeeded"] == ("70", "100.0 % of measured")
    assert wd.report(tmp_path / "run.db").tps["count"]["total"] == 100
