"""How far a map or a group of a WorkerPool is, as a person sees it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from terminal import Terminal

SCRIPT = """
import os, sys, time
from worker_dispatcher import WorkerPool

def task_of(task):
    while task > 6 and not os.path.exists("gate"):
        time.sleep(0.005)
    if task == 5:
        raise ValueError("no such order")
    return task

with WorkerPool(8, kind={kind!r}) as pool:
    {how}
print("after it")
"""
GROUP = """
    with pool.group(progress=True) as group:
        group.map(task_of, range(1, 11))
"""
MAP = """
    for result in pool.map(task_of, [*range(1, 5), *range(6, 12)], progress=True):
        pass
"""


@pytest.mark.parametrize("kind", ["thread", "process"])
@pytest.mark.parametrize(("how", "ends"), [(GROUP, "ok 5  failed 1"), (MAP, "ok 5")])
def test_a_bar_shows_how_many_tasks_have_ended(tmp_path: Path, kind: str, how: str, ends: str) -> None:
    with Terminal(tmp_path, SCRIPT.format(kind=kind, how=how.strip())) as terminal:
        done = 6 if "failed" in ends else 5
        row = terminal.until_row(f"{done}/10")
        (tmp_path / "gate").touch()
        assert terminal.end() == 0
    assert re.fullmatch(rf" {done}0%\|█+.* +\| {done}/10  [\d.]+/s  0:0\d left  {ends}", row)
    assert terminal.screen.margins is None
    assert not terminal.last_row
    last = next(at for at, row in enumerate(terminal.page) if row.startswith("10/10"))
    assert terminal.page.index("after it") > last


def test_what_is_over_soon_or_did_not_ask_for_it_has_no_bar(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    how = "list(pool.map(task_of, [1, 2], progress=True))\n    [pool.submit(time.sleep, 0.8).result()]"
    with Terminal(tmp_path, SCRIPT.format(kind="thread", how=how)) as terminal:
        assert terminal.end() == 0
    assert [row for row in terminal.page if row] == ["after it"]
