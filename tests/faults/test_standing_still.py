"""A program that is stopped with all its workers, as a paused container is: nothing at its end is lost for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from programs import METHODS

PROGRAM = """
import json, logging, os, sys, threading, time, warnings
import worker_dispatcher
shape = json.loads(sys.argv[1])
def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.005)
"""
LOGGING = """
def what_main_does():
    found, frame = [], sys._current_frames()[threading.main_thread().ident]
    while frame is not None:
        found.append(frame.f_code.co_name)
        frame = frame.f_back
    return found
class Slow(logging.Handler):
    def emit(self, record):
        while "_await" not in what_main_does():
            time.sleep(0.005)
        open("begun", "w").close()
        wait_for("go on")
        time.sleep(0.3)
        open("handled", "w").write(record.getMessage())
logging.getLogger().addHandler(Slow())
def work(task):
    logging.warning("the last words of %d", task)
worker_dispatcher.start({"task": {"list": [7], "function": work}, "worker": shape, "verbose": False})
"""
LEAVING = """
def leave():
    open("begun", "w").close()
    wait_for("go on")
    time.sleep(0.3)
    open("left", "w").close()
worker_dispatcher.start({"task": {"list": [7], "function": abs}, "worker": {**shape, "exit": leave}, "verbose": False})
"""
SHAPES = {
    "processes": {"number": 1, "use_processing": True},
    "grid": {"number": 2, "parallel_processing": {"enabled": True, "processes": 1}},
}


@contextmanager
def running(folder: Path, code: str, shape: dict[str, object]) -> Iterator[subprocess.Popen[str]]:
    (folder / "program.py").write_text(PROGRAM + code)
    command = [sys.executable, "program.py", json.dumps(shape)]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as program:
        try:
            yield program
        finally:
            program.kill()


def stand_still(program: subprocess.Popen[str], seconds: float, meanwhile: Path) -> None:
    """Stop all processes of a program for a time; what its worker or handler waits for happens meanwhile."""
    root = psutil.Process(program.pid)
    family = [root, *root.children(recursive=True)]
    for one in family:
        os.kill(one.pid, signal.SIGSTOP)
    time.sleep(seconds)
    meanwhile.touch()
    for one in reversed(family):
        os.kill(one.pid, signal.SIGCONT)


@pytest.mark.each_value
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", METHODS)
def test_what_a_worker_has_logged_last_is_handled(shape, method, tmp_path, wait_until):
    with running(tmp_path, LOGGING, {**SHAPES[shape], "start_method": method}) as program:
        wait_until((tmp_path / "begun").exists, within=40)
        stand_still(program, 2.3, tmp_path / "go on")
        assert program.wait(60) == 0
        assert program.stderr is not None
        assert "were lost" not in program.stderr.read()
    assert (tmp_path / "handled").read_text() == "the last words of 7"


@pytest.mark.parametrize("shape", SHAPES)
def test_a_worker_has_its_time_to_leave(shape, tmp_path, wait_until):
    with running(tmp_path, LEAVING, SHAPES[shape]) as program:
        wait_until((tmp_path / "begun").exists, within=40)
        stand_still(program, 5.5, tmp_path / "go on")
        assert program.wait(60) == 0
        assert program.stderr is not None
        assert "worker.exit" not in program.stderr.read()
    assert (tmp_path / "left").exists()
