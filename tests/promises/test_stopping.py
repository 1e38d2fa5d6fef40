"""How a run ends when its parent is killed, or somebody presses Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

SHAPES = {
    "threads": "{'number': 4}",
    "processes": "{'number': 4, 'use_processing': True}",
    "grid": "{'number': 4, 'parallel_processing': {'enabled': True, 'processes': 2}}",
}
BUSY = {
    "asleep": "time.sleep(600)",
    "in Python": "\n    while True: pass",
    "in C": "sum(itertools.repeat(0))",
}
SCRIPT = """
import itertools, os, pathlib, sys, time
import worker_dispatcher

folder = pathlib.Path(sys.argv[1])

def work(task):
    if task < 3:
        return task
    (folder / f"running-{{task}}-{{os.getpid()}}").touch()
    {busy}

try:
    worker_dispatcher.start({{"task": {{"list": {tasks}, "function": work}}, "worker": {shape}, "verbose": False}})
except KeyboardInterrupt:
    logs = worker_dispatcher.get_logs()
    counts = worker_dispatcher.get_result_info()["counts"]
    again = worker_dispatcher.start({{"task": {{"list": [0, 1, 2], "function": work}}, "worker": {shape}}})
    print("interrupted", [log["status"] for log in logs], counts["cancelled"], counts["not_run"], again, flush=True)
"""


def begin(folder: Path, shape: str, busy: str, tasks: str = "list(range(20))") -> subprocess.Popen[str]:
    """A script that runs three instant tasks and then endless ones; returns once four of these run."""
    text = textwrap.dedent(SCRIPT).format(shape=SHAPES[shape], busy=busy, tasks=tasks)
    script = folder / "script.py"
    script.write_text(text)
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    await_fact(lambda: len(list(folder.glob("running-*"))) >= 4, 20)
    return process


def await_fact(fact: object, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not fact():  # type: ignore[operator]
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.01)


def workers_of(folder: Path) -> list[psutil.Process]:
    found = []
    for mark in folder.glob("running-*"):
        try:
            found.append(psutil.Process(int(mark.name.split("-")[2])))
        except psutil.NoSuchProcess:
            pass
    return found


@pytest.fixture
def ended() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are ended after the test, whatever it found."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("busy", BUSY)
@pytest.mark.parametrize("shape", ["processes", "grid"])
def test_no_worker_outlives_its_parent(
    tmp_path: Path, ended: list[subprocess.Popen[str]], shape: str, busy: str, sign: int
) -> None:
    if shape == "grid" and busy == "in C":
        pytest.skip("one C call holds the process's interpreter lock, so four such tasks never run at once")
    process = begin(tmp_path, shape, BUSY[busy])
    ended.append(process)
    workers = workers_of(tmp_path)
    servers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.send_signal(sign)
    process.wait(5)
    _, alive = psutil.wait_procs(workers + servers, timeout=5)
    assert not [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("presses", [1, 10])
@pytest.mark.parametrize("to", ["the group", "the parent"])
@pytest.mark.parametrize("tasks", ["list(range(20))", "iter(range(20))"])
@pytest.mark.parametrize("shape", SHAPES)
def test_ctrl_c_ends_the_run_keeps_its_logs_and_the_next_run_works(
    tmp_path: Path, ended: list[subprocess.Popen[str]], shape: str, tasks: str, to: str, presses: int
) -> None:
    process = begin(tmp_path, shape, BUSY["asleep"], tasks)
    ended.append(process)
    workers = [p for p in workers_of(tmp_path) if p.pid != process.pid]
    began = time.monotonic()
    for _ in range(presses):
        os.killpg(process.pid, signal.SIGINT) if to == "the group" else process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=15)
    assert time.monotonic() - began < 6
    lines = [line for line in out.splitlines() if line.startswith("interrupted")]
    assert lines, out
    assert lines[0].startswith("interrupted ['ok', 'ok', 'ok', 'cancelled', 'cancelled', 'cancelled', 'cancelled'] 4 ")
    assert lines[0].endswith("[0, 1, 2]")
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert not alive
