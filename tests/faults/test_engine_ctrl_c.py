"""Ctrl-C, and SIGKILL, while jobs of all kinds run: back at the prompt, and nothing is left."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from living import any_alive

PROGRAM = """
import os, sys, time
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from worker_dispatcher.engine import *
from worker_dispatcher.engine.conditions import AfterAnother
from worker_dispatcher.engine.sentinel import every

def here(name):
    Path(f"{name}.{os.getpid()}").touch()

def linger(name):
    here(name)
    while True:
        time.sleep(0.05)

def count(name):
    here(name)
    while True:
        yield 1

def serve(ip, port):
    here("served")
    HTTPServer((ip, port), SimpleHTTPRequestHandler).serve_forever()

if __name__ == "__main__":
    shell = "trap '' TERM; sleep 600 & touch child.$! command.$$; wait; sleep 600"
    with Engine(store="jobs.sqlite") as engine:
        values = ProcessJob(count, ("generator",))
        first = ThreadJob(linger, ("thread",), name="thread")
        apps = [WebappJob(serve), WebappJob(sys.executable + " -m http.server -b {ip} {port}")]
        engine.submit(
            first, ProcessJob(linger, ("process",)), SubprocessJob(["sh", "-c", shell]), *apps, values,
            ThreadJob(len, ("later",), name="later", condition=AfterAnother(first.id)),
            CronJob(len, every("0.2s"), "thread", args=("x",)),
        )
        for app in apps:
            app.wait_ready(60)
            here_too = app.runner and Path(f"app.{app.runner.proc.pid}").touch()
        held = values.result()
        next(held)
        Path("ready").touch()
        engine.wait()
"""
MARKS = ("thread", "process", "child", "command", "served", "app", "generator")


@pytest.fixture
def program(tmp_path: Path, wait_until: Callable[..., None]) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "program.py").write_text(PROGRAM)
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
    begun = subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: (tmp_path / "ready").exists() or begun.poll() is not None, 60)
        yield begun
    finally:
        begun.kill()
        begun.communicate()


def processes_of(folder: Path) -> list[psutil.Process]:
    pids = {mark.name.partition(".")[0]: int(mark.suffix[1:]) for mark in folder.glob("*.[0-9]*")}
    assert set(pids) == set(MARKS)
    return [psutil.Process(pid) for pid in pids.values()]


def ended(processes: list[psutil.Process]) -> bool:
    return not any_alive(processes)


def test_ctrl_c_ends_jobs_of_all_kinds_within_a_second(
    program: subprocess.Popen[str], tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    processes = processes_of(tmp_path)
    began = time.monotonic()
    os.killpg(program.pid, signal.SIGINT)
    _, errors = program.communicate(timeout=60)
    took = time.monotonic() - began
    assert program.returncode == -signal.SIGINT
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    wait_until(lambda: ended(processes))
    assert took < 1.0 + _busy(), f"it took {took:.2f} s"
    store = sqlite3.connect(tmp_path / "jobs.sqlite")
    said = dict(store.execute("select name, status from jobs"))
    store.close()
    assert said.pop("len", "done") == "done"  # what the cron job has submitted
    assert said == {
        **dict.fromkeys(["thread", "linger", "sh", "count"], "running"),  # which is what `resume` goes by
        "later": "pending",
    }


def _busy() -> float:
    """Seconds that are to be added on a machine with more to do than it has processors."""
    return max(0.0, os.getloadavg()[0] / (os.cpu_count() or 1) - 0.5)


def test_nothing_outlives_a_program_that_is_killed(
    program: subprocess.Popen[str], tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    processes = processes_of(tmp_path)
    program.kill()
    program.communicate()
    wait_until(lambda: ended(processes))


LEFT = """
import os
from worker_dispatcher.engine import *

def forever():
    while True:
        yield 1

engine = Engine()
engine.start()
jobs = [kind(forever) for kind in (LocalJob, ThreadJob, ProcessJob)]
command, site = SubprocessJob("sleep 600", record_cmd=False), WebappJob("python3 -m http.server -b {ip} {port}")
engine.submit(*jobs, command, site)
held = [job.result() for job in jobs]
print([next(values) for values in held])
if os.fork() == 0:
    del held
    os._exit(0)
os.wait()
print([next(values) for values in held])
"""


def test_a_program_ends_though_jobs_of_all_kinds_run() -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LEFT], capture_output=True, text=True, timeout=60, check=False
    )
    lines = [line for line in done.stdout.splitlines() if not line.startswith("Serving")]
    assert (done.returncode, lines) == (0, ["[1, 1, 1]"] * 2), done.stderr
    assert time.monotonic() - began < 3.0 + _busy()
