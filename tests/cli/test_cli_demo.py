"""`demo`: a short one, with the extra for pages and without."""

from __future__ import annotations

import os
import signal
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker_dispatcher.cli import demo
from worker_dispatcher.reports.outputs import extras

Call = Callable[..., Any]
LIBRARY = sysconfig.get_path("stdlib")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_SECONDS", 0.5)
    files = demo._files_of
    monkeypatch.setattr(demo, "_files_of", lambda library: list(files(library / "json")))


def test_both_parts_end_well_and_leave_their_pages(call: Call, folder: Path) -> None:
    said = call("demo", "--to", "reports")
    assert (said.code, said.err) == (0, "")
    assert "digests are the same in both" in said.out
    assert "50 tasks in " in said.out
    assert sorted(path.name for path in (folder / "reports").iterdir()) == ["batch.html", "load.html"]
    assert max(len(line) for line in said.out.splitlines() if LIBRARY not in line) < 80


def test_without_the_extra_there_is_text_and_csv(call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(extras, "import_module", missing)
    said = call("demo", "--to", "reports")
    assert said.code == 0
    assert max(len(line) for line in said.out.splitlines() if LIBRARY not in line) < 80
    assert "pip install 'worker-dispatcher[report]'" in said.out
    names = ["batch.csv", "batch.txt", "load.csv", "load.txt"]
    assert sorted(path.name for path in (folder / "reports").iterdir()) == names
    assert "from due time" in (folder / "reports" / "load.txt").read_text()


@pytest.mark.parametrize(
    ("during", "told", "left"),
    [
        ("examine", "before its first report", []),
        ("visit", "the report of the batch is in reports", ["batch.html"]),
    ],
)
def test_ctrl_c_says_what_there_is_and_ends_with_130(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch, during: str, told: str, left: list[str]
) -> None:
    once = iter([signal.SIGINT])
    monkeypatch.setattr(demo, during, lambda task: [os.kill(os.getpid(), number) for number in once])
    said = call("demo", "--to", "reports")
    assert (said.code, said.err) == (130, f"worker-dispatcher demo: interrupted: {told}\n")
    assert sorted(path.name for path in (folder / "reports").iterdir()) == left


def test_a_folder_that_cannot_be_made_is_told(call: Call, folder: Path) -> None:
    (folder / "taken").touch()
    assert call("demo", "--to", "taken/reports") == (
        2,
        "",
        "worker-dispatcher demo: --to taken/reports: Not a directory\n",
    )
