"""The words of a report: one and many, and names that a phone breaks between their parts."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_logs import MIXED, ONE, failed, log

from worker_dispatcher import report
from worker_dispatcher.reports.outputs.figures import figures_of
from worker_dispatcher.reports.outputs.page import page_text
from worker_dispatcher.reports.report_data import ReportData
from worker_dispatcher.reports.run_data import RunData
from worker_dispatcher.units import counted


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((0, "task"), "0 tasks"),
        ((1, "task"), "1 task"),
        ((2000, "task"), "2,000 tasks"),
        ((1, "task", 2), "1 of 2 tasks"),
        ((1, "task", 1), "1 of 1 task"),
    ],
)
def test_one_is_no_many(given: tuple[int, str], said: str) -> None:
    assert counted(*given) == said


def test_a_report_of_one_task_has_one_task_and_one_log() -> None:
    assert report(ONE).text().startswith("1 task in ")
    assert "from 1 log." in page_text(ReportData(RunData(ONE)))


def test_a_line_in_a_notebook_is_one_of_a_cell_and_not_of_a_file_that_nobody_knows() -> None:
    frames = '  File "/tmp/ipykernel_5960/1950593893.py", line 2, in work\n'
    error = {"type": "ValueError", "message": "7", "traceback": f"Traceback (most recent call last):\n{frames}"}
    text = report([failed(1, 0.0, 1.0, error=error)]).text()
    assert "ValueError  cell:2  7" in text


def test_a_page_breaks_a_name_between_its_parts_alone(tmp_path: Path) -> None:
    error = {"type": "ValueError", "message": "a </td> ValueError", "traceback": ""}
    logs = [log(1, 0.0, 1.0), failed(2, 0.0, 1.0), log(3, 0.0, 1.0, status="error", error=error)]
    logs += [failed(4, 0.0, 1.0, error=error | {"type": "requests.exceptions.Read<b>Timeout"})]
    page = report(logs).to_html(tmp_path / "run.html").read_text().partition("<script")[0]
    assert ">Value<wbr>Error</td>" in page
    assert ">requests.<wbr>exceptions.<wbr>Read&lt;b&gt;Timeout</td>" in page
    assert "orders.py:12" in page
    assert "a &lt;/td&gt; ValueError" in page
    phone = page.partition("max-width: 560px")[2].partition("@media")[0]
    assert "td.word" in phone
    assert "anywhere" not in phone


def test_a_scale_is_called_logarithmic() -> None:
    notes = {figure.name: figure.note for figure in figures_of(ReportData(RunData(MIXED)))}
    assert notes["spread"].endswith("logarithmic scale")
    assert "the peak of successes" in notes["rates"]
