"""A report of a run that goes on says so, and how many of how many tasks have ended."""

from __future__ import annotations

import html
import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from worker_dispatcher import Run, get_result_info, launch, report

STILL = "still running when this was read; the numbers are of the tasks that had ended"
LONGEST_WAIT = 30.0


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def run_of(gate: threading.Event, tasks: Any) -> Run:
    """A run of which three tasks have ended, while the fourth waits at the gate."""

    def work(id: int) -> bool:
        return id <= 3 or gate.wait(LONGEST_WAIT)

    run = launch({"task": {"list": tasks, "function": work}, "worker": {"number": 1}, "verbose": False})
    for _ in itertools.islice(run, 3):
        pass
    return run


def said_everywhere(run: Run, folder: Path) -> list[str]:
    """What each output says: text, page, notebook, document, workbook, picture, and the text of a log read again."""
    made = report(run)
    page = html.unescape(made.to_html(folder / "run.html").read_text())
    data = json.dumps(json.loads(made.to_json(folder / "run.json").read_text()))
    sheet = openpyxl.load_workbook(made.to_xlsx(folder / "run.xlsx"))["Report"]
    cells = "\n".join(str(cell) for row in sheet.iter_rows(values_only=True) for cell in row)
    drawn = made.to_png(folder / "run.png").read_bytes()
    assert drawn.startswith(b"\x89PNG")
    again = report(made.to_jsonl(folder / "run.jsonl")).text(columns=80)
    texts = [made.text(columns=80), page, html.unescape(made._repr_html_()), data, cells, again]
    return [" ".join(text.split()).lower() for text in texts]


def test_a_report_of_a_run_that_goes_on_says_so_in_every_output(gate: threading.Event, tmp_path: Path) -> None:
    run = run_of(gate, 400)
    said = said_everywhere(run, tmp_path)
    assert [text.count(STILL) for text in said] == [1] * len(said)
    text, page, notebook, data, _, again = said
    assert text.startswith("3 of 400 tasks in")
    assert again.startswith("3 of 400 tasks in")
    assert "3 of 400" in page
    assert "3 of 400" in notebook
    assert '"total": 400' in data
    run.cancel()
    gate.set()
    run.wait(LONGEST_WAIT)
    said = said_everywhere(run, tmp_path)
    assert [text.count("still running") + text.count("of 400 tasks") for text in said] == [0] * len(said)
    assert not {"running", "total"} & run.info.keys()


def test_of_a_list_without_a_length_it_says_only_that_the_run_goes_on(gate: threading.Event) -> None:
    run = run_of(gate, (number for number in range(400)))
    text = report(run).text(columns=80)
    assert text.startswith("3 tasks in")
    assert "still running" in text
    assert run.info["running"] is True
    run.cancel()
    gate.set()
    run.wait(LONGEST_WAIT)
    assert "running" not in get_result_info()
