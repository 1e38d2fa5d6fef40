"""The live line of a load: what it says at the end, and how wide it is when it stays."""

from __future__ import annotations

import re

import pytest
from terminal import Terminal

# Sixty a second for two seconds, and answers that keep the run going for a while after the last of them was due.
LOAD = """
import itertools, time, worker_dispatcher

def visit(task):
    time.sleep(1.5)
    return True

mode = {{"enabled": True, **{mode}}}
task = {{"list": {tasks}, "function": visit}}
config = {{"task": task, "worker": {{"frequency_mode": mode}}, "progress": True, "verbose": False}}
if __name__ == "__main__":
    worker_dispatcher.start(config)
"""
PLANS = {
    "duration": ("None", '{"rate": 60, "duration": 2}'),
    "list": ("120", '{"rate": 60}'),
    "list, workers too few": ("120", '{"rate": 60, "max_workers": 60}'),
    "trace": ("120", '{"pacing": [n / 60 for n in range(120)]}'),
    "generator": ("iter(range(120))", '{"rate": 60}'),
    "stages": ("None", '{"stages": [{"duration": 2, "rate": 60, "step": True}]}'),
    "bursts": ("120", '{"rate": 60, "pacing": "burst", "interval": 0.5}'),
}
ACHIEVED = r"[\d.]+ of ([\d.]+)/s"


@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
def test_the_rate_asked_is_right_to_the_end(tmp_path, plan):
    code = LOAD.format(tasks=plan[0], mode=plan[1])
    with Terminal(tmp_path, code, columns=120) as terminal:
        assert terminal.end() == 0

    live = [found for rows in terminal.seen for found in re.findall(ACHIEVED, rows[-1])]
    (kept,) = [found for row in terminal.page for found in re.findall(ACHIEVED, row)]
    assert len(live) > 3
    assert 54 <= float(kept) <= 72  # bursts are told as they come
    assert 54 <= float(live[-1]) <= 72


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_the_line_that_stays_is_one_row(tmp_path, columns):
    code = LOAD.format(tasks="None", mode='{"rate": 60, "duration": 1}')
    with Terminal(tmp_path, code, columns=columns) as terminal:
        assert terminal.end() == 0

    rows = [row for row in terminal.page if row]
    assert len(rows) == 1
    assert len(rows[0]) < columns
    assert re.search(ACHIEVED, rows[0])


@pytest.mark.parametrize("columns", [40, 80])
def test_the_command_leaves_no_live_line_before_its_summary(tmp_path, columns):
    (tmp_path / "visits.py").write_text("import time\ndef visit(id):\n    time.sleep(1)\n    return True\n")
    code = """
import sys
from worker_dispatcher.cli import main
sys.exit(main(["load", "visits.py:visit", "--rate", "60", "--duration", "1"]))
"""
    with Terminal(tmp_path, code, columns=columns) as terminal:
        assert terminal.end() == 0

    assert any(re.search(ACHIEVED, rows[-1]) for rows in terminal.seen)
    assert not any(re.search(ACHIEVED, row) for row in terminal.page)
    assert any(row.startswith("latency") for row in terminal.page)
    assert any(row.startswith("succeeded") for row in terminal.page)
    assert terminal.screen.margins is None
