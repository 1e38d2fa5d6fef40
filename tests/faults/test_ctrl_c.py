"""Ctrl-C, once and ten times, to the group or to the parent only: logs are kept and the next run works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

SHAPES = {
    "threads": "{'number': 4}",
    "processes": "{'number': 4, 'use_processing': True}",
    "grid": "{'number': 4, 'parallel_processing': {'enabled': True, 'processes': 2}}",
}
SCRIPT = """
import os, pathlib, signal, sys, time
import worker_dispatcher

folder = pathlib.Path(sys.argv[1])

def work(task):
    if task < 3:
        return task
    (folder / f"running-{{task}}-{{os.getpid()}}").touch()
    time.sleep(600)

def first_run():
    try:
        worker_dispatcher.start({{"task": {{"list": {tasks}, "function": work}}, "worker": {shape}, "verbose": False}})
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the presses that are still to come are not the next run's

try:
    first_run()
except KeyboardInterrupt:  # one of those came before it was said
    signal.signal(signal.SIGINT, signal.SIG_IGN)
logs = worker_dispatcher.get_logs()
counts = worker_dispatcher.get_result_info()["counts"]
again = worker_dispatcher.start({{"task": {{"list": [0, 1, 2], "function": work}}, "worker": {shape}}})
print("interrupted", [log["status"] for log in logs], counts["cancelled"], counts["not_run"], again, flush=True)
"""


def begin(folder: Path, shape: str, tasks: str) -> subprocess.Popen[str]:
    """A script that runs three instant tasks and then endless ones; returns once four of these run."""
    text = textwrap.dedent(SCRIPT).format(shape=SHAPES[shape], tasks=tasks)
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


@pytest.mark.parametrize("presses", [1, 10])
@pytest.mark.parametrize("to", ["the group", "the parent"])
@pytest.mark.parametrize("tasks", ["list(range(20))", "iter(range(20))"])
@pytest.mark.parametrize("shape", SHAPES)
def test_ctrl_c_ends_the_run_keeps_its_logs_and_the_next_run_works(
    tmp_path: Path, ended: list[subprocess.Popen[str]], shape: str, tasks: str, to: str, presses: int
) -> None:
    process = begin(tmp_path, shape, tasks)
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


BLOCKED = """
import time
import worker_dispatcher

class Tasks:
    def __iter__(self):
        yield 1
        print("blocked", flush=True)
        time.sleep(600)
    {length}

def work(task):
    open({ran!r}, "w").close()
    return str(task)

try:
    worker_dispatcher.start({{"task": {{"list": Tasks(), "function": work}}, "worker": {shape}, "verbose": False}})
except KeyboardInterrupt:
    print("interrupted", worker_dispatcher.get_results(), flush=True)
"""


@pytest.mark.parametrize("length", ["", "def __len__(self): return 5"], ids=["lazy", "sized"])
@pytest.mark.parametrize("shape", SHAPES)
def test_ctrl_c_reaches_a_task_list_that_blocks(
    tmp_path: Path, ended: list[subprocess.Popen[str]], wait_until: Callable[..., None], shape: str, length: str
) -> None:
    script, ran = tmp_path / "script.py", tmp_path / "ran"
    script.write_text(BLOCKED.format(shape=SHAPES[shape], length=length, ran=str(ran)))
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, start_new_session=True)
    ended.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "blocked\n"
    if not length:
        wait_until(ran.exists, within=20)
    time.sleep(0.3)  # what has run is heard of meanwhile
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=15)
    # Sized, the list is drawn by the thread that drives: the stop may come before its first task has run.
    assert out.startswith("interrupted [" if length else "interrupted ['1']")


CALLING_BACK = """
import pathlib, sys, time
import worker_dispatcher

def all_done(id, result):
    if id == 3:
        print("calling back", flush=True)
    if id >= 3:
        time.sleep(0.01)
    return result + 100

try:
    callback = {"on_all_done": all_done}
    task = {"list": list(range(2000)), "function": int, "callback": callback}
    worker_dispatcher.start({"task": task, "worker": SHAPE, "verbose": False})
except KeyboardInterrupt as error:
    logs = worker_dispatcher.get_logs()
    print("interrupted", len(logs), worker_dispatcher.get_results()[:2], error.__notes__, flush=True)
"""


@pytest.mark.parametrize("presses", [1, 10])
@pytest.mark.parametrize("shape", ["threads", "processes"])
def test_ctrl_c_in_the_callbacks_at_the_end_keeps_everything(
    tmp_path: Path, ended: list[subprocess.Popen[str]], shape: str, presses: int
) -> None:
    script = tmp_path / "script.py"
    script.write_text(CALLING_BACK.replace("SHAPE", SHAPES[shape]))
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, start_new_session=True)
    ended.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "calling back\n"
    for _ in range(presses):
        process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=15)
    if presses == 1:
        assert out.startswith("interrupted 2000 [100, 101] ['  2000 results and all logs are kept")
    else:  # presses that come after start() has raised hit the script itself
        assert out.startswith("interrupted 2000 [100, 101]") or out == ""


ELSEWHERE = """
import os, signal, threading, time
import worker_dispatcher

ended, parent = threading.Event(), os.getpid()
threading.Thread(target=ended.wait).start()
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGINT}})

def work(task):
    if task == 2:
        time.sleep(0.3)
        os.kill(parent, signal.SIGINT)
    time.sleep(30)

began = time.monotonic()
try:
    worker_dispatcher.start({{"task": {{"list": {tasks}, "function": work}}, "worker": {shape}, "verbose": False}})
except KeyboardInterrupt:
    print(time.monotonic() - began < 10)
ended.set()
"""


@pytest.mark.each_value
@pytest.mark.parametrize("tasks", ["[1, 2]", "iter([1, 2])", "iter(range(1, 100))"])
@pytest.mark.parametrize("shape", SHAPES)
def test_ctrl_c_that_does_not_wake_the_main_thread_is_heard_all_the_same(
    shape: str, tasks: str, tmp_path: Path
) -> None:
    """Given to another thread here; the same happens where it comes just before the main thread begins to wait."""
    (tmp_path / "script.py").write_text(ELSEWHERE.format(shape=SHAPES[shape], tasks=tasks))
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
