"""The command in a folder of its own, in this process or as a program."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from worker_dispatcher.cli import main

ORDERS = """
import os, pathlib, time

def fetch(task, metadata):
    pathlib.Path("begun").touch()
    if task == "bad":
        raise ValueError("no such order")
    metadata["length"] = len(task)
    return [task, os.getpid()]

def nap(task):
    pathlib.Path(f"running-{task}").touch()
    if task.startswith("quick") or pathlib.Path("go").exists():
        return task
    time.sleep(600)

def whoami(id):
    return [id, os.getpid()]

async def visit(id):
    return 1

class Shop:
    @staticmethod
    def close(task):
        return task

NUMBER = 3
"""


class Said(NamedTuple):
    """code: the exit code; out, err: what was said."""

    code: int
    out: str
    err: str


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a module `orders`. What is imported from it is forgotten."""
    (tmp_path / "orders.py").write_text(ORDERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def call(folder: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """call("run", "orders:fetch", ...): the command in this process."""

    def called(*arguments: str) -> Said:
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = ended.code
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return called


@pytest.fixture
def program(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """program("run", ...): the command as a program in a process group of its own; ended after the test."""
    started = []

    def begin(*arguments: str, **options: Any) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        command = [sys.executable, "-m", "worker_dispatcher", *arguments]
        started.append(subprocess.Popen(command, text=True, start_new_session=True, **pipes))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def logs(folder: Path) -> Callable[[str], list[dict[str, Any]]]:
    """logs("run.jsonl"): the logs in a file that --log wrote."""

    def read(path: str) -> list[dict[str, Any]]:
        entries = [json.loads(line) for line in (folder / path).read_text().splitlines()]
        return [entry for entry in entries if "task_id" in entry]

    return read
