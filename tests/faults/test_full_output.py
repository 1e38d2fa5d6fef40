"""Tasks whose worker's output is full: their own print raises, as in any program, and what we flush costs nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, os, sys
import worker_dispatcher as wd

def work(task):
    if task == "line":
        print("told")
    if task == "part":
        print("a part of a line", end="")  # stays in the buffer, until somebody flushes it
    return task

items = ["quiet", "part", "line", "quiet", "part", "quiet"] * 3
wd.start({"task": {"list": items, "function": work}, "worker": json.loads(sys.argv[1]), "verbose": False,
          **({"journal": sys.argv[2]} if len(sys.argv) > 2 else {})})
logs = [(items[log["task_id"] - 1], log["status"], log["result"] or None, log["error"] and log["error"]["type"])
        for log in wd.get_logs()]
json.dump(logs, sys.stderr)
sys.stderr.flush()
os._exit(0)  # the end of an interpreter flushes, too
"""
PROCESSES = {"number": 2, "use_processing": True}
SHAPES = {
    "processes": PROCESSES,
    "forkserver": PROCESSES | {"start_method": "forkserver"},
    "spawn": PROCESSES | {"start_method": "spawn"},
    "fork": PROCESSES | {"start_method": "fork"},
    "grid": {"number": 4, "parallel_processing": {"enabled": True, "processes": 2}},
}


def logs_of(worker, *more):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, json.dumps(worker), *more]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=True, env=environment
        )
    return [tuple(log) for log in json.loads(ended.stderr)]


@pytest.mark.parametrize("worker", SHAPES.values(), ids=list(SHAPES))
def test_only_the_task_whose_own_print_fails_has_an_error(worker, tmp_path):
    logs = logs_of(worker, str(tmp_path / "run.db"))
    assert len(logs) == 18
    assert {log for log in logs if log[0] == "line"} == {("line", "error", None, "OSError")}
    assert {log for log in logs if log[0] != "line"} == {("quiet", "ok", "quiet", None), ("part", "ok", "part", None)}


def test_in_threads_a_print_is_the_programs_own(tmp_path):
    logs = logs_of({"number": 2})
    assert {log[1:] for log in logs} == {("ok", "quiet", None), ("ok", "part", None), ("ok", "line", None)}
