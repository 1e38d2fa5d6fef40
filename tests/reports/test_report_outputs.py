"""Every output of every odd run can be written and read back, and says the numbers of get_tps."""

from __future__ import annotations

import builtins
import csv
import io
import json
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from made_logs import ALL_FAILED, BEGAN, EMPTY, INSTANT, MIXED, ONE, due, failed, log

import worker_dispatcher
from worker_dispatcher import Report, get_tps, report
from worker_dispatcher.reports.outputs import workbook
from worker_dispatcher.reports.outputs.figures import figures_of
from worker_dispatcher.reports.report_data import ReportData
from worker_dispatcher.reports.rows import Rows
from worker_dispatcher.reports.run_data import RunData

RUNS = {"empty": EMPTY, "one": ONE, "instant": INSTANT, "all failed": ALL_FAILED, "mixed": MIXED}
every_run = pytest.mark.parametrize("logs", RUNS.values(), ids=RUNS.keys())


def sheets(path: Path) -> dict[str, list[list[Any]]]:
    book = openpyxl.load_workbook(path)
    return {sheet.title: [list(row) for row in sheet.iter_rows(values_only=True)] for sheet in book}


def tps_as_reported(logs: list[dict[str, Any]]) -> dict[str, Any]:
    """What get_tps says, but for a rest of an interval, which is not listed on its own."""
    tps = get_tps(logs, display_intervals=True)
    if len(tps["intervals"]) > 1 and tps["intervals"][-1]["duration"] < tps["intervals"][0]["duration"] / 2:
        tps["intervals"] = get_tps(Rows.from_logs(logs), display_intervals=True, whole=True)["intervals"]
    return tps


@every_run
def test_the_numbers_are_those_of_get_tps(logs: list[dict[str, Any]]) -> None:
    assert report(logs).tps == tps_as_reported(logs)


@every_run
def test_the_text_has_no_line_too_long_and_names_the_counts(logs: list[dict[str, Any]]) -> None:
    text = str(report(logs))
    assert max(map(len, text.splitlines())) <= 120
    assert (f"{len(logs):,} task{'' if len(logs) == 1 else 's'} in" if logs else "No task ran") in text
    assert not logs or re.search(rf"^succeeded +{sum(one['status'] == 'ok' for one in logs)} ", text, re.MULTILINE)
    assert report(logs).text(ascii_only=True).isascii()


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, False), (0.99, False), (1.5, True)])
def test_a_run_that_is_shorter_than_the_stretch_of_its_peak_has_none(seconds: float, shown: bool) -> None:
    """Over a second, ten tasks in 0.4 s are a peak of 10/s, and a rate of 25/s."""
    made = report([log(1 + at, seconds * at / 10, seconds / 10) for at in range(10)])
    assert (", peak " in str(made).splitlines()[0]) is shown
    cards = {name: value for name, value, _ in made._data.headline}
    assert (cards["Peak"] != "-") is shown


@every_run
def test_the_json_document_is_plain_and_holds_the_report(logs: list[dict[str, Any]], tmp_path: Path) -> None:
    written = report(logs, checks=["p99<1s"]).to_json(tmp_path / "run.json")
    data = json.loads(written.read_text(), parse_constant=pytest.fail)
    assert data["tps"] == json.loads(json.dumps(tps_as_reported(logs)))
    assert [check["check"] for check in data["checks"]] == ["p99<1s"]
    assert len(data["slowest"]) == min(20, len(logs))


@every_run
def test_json_lines_make_the_same_report_again(logs: list[dict[str, Any]], tmp_path: Path) -> None:
    first = report(logs)
    again = report(first.to_jsonl(tmp_path / "run.jsonl"))
    assert again.as_data() == first.as_data()


