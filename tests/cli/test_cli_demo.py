"""`demo`: a short one, with the extra for pages and without."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker_dispatcher.cli.commands import demo
from worker_dispatcher.reports import outputs

Call = Callable[..., Any]
SHORT = (
    "import sys; from worker_dispatcher.cli import main; from worker_dispatcher.cli.commands import demo; "
    "demo._SECONDS, demo._BELOW = 0.3, 9; "
)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_SECONDS", 0.5)
    monkeypatch.setattr(demo, "_BELOW", 5_000)


def test_both_parts_end_well_and_leave_their_pages(call: Call, folder: Path) -> None:
    said = call("demo", "--to", "reports")
    assert (said.code, said.err) == (0, "")
    assert "both found 3,711, with 237 steps" in said.out
    assert "50 tasks in " in said.out
    assert sorted(path.name for path in (folder / "reports").iterdir()) == ["batch.html", "load.html"]
    assert max(len(line) for line in said.out.splitlines()) < 80


def test_without_the_extra_there_is_text_and_csv(call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(outputs, "import_module", missing)
    said = call("demo", "--to", "reports")
    assert said.code == 0
    assert max(len(line) for line in said.out.splitlines()) < 80
    assert "pip install 'worker-dispatcher[report]'" in said.out
    names = ["batch.csv", "batch.txt", "load.csv", "load.txt"]
    assert sorted(path.name for path in (folder / "reports").iterdir()) == names
    assert "from due time" in (folder / "reports" / "load.txt").read_text()


@pytest.mark.parametrize(
    ("during", "told", "left"),
    [
        ("longest_chain", "before its first report", []),
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


def test_the_batch_keeps_pythons_lock_so_that_it_shows_what_processes_are_for() -> None:
    ticks, over = [], threading.Event()

    def tick() -> None:
        while not over.is_set():
            ticks.append(1)
            time.sleep(0)  # gives the lock back, and asks for it again

    other, interval = threading.Thread(target=tick), sys.getswitchinterval()
    other.start()
    try:
        sys.setswitchinterval(100)  # from now on nobody loses the lock who does not give it back
        while not ticks:
            time.sleep(0.001)
        time.sleep(0.05)
        before = len(ticks)
        found = demo.longest_chain(range(1, 5_000))
        after = len(ticks)
    finally:
        sys.setswitchinterval(interval)
        over.set()
        other.join()
    assert (found, after) == (demo.Chain(3_711, 237), before)


def test_each_time_says_how_much_of_it_was_starting_workers(call: Call, folder: Path) -> None:
    took = r"\d+(\.\d+)? (us|ms|s)"
    said = call("demo", "--to", "reports").out
    lines = re.findall(
        rf"^   in (threads|processes) +\d+\.\d\d s \({took} until workers began\)   \d workers", said, re.M
    )
    assert [line[0] for line in lines] == ["threads", "processes"]


@pytest.mark.parametrize(
    ("to", "why"), [("> /dev/full", "No space left on device"), (">&-", "it is closed")], ids=["full", "closed"]
)
def test_an_output_that_takes_nothing_is_one_line_and_2(folder: Path, to: str, why: str) -> None:
    words = f'{sys.executable} -c \'{SHORT} sys.exit(main(["demo", "--to", "reports"]))\' {to}'
    ended = subprocess.run(["bash", "-c", words], text=True, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (
        2,
        f"worker-dispatcher demo: not all could be printed, standard output: {why}\n",
    )
    assert len(list((folder / "reports").iterdir())) >= 2
