"""A million tasks make a page that a browser opens at once, in seconds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from made_logs import many

from worker_dispatcher import report

MOST_BYTES = 10_000_000
MOST_SECONDS = 20.0  # on a machine that does other things as well


def test_two_hundred_thousand_tasks_make_a_small_page(tmp_path: Path) -> None:
    page = report(many(200_000, share_failed=0.5)).to_html(tmp_path / "run.html")
    assert page.stat().st_size < MOST_BYTES


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("share_failed", [0.01, 1.0])
def test_a_million_tasks_make_a_small_page_in_seconds(share_failed: float, tmp_path: Path) -> None:
    logs = many(1_000_000, share_failed=share_failed)
    began = time.monotonic()
    made = report(logs)
    page = made.to_html(tmp_path / "run.html")
    made.to_png(tmp_path / "run.png")
    assert made.text()
    assert time.monotonic() - began < MOST_SECONDS
    assert page.stat().st_size < MOST_BYTES


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_million_tasks_fit_into_a_workbook_and_a_table(tmp_path: Path) -> None:
    made = report(many(1_000_000))
    assert made.to_xlsx(tmp_path / "run.xlsx").stat().st_size > 10_000_000
    with made.to_csv(tmp_path / "run.csv").open(newline="") as file:
        assert sum(1 for _ in file) == 1_000_001
