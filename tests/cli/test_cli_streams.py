"""The command where its output is full, closed, or read by nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
COMMANDS = {
    "run": ["run", "orders:whoami", "--list", "3"],
    "load": ["load", "orders:whoami", "--rate", "20", "--duration", "0.2"],
    "report": ["report", "run.jsonl"],
    "compare": ["compare", "run.jsonl", "run.jsonl"],
    "options": ["options"],
    "doctor": ["doctor"],
    "help": ["--help"],
    "help of a command": ["run", "--help"],
    "version": ["--version"],
}
each_command = pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
LINE = {"task_id": 1, "started_at": 1.0, "ended_at": 2.0, "duration": 1.0, "result": 1, "status": "ok"}
CHATTY = "def tell(id):\n    for _ in range(50):\n        print('x' * 100)\n    return id\n"


def shell(folder: Path, command: list[str], more: str) -> subprocess.CompletedProcess[str]:
    """The command in a shell, with redirections."""
    (folder / "run.jsonl").write_text(str(LINE).replace("'", '"') + "\n")
    words = " ".join([sys.executable, "-m", "worker_dispatcher", *command])
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {words} {more}"], text=True, capture_output=True, timeout=60, check=False
    )


@pytest.mark.each_value
@each_command
@pytest.mark.parametrize(
    ("to", "why"), [("> /dev/full", "No space left on device"), (">&-", "it is closed")], ids=["full", "closed"]
)
def test_an_output_that_takes_nothing_is_one_line_and_2(folder: Path, command: list[str], to: str, why: str) -> None:
    ended = shell(folder, command, to)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].endswith(f": not all could be printed, standard output: {why}")
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


@pytest.mark.each_value
@each_command
@pytest.mark.parametrize("to", [">&- 2>&-", "> /dev/full 2> /dev/full", "<&- >&- 2>&-"])
def test_it_is_2_too_where_nobody_hears_why(folder: Path, command: list[str], to: str) -> None:
    assert shell(folder, command, to).returncode == 2


def test_what_was_asked_for_is_written_all_the_same(folder: Path, logs: Call) -> None:
    assert shell(folder, [*COMMANDS["run"], "--log", "out.jsonl"], ">&-").returncode == 2
    assert len(logs("out.jsonl")) == 3


def test_what_prints_nothing_needs_no_output(folder: Path) -> None:
    ended = shell(folder, [*COMMANDS["run"], "--quiet"], ">&-")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("shape", [["--workers", "2"], ["--processes", "--workers", "2"], ["--grid", "2x2"]])
def test_tasks_that_print_to_a_reader_that_has_gone_do_not_fail(folder: Path, logs: Call, shape: list[str]) -> None:
    (folder / "chat.py").write_text(CHATTY)
    ended = shell(folder, ["run", "chat:tell", "--list", "200", "--log", "out.jsonl", *shape], "| head -3 > /dev/null")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert {log["status"] for log in logs("out.jsonl")} == {"ok"}


def test_tasks_in_threads_that_print_to_a_full_output_do_not_fail(folder: Path, logs: Call) -> None:
    (folder / "chat.py").write_text(CHATTY)
    ended = shell(folder, ["run", "chat:tell", "--list", "20", "--log", "out.jsonl", "--quiet"], "> /dev/full")
    assert ended.returncode == 2
    assert {log["status"] for log in logs("out.jsonl")} == {"ok"}


def test_a_command_without_a_terminal_runs_on(folder: Path) -> None:
    ended = shell(folder, ["--version"], "> out.txt")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (folder / "out.txt").read_text().startswith("worker-dispatcher ")


def test_the_command_under_nohup_writes_to_its_file(folder: Path) -> None:
    command = ["nohup", sys.executable, "-m", "worker_dispatcher", "options"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    assert "worker.number" in ended.stdout


def test_a_file_that_is_opened_does_not_become_the_output_that_was_closed(folder: Path, logs: Call) -> None:
    (folder / "chat.py").write_text(CHATTY)
    shell(folder, ["run", "chat:tell", "--list", "9", "--processes", "--log", "out.jsonl"], ">&- 2>&-")
    assert len(logs("out.jsonl")) == 9
    assert os.path.getsize(folder / "out.jsonl") < 9 * 2000