@every_run
def test_the_csv_has_a_row_for_each_log(logs: list[dict[str, Any]], tmp_path: Path) -> None:
    with report(logs).to_csv(tmp_path / "run.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["task_id"]) for row in rows] == [one["task_id"] for one in logs]
    assert [float(row["started_at"]) for row in rows] == [one["started_at"] for one in logs]
    assert [row["success"] for row in rows] == [str(one["status"] == "ok") for one in logs]


@every_run
def test_the_workbook_has_its_sheets_and_the_numbers(logs: list[dict[str, Any]], tmp_path: Path) -> None:
    made = report(logs)
    found = sheets(made.to_xlsx(tmp_path / "run.xlsx"))
    assert list(found) == ["Report", *(["Timeline"] if logs else []), "Intervals", "Raw Logs"]
    summary: dict[Any, Any] = {}
    for name, value, *_ in found["Report"]:
        summary.setdefault(name, value)
    assert summary["TPS"] == made.tps["tps"]
    assert summary["Tasks"] == len(logs)
    assert summary["Average execution time (sec)"] == pytest.approx(made.tps["metrics"]["execution_time"]["avg"])
    names, *rows = found["Intervals"]
    assert [row[0] for row in rows] == [one["tps"] for one in made.tps["intervals"]]
    assert [row[names.index("Success")] for row in rows] == [one["count"]["success"] for one in made.tps["intervals"]]
    names, *rows = found["Raw Logs"]
    assert [row[0] for row in rows] == [one["task_id"] for one in logs]
    assert [row[names.index("Duration (sec)")] for row in rows] == pytest.approx([one["duration"] for one in logs])


def test_the_workbook_has_native_charts_of_its_own_cells(tmp_path: Path) -> None:
    book = openpyxl.load_workbook(report(MIXED).to_xlsx(tmp_path / "run.xlsx"))
    charts = book["Report"]._charts
    assert len(charts) == 2
    references = [series.val.numRef.f for chart in charts for series in chart.series]
    last = book["Timeline"].max_row
    assert references
    assert all(re.fullmatch(rf"Timeline!\$[A-J]\$2:\$[A-J]\${last}", reference) for reference in references)


def test_raw_fields_are_keys_or_functions_of_metadata(tmp_path: Path) -> None:
    logs = [log(1, 0, 1, metadata={"code": 200, "body": {"n": 1}}), log(2, 0, 1)]
    fields = {"Code": "code", "Inner": lambda metadata: metadata["body"]["n"] + 0.5, "None of it": "nothing"}
    with pytest.warns(UserWarning, match="no task has noted 'nothing'"):
        path = report(logs).to_xlsx(tmp_path / "a.xlsx", raw_fields=fields)
    names, *rows = sheets(path)["Raw Logs"]
    assert names[-3:] == ["Code", "Inner", "None of it"]
    assert [row[-3:] for row in rows] == [[200, 1.5, None], [None, "KeyError: 'body'", None]]
    names, *rows = sheets(report(logs).to_xlsx(tmp_path / "b.xlsx", raw_fields=["code"]))["Raw Logs"]
    assert (names[-1], rows[0][-1]) == ("code", 200)


@pytest.mark.parametrize("form", ["to_csv", "to_html"])
def test_raw_fields_are_columns_of_the_csv_and_of_the_page_too(form: str, tmp_path: Path) -> None:
    logs = [log(1, 0, 1, metadata={"code": 200, "note": "<b>=1+1"}), log(2, 0, 1)]
    fields = {"HTTP code": "code", "Twice": lambda metadata: metadata["code"] * 2, "=note": "note"}
    text = getattr(report(logs), form)(tmp_path / "run", raw_fields=fields).read_text(encoding="utf-8")
    if form == "to_csv":
        names, *rows = csv.reader(text.splitlines())
        assert names[-3:] == ["HTTP code", "Twice", "'=note"]
        assert [row[-3:] for row in rows] == [["200", "400", "<b>=1+1"], ["", "KeyError: 'code'", ""]]
        return
    page = text.partition("<script")[0]
    assert "<th>HTTP code</th><th>Twice</th><th>=note</th>" in re.sub(' class="[^"]*"', "", page)
    cells = re.sub(' class="[^"]*"', "", page)
    assert "<td>200</td><td>400</td><td>&lt;b&gt;=1+1</td>" in cells
    assert "<td></td><td>KeyError: &#x27;code&#x27;</td><td></td>" in cells


def test_a_raw_field_that_is_named_as_another_column_stands_beside_it_under_a_name_of_its_own(tmp_path: Path) -> None:
    made = report([log(1, 0, 1, metadata={"status": 503, "worker": "k"})])
    fields = ["status", "worker"]
    (row,) = csv.DictReader(made.to_csv(tmp_path / "a.csv", raw_fields=fields).read_text().splitlines())
    assert (row["status"], row["metadata.status"], row["metadata.worker"]) == ("ok", "503", "k")
    names, *_ = sheets(made.to_xlsx(tmp_path / "a.xlsx", raw_fields=fields))["Raw Logs"]
    assert names[-2:] == ["metadata.status", "metadata.worker"]


@pytest.mark.parametrize("form", ["to_csv", "to_html", "to_xlsx"])
@pytest.mark.parametrize("given", ["code", 3])
def test_raw_fields_that_are_none_are_refused_before_the_file_is_touched(form: str, given: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="raw_fields"):
        getattr(report(ONE), form)(tmp_path / "run", raw_fields=given)
    assert not (tmp_path / "run").exists()


def test_what_tasks_noted_is_in_the_csv_and_the_workbook_as_json(tmp_path: Path) -> None:
    odd: dict[Any, Any] = {("a", 1): 2}
    logs = [log(1, 0, 1, metadata={"code": 200, "at": {1}}), log(2, 0, 1, metadata=odd), log(3, 0, 1, metadata={})]
    with report(logs).to_csv(tmp_path / "run.csv").open(newline="", encoding="utf-8") as file:
        cells = [row["metadata"] for row in csv.DictReader(file)]
    assert cells == ['{"code": 200, "at": "{1}"}', "{('a', 1): 2}", ""]
    names, *rows = sheets(report(logs).to_xlsx(tmp_path / "run.xlsx"))["Raw Logs"]
    assert rows[0][names.index("Metadata")] == cells[0]


def test_logs_beyond_the_rows_of_a_sheet_go_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MOST_ROWS", 8)
    found = sheets(report(ALL_FAILED).to_xlsx(tmp_path / "run.xlsx"))
    assert [len(found[name]) - 1 for name in ("Raw Logs", "Raw Logs 2", "Raw Logs 3")] == [7, 7, 6]
    assert found["Raw Logs"][0] == found["Raw Logs 3"][0]


@every_run
def test_the_picture_is_a_png_of_the_promised_size(logs: list[dict[str, Any]], tmp_path: Path) -> None:
    written = report(logs, title="cost in $ and 100 % of $").to_png(tmp_path / "run.png").read_bytes()
    assert written.startswith(b"\x89PNG\r\n")
    assert struct.unpack(">II", written[16:24]) == (1280, 900)


@every_run
def test_the_charts_are_what_plotly_accepts(logs: list[dict[str, Any]]) -> None:
    import plotly.graph_objects as plotly  # type: ignore[import-untyped]

    drawn = figures_of(ReportData(RunData(logs)))
    for figure in drawn:
        plotly.Figure(data=figure.data, layout=figure.layout)  # raises for a wrong name or value
    assert [figure.name for figure in drawn] == (
        ["rates", "percentiles", "spread", "in-flight", "workers"] if logs else []
    )


def test_the_charts_count_every_task_once() -> None:
    rates, _, spread, in_flight, workers = figures_of(ReportData(RunData(MIXED)))
    step = rates.data[0]["width"]
    drawn = {trace["name"]: sum(trace["y"]) * step for trace in rates.data[:2]}
    offered = sum(rates.data[-1]["y"][:-1]) * step
    good = sum(one["status"] == "ok" for one in MIXED)
    assert drawn["succeeded"] == pytest.approx(good, rel=1e-4)
    assert drawn["failed"] == pytest.approx(len(MIXED) - good, rel=1e-4)
    assert offered == pytest.approx(len(MIXED), rel=1e-4)
    assert [sum(trace["y"]) / 2 for trace in spread.data] == [len(MIXED)] * 2  # each step has two corners
    assert max(in_flight.data[0]["y"]) == get_tps(MIXED)["in_flight"]["max"]
    assert sum(len(trace["x"]) for trace in workers.data) in (0, len(MIXED)) or workers.data[0]["type"] == "heatmap"


def test_the_page_shows_the_headline_the_verdicts_and_the_failures(tmp_path: Path) -> None:
    made = report(MIXED, title="Orders", checks=["p50<1ms", "total==400"])
    page = made.to_html(tmp_path / "run.html").read_text().partition("<script")[0]
    assert "<title>Orders</title>" in page
    assert "FAILS</td><td>p50&lt;1ms" in page
    assert "holds</td><td>total==400" in page
    assert "orders.py:12" in page
    assert f">{get_tps(MIXED)['tps']:.1f}/s<" in page
    assert made.verdict is not None
    assert not made.verdict


def test_a_generator_that_was_the_bottleneck_is_said_first(tmp_path: Path) -> None:
    late = [due(log(n, n / 10 + 0.05, 0.001, worker=n % 9 + 1), n / 10) for n in range(100)]
    late += [due(log(1000 + n, 20, 1.0, worker=n), 20) for n in range(9)]  # once, nine ran at a time
    made = report(late)
    assert str(made).startswith("WARNING: The load generator was the bottleneck")
    page = made.to_html(tmp_path / "run.html").read_text()
    assert page.index("was the bottleneck") < page.index("<h1>")


def test_waiting_for_busy_workers_is_not_the_generators_fault() -> None:
    queued = [due(log(n, n * 0.1, 0.1, worker=1), 0.0) for n in range(50)]
    assert "bottleneck" not in str(report(queued))
    assert "The only worker was busy for 5.00 s" in str(report(queued))
    assert "all at once asked, 10.0/s reached" in " ".join(str(report(queued)).split())


@pytest.mark.parametrize(
    ("write", "package", "extra"),
    [("to_html", "plotly", "report"), ("to_png", "matplotlib", "report"), ("to_xlsx", "xlsxwriter", "xlsx")],
)
def test_a_missing_package_is_one_sentence_and_leaves_no_file(
    write: str, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"pip install 'worker-dispatcher\[{extra}\]'"):
        getattr(report(ONE), write)(tmp_path / "run")
    assert not list(tmp_path.iterdir())


@every_run
def test_a_notebook_gets_a_small_piece_of_html(logs: list[dict[str, Any]]) -> None:
    piece = report(logs)._repr_html_()
    assert piece.startswith("<div")
    assert "<script" not in piece
    assert len(piece) < 60_000


def test_a_run_shows_itself_in_a_notebook() -> None:
    run = worker_dispatcher.launch({"task": {"list": 3, "function": lambda id: 1 / (id - 2)}, "verbose": False})
    assert run._repr_html_().startswith("<div")  # at any moment
    with pytest.warns(worker_dispatcher.TaskFailuresWarning):
        run.wait()
    assert run._repr_html_() == report(run)._repr_html_()
    assert "ZeroDivisionError" in run._repr_html_()


def test_tasks_that_did_not_run_are_counted() -> None:
    info = {"counts": {"ok": 1, "error": 0, "not_run": 4, "dropped": 2}}
    text = str(Report(ReportData(RunData(ONE, info))))
    assert text.startswith("7 tasks in")
    assert re.search(r"^not_run +4 ", text, re.MULTILINE)
    assert re.search(r"^dropped +2 ", text, re.MULTILINE)
    assert Report(ReportData(RunData(ONE, info))).check("dropped==0").findings[0].observed == 2


def test_malformed_logs_are_left_out_and_counted(tmp_path: Path) -> None:
    odd: list[Any] = [{"task_id": 1}, *ONE, None, log(3, float("nan"), 1), failed(4, 2, -5)]
    made = report(odd)
    assert made.tps["count"]["invalidity"] == 4
    assert "malformed" in str(made)
    for write in ("to_html", "to_png", "to_xlsx", "to_csv", "to_json", "to_jsonl"):
        getattr(made, write)(tmp_path / write)


@pytest.mark.parametrize("was_verbose", [True, False])
def test_a_report_is_returned_and_printed_only_where_that_is_asked_for(
    was_verbose: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    worker_dispatcher.start({"task": {"list": 3, "function": lambda id: id}, "verbose": was_verbose})
    run = worker_dispatcher.launch({"task": {"list": 3, "function": lambda id: id}, "verbose": was_verbose}).wait()
    capsys.readouterr()
    made = [report(), report(run), report(title="Orders", checks=["total==3"]), report(MIXED)]
    worker_dispatcher.check(None, ["total==3"])
    worker_dispatcher.compare(run)
    assert capsys.readouterr() == ("", "")
    report(made[0], verbose=True)
    assert capsys.readouterr().out == f"{made[0]}\n"


def test_an_ascii_terminal_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    report(MIXED, verbose=True)
    sys.stdout.flush()
    assert "ended per second" in raw.getvalue().decode("ascii")


def test_check_and_compare_speak_of_the_last_run_or_of_what_they_are_given(tmp_path: Path) -> None:
    worker_dispatcher.start({"task": {"list": 3, "function": lambda id: id}, "verbose": False})
    assert worker_dispatcher.check(None, ["total==3", "dropped==0", "error==0"])
    assert worker_dispatcher.check(get_tps(MIXED), "total==400")
    saved = report(MIXED).to_jsonl(tmp_path / "base.jsonl")
    assert worker_dispatcher.compare(saved, MIXED).count_a == 400
    assert worker_dispatcher.compare(MIXED).count_b == 3
    assert str(worker_dispatcher.compare(saved)).startswith(f"a  {saved}\nb  the last run\n\n")


@pytest.mark.parametrize("source", [3, {"a": 1}.keys(), b"logs", {"tps": 1}])
def test_what_is_no_source_is_refused(source: object) -> None:
    with pytest.raises(TypeError, match="report is made of"):
        report(source)


@pytest.mark.parametrize(("text", "said"), [("{", "line 1"), ("[1]\n", "line 1"), ('{"a": 1}\n3\n', "line 2")])
def test_a_file_that_is_none_names_its_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        report(path)


def test_a_report_of_a_report_is_itself() -> None:
    made = report(ONE)
    assert report(made) is made
    assert repr(made) == str(made) == made.text()


@pytest.mark.parametrize("first", ["worker_dispatcher.report", "worker_dispatcher.reports.tps"])
def test_the_function_and_the_package_do_not_hide_each_other(first: str, run_python: Callable[[str], str]) -> None:
    other = {"worker_dispatcher.report": "worker_dispatcher.reports.tps"}.get(first, "worker_dispatcher.report")
    lines = {
        "worker_dispatcher.report": "worker_dispatcher.report([])",
        "worker_dispatcher.reports.tps": "from worker_dispatcher.reports.tps import get_tps",
    }
    script = f"import worker_dispatcher\n{lines[first]}\n{lines[other]}\n{lines[first]}\n"
    assert run_python(script + "print(callable(worker_dispatcher.report), get_tps([])['tps'])") == "True 0\n"


def test_times_count_from_the_first_due_time() -> None:
    assert RunData(MIXED).began == min(one["scheduled_at"] for one in MIXED)
    assert RunData(ONE).began == BEGAN


def test_dropped_tasks_were_offered_and_survive_a_file(tmp_path: Path) -> None:
    logs = [due(log(n, n / 10, 0.05), n / 10) for n in range(50)]
    dropped = [{"task_id": 100 + n, "scheduled_at": BEGAN + 2 + n / 10, "phase": "main"} for n in range(10)]
    info = {"counts": {"ok": 50, "dropped": 10}, "stopped": "error_rate>50%: seen <b>"}
    first = Report(ReportData(RunData(logs, info, {}, dropped)))
    again = report(first.to_jsonl(tmp_path / "run.jsonl"))
    for made in (first, again):
        assert made.check("dropped==10")
        assert "stopped early: error_rate>50%" in made.text()
        rates = figures_of(ReportData(made.run))[0]
        assert sum(rates.data[-1]["y"][:-1]) * rates.data[0]["width"] == pytest.approx(60)
    assert again.as_data() == first.as_data()


def test_a_run_of_a_few_tasks_shows_each_as_a_bar() -> None:
    workers = figures_of(ReportData(RunData([log(n, n % 7, 0.5, worker=n % 3) for n in range(30)])))[-1]
    assert [(trace["type"], len(trace["x"])) for trace in workers.data] == [("bar", 30)]
    assert workers.layout["yaxis"]["categoryarray"] == ["0", "1", "2"]


def test_warm_up_is_named_and_left_out() -> None:
    logs = [due(log(n, n / 10, 5.0 if n < 10 else 0.05), n / 10) for n in range(40)]
    logs = [one | {"phase": "warmup" if number < 10 else "main"} for number, one in enumerate(logs)]
    made = report(logs)
    assert "phases: warmup 10, main 30" in made.text()
    assert made.run.counts == {"ok": 40}
    if len(made.rows) == 30:  # Rows leaves the warm-up out
        assert made.check("p99<100ms")
