"""One run in which everything happens, read from every output: the same numbers under the same words in each."""

from __future__ import annotations

import csv
import html
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pytest
from mixed_visits import visit

import worker_dispatcher as wd
from worker_dispatcher import Report
from worker_dispatcher.units import seconds_text

WORKERS, TRIES = 3, 5
OUTCOMES = ["succeeded", "no success", "error", "timeout", "crashed", "cancelled", "not_run", "dropped"]


@pytest.fixture(scope="module")
def run() -> wd.Run:
    """Tasks 7 to 9 keep all workers busy, so that others are dropped; it is cancelled then, before the last is due."""
    offsets = [0, 0.4, 0.8, 1.2, 1.6, 2.0, 3.6, 3.8, 4.0, *[4.4] * 10, 600]
    mode = {"enabled": True, "pacing": offsets, "max_workers": WORKERS, "on_saturation": "drop"}
    config = {
        "task": {"list": len(offsets), "function": visit, "timeout": 1.2},
        "worker": {"use_processing": True, "frequency_mode": mode},
        "verbose": False,
    }
    for _ in range(TRIES):  # a busy machine may drop what was to fail, or not come to cancel in time
        made = wd.launch(config)
        until = time.monotonic() + 20
        while made.info["counts"]["dropped"] < 10 and time.monotonic() < until:
            time.sleep(0.02)
        made.cancel()
        made.wait(20)
        if list(wd.report(made, verbose=False).run.outcomes) == OUTCOMES:
            return made
    pytest.fail(f"{made.info['counts']} in {TRIES} runs")


@pytest.fixture(scope="module")
def made(run: wd.Run) -> Report:
    return wd.report(run, checks=["failed==0", "error_rate<1%"], verbose=False)


@pytest.fixture(scope="module")
def outcomes(run: wd.Run) -> dict[str, int]:
    """Counted by hand."""
    found = Counter(log["status"] for log in run.logs)
    without = sum(log["status"] == "ok" and log["result"] is False for log in run.logs)
    counts = {"succeeded": found["ok"] - without, "no success": without}
    counts |= {name: found[name] for name in OUTCOMES[2:6]}
    return counts | {"not_run": len(run.info["not_run"]), "dropped": len(run.dropped)}


@pytest.fixture(scope="module")
def failed(outcomes: dict[str, int]) -> int:
    """What ran, and was no success."""
    return sum(outcomes[name] for name in OUTCOMES[1:6])


@pytest.fixture(scope="module")
def causes(run: wd.Run) -> Counter[str]:
    """How many tasks that ran failed of what, counted by hand."""
    logs = [log for log in run.logs if log["status"] != "ok" or log["result"] is False]
    return Counter(log["error"]["type"] if log["error"] else "returned False" for log in logs)


