"""A report as text in terminals of several widths."""

from __future__ import annotations

import re
from typing import Any

import pytest
from made_logs import MIXED, failed, log

from worker_dispatcher import report
from worker_dispatcher.reports.report import make_report
from worker_dispatcher.reports.run_data import RunData

DUE = {"queue_delay": 0.25, "response_time": 1.25}
LOAD = [*(log(n, n / 2, 1.0, **DUE) for n in range(1, 900)), failed(900, 450.0, 1.0, "gone " * 30, **DUE)]
OF_A_PHASE = [*LOAD, log(901, 451.0, 0.1, phase="warmup", **DUE)]
STOPPED = RunData(LOAD, {"stopped": "error_rate>50% over the last hundred tasks that had ended by then"})


@pytest.fixture(params=[40, 60, 79, 80])
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


@pytest.mark.each_value
@pytest.mark.parametrize("source", [LOAD, MIXED, OF_A_PHASE, STOPPED], ids=["load", "mixed", "phases", "stopped"])
def test_no_line_is_longer_than_the_terminal_is_wide(source: Any, columns: int) -> None:
    made = make_report(source, checks=["p99<300ms", "peak_rate(2s)>1000", "execution.p99.9<1us"])
    text = made.text()
    lines = text.splitlines()
    if columns == 80:  # as ever: what tasks said may be longer
        lines = [line for line in lines if "gone gone" not in line]
    assert max(map(len, lines)) < columns, text
    assert made.text(columns=columns) == text == str(made) == repr(made)


@pytest.mark.parametrize("source", [LOAD, MIXED], ids=["load", "batch"])
def test_a_narrow_terminal_has_the_same_words_and_numbers(source: Any) -> None:
    made = report(source, verbose=False)
    wide, narrow = (
        sorted(re.findall(r"[^\s▁-█]+", made.text(columns=columns).partition("ended per")[0])) for columns in (80, 40)
    )
    assert narrow == wide
    failures = [made.text(columns=columns).partition("failures")[2].split() for columns in (80, 40)]
    assert failures[0] == failures[1]


def test_a_latency_table_that_is_too_wide_is_turned() -> None:
    rows = make_report(LOAD).text(columns=40).splitlines()
    at = rows.index("latency      from  from due waited to")
    assert rows[at + 1 : at + 3] == [
        "            start      time     start",
        "p50        1.00 s    1.25 s    250 ms",
    ]
    assert rows[at + 8].split() == ["max", "1.00", "s", "1.25", "s", "250", "ms"]
    batch = make_report([log(n, n / 2, 1.0) for n in range(9)]).text(columns=40).splitlines()
    assert "latency     from" in batch


def test_a_wide_terminal_gets_the_lines_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_report(LOAD)
    assert made.text(columns=200) == made.text(columns=80)
    monkeypatch.setenv("COLUMNS", "200")
    assert made.text() == made.text(columns=80)


@pytest.mark.parametrize("columns", [1, 20, 39])
def test_terminals_that_are_too_narrow_get_the_lines_of_40(columns: int) -> None:
    made = make_report(LOAD)
    assert made.text(columns=columns) == made.text(columns=40)