def tables(page: str) -> Iterator[list[list[str]]]:
    for table in re.findall(r"<table>(.*?)</table>", page, re.DOTALL):
        rows = re.findall(r"<tr[^>]*>(.*?)</tr>", table, re.DOTALL)
        yield [
            [html.unescape(re.sub("<[^>]+>", "", cell)) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
            for row in rows
        ]


def section(page: str, title: str) -> list[list[str]]:
    return next(tables(page[page.index(f"<h2>{title}</h2>") :]))


def test_the_run_has_all_that_may_become_of_a_task(outcomes: dict[str, int]) -> None:
    assert min(outcomes.values()) > 0
    assert sum(outcomes.values()) == 20


def test_text_says_so(made: Report, outcomes: dict[str, int], failed: int, causes: Counter[str], run: wd.Run) -> None:
    text = made.text(columns=80)
    told = {name: int(count) for name, count in re.findall(r"^([a-z_ ]+?) +(\d+) +[<>\d. ]+%$", text, re.MULTILINE)}
    assert told == outcomes
    assert text.split("\n\n")[1].startswith("20 tasks in ")
    assert f"FAIL  failed==0   observed {failed}" in text
    groups = re.findall(r"^ +(\d+)  ([A-Z]\w+|returned False)  ", text.partition("failures")[2], re.MULTILINE)
    assert {kind: int(count) for count, kind in groups} == causes


def test_the_page_says_so(
    made: Report, outcomes: dict[str, int], failed: int, causes: Counter[str], tmp_path: Path
) -> None:
    page = made.to_html(tmp_path / "run.html").read_text().partition("<script")[0]
    assert {name: int(count) for name, count, _ in section(page, "Outcomes")[1:]} == outcomes
    cards = dict(re.findall(r'<span class="quiet">(\w+)</span><b>([^<]*)</b>', page))
    assert (cards["Tasks"], cards["Succeeded"], cards["Failed"]) == ("20", str(outcomes["succeeded"]), str(failed))
    assert {row[1]: int(row[0]) for row in section(page, "Failures")[1:]} == causes
    assert section(page, "Checks")[1] == ["FAILS", "failed==0", str(failed)]


def test_the_workbook_says_so(
    made: Report, outcomes: dict[str, int], failed: int, causes: Counter[str], tmp_path: Path
) -> None:
    book = openpyxl.load_workbook(made.to_xlsx(tmp_path / "run.xlsx"))
    rows = [[cell for cell in row if cell is not None] for row in book["Report"].iter_rows(values_only=True)]
    at = rows.index(["Outcomes"])
    assert dict(rows[at + 1 : at + 1 + len(outcomes)]) == outcomes
    assert ["Tasks", sum(outcomes.values()) - outcomes["not_run"] - outcomes["dropped"]] in rows
    assert ["Successes", outcomes["succeeded"]] in rows
    assert ["failed==0", "FAILS", failed] in rows
    found = rows[rows.index(["Failures"]) + 1 :]
    assert {row[0]: next(cell for cell in row if isinstance(cell, int)) for row in found} == causes
    head, *logs = book["Raw Logs"].iter_rows(values_only=True)
    success = head.index("Success")
    assert Counter(row[success] for row in logs) == {True: outcomes["succeeded"], False: failed}


def test_csv_json_and_lines_say_so(
    made: Report, outcomes: dict[str, int], failed: int, causes: Counter[str], tmp_path: Path
) -> None:
    with made.to_csv(tmp_path / "run.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["success"] for row in rows) == {"True": outcomes["succeeded"], "False": failed}
    assert Counter(row["error_type"] for row in rows if row["error_type"]) == causes
    data = json.loads(made.to_json(tmp_path / "run.json").read_text())
    assert data["outcomes"] == outcomes
    assert data["tps"]["count"]["total"] - data["tps"]["count"]["success"] == failed
    assert {group["type"]: group["count"] for group in data["failures"]} == causes
    assert [check["observed"] for check in data["checks"]] == [failed, pytest.approx(failed / len(rows))]
    again = wd.report(made.to_jsonl(tmp_path / "run.jsonl"), checks=["failed==0", "error_rate<1%"], verbose=False)
    assert again.text() == made.text()
    assert again.as_data() | {"config": {}, "machine": {}} == data | {"config": {}, "machine": {}}


def test_a_notebook_says_so(made: Report, outcomes: dict[str, int], failed: int, causes: Counter[str]) -> None:
    heads, _, groups = tables(made._repr_html_())
    cards = dict(zip(*heads, strict=True))
    assert (cards["Tasks"], cards["Succeeded"], cards["Failed"]) == ("20", str(outcomes["succeeded"]), str(failed))
    assert {row[1]: int(row[0]) for row in groups[1:]}.items() <= causes.items()


def test_times_are_the_same_everywhere(made: Report, tmp_path: Path) -> None:
    data = json.loads(made.to_json(tmp_path / "run.json").read_text())["latencies"]
    shown = {of: [seconds_text(value) for value in values.values()] for of, values in data.items()}
    lines = made.text(columns=80).splitlines()
    for of, values in shown.items():
        assert re.split(" {2,}", next(line for line in lines if line.startswith(of)))[1:] == values
    _, of_notebook, _ = tables(made._repr_html_())
    assert {row[0]: row[1:] for row in of_notebook[1:]} == shown
    of_page = section(made.to_html(tmp_path / "run.html").read_text(), "Latency")
    assert {of: list(column) for of, *column in list(zip(*of_page, strict=True))[1:]} == shown
    book = openpyxl.load_workbook(made.to_xlsx(tmp_path / "run.xlsx"))
    cells = {row[0]: row[1:8] for row in book["Report"].iter_rows(values_only=True) if row[0] in data}
    assert cells == {of: pytest.approx(tuple(values.values())) for of, values in data.items()}
