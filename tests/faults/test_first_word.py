"""What a first call needs goes to workers whatever its size; what was started and is no worker is named in time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from programs import METHODS, tell

import worker_dispatcher
from worker_dispatcher.osproc import forkserver

PROCESSES = {"number": 2, "use_processing": True}


@pytest.mark.each_value
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grid", [False, True])
def test_an_environment_larger_than_any_buffer_reaches_workers(method, grid, tmp_path):
    worker = {"parallel_processing": {"enabled": True, "processes": 2}, "use_processing": False} if grid else {}
    told = tell(
        tmp_path,
        f"""
for n in range(3000):
    os.environ[f"M{{n}}"] = "v" * 1000
os.environ["LONG"] = "l" * 300_000
def same(task):
    found = [one for name, one in os.environ.items() if name[0] == "M" and len(one) == 1000]
    return len(found), len(os.environ["LONG"])
tell([run(same, 2, {method!r}, worker={worker!r}) for _ in range(2)])
""",
    )
    assert told == [[[3000, 300_000]] * 2] * 2


@pytest.mark.parametrize("method", METHODS)
def test_a_path_longer_than_a_command_line_reaches_workers(method, tmp_path):
    told = tell(
        tmp_path,
        f"""
sys.path += [f"/no/such/folder/{{n}}/" + "x" * 1000 for n in range(2000)]
run(len, [[1]] * 2, {method!r})
tell([run(lambda task: len(sys.path), 2, {method!r}), len(sys.path)])
""",
    )
    assert told[0] == [told[1]] * 2


def a_program(folder: Path, text: str) -> str:
    """An executable file."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


SILENT = """
import time
from worker_dispatcher.osproc import forkserver
import worker_dispatcher.pools.parent.supervisor
if {ran_before}:
    run(len, [[1]])
forkserver.FIRST_WORD = worker_dispatcher.pools.parent.supervisor.FIRST_WORD = 1.0
before = time.monotonic()
sys.executable = {program!r}
try:
    run(len, [[1]] * 4, {method!r})
except worker_dispatcher.RunError as error:
    said = str(error)
children = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        state, parent = open(f"/proc/{{pid}}/stat").read().rpartition(")")[2].split()[:2]
        if parent == str(os.getpid()) and state != "Z" and "sleep" in open(f"/proc/{{pid}}/cmdline").read():
            children.append(pid)
    except OSError:
        pass  # it has ended
sys.executable = {python!r}
forkserver.FIRST_WORD = worker_dispatcher.pools.parent.supervisor.FIRST_WORD = 10.0
tell([said, time.monotonic() - before, children, run(len, [[1]])])
"""


@pytest.mark.parametrize(
    ("text", "method", "ran_before"),
    [
        ("exec sleep 60", None, False),
        ("exec sleep 60", "spawn", True),
        ("exec 3>&-; exec sleep 60", None, False),
        ("exit 3", None, False),
        ("exit 3", "spawn", True),
    ],
)
def test_an_executable_that_is_no_python_is_a_named_error(text, method, ran_before, tmp_path):
    program = a_program(tmp_path, text)
    said, seconds, children, results = tell(
        tmp_path,
        SILENT.format(program=program, python=sys.executable, method=method, ran_before=ran_before),
    )
    names = [program] if text.startswith("exec sleep") else ["fork server", "exited with code 3"]
    assert any(name in said for name in names)
    assert seconds < 30
    assert (children, results) == ([], [1])


def test_an_executable_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.executable", str(tmp_path / "gone"))
    with pytest.raises(worker_dispatcher.RunError, match="gone"):
        worker_dispatcher.start(
            {"task": {"list": 2, "function": len}, "worker": PROCESSES | {"start_method": "spawn"}, "verbose": False}
        )


@pytest.mark.parametrize("ran_before", [True, False])
@pytest.mark.parametrize("executable", [None, "", 5])
def test_where_there_is_no_executable_an_error_says_so(executable, ran_before, tmp_path):
    code = f"""
if {ran_before}: run(len, [[1]])
sys.executable = {executable!r}
try:
    run(len, [[1]], "spawn")
except worker_dispatcher.RunError as error:
    tell(str(error))
"""
    assert tell(tmp_path, code).startswith(f"sys.executable is {executable!r}")


@pytest.mark.parametrize("method", METHODS)
def test_an_executable_may_be_named_from_the_folder_of_the_program(method, tmp_path):
    a_program(tmp_path, f'exec {sys.executable} "$@"')
    code = f"""
sys.executable = "python"
tell(run(len, [[1]], {method!r}))
"""
    assert tell(tmp_path, code) == [1]


def test_the_first_word_may_take_ten_seconds():
    assert forkserver.FIRST_WORD == 10.0


GRID = {"number": 2, "parallel_processing": {"enabled": True, "processes": 1}}


@pytest.mark.each_value
@pytest.mark.parametrize("shape", [PROCESSES, GRID])
@pytest.mark.parametrize("method", METHODS)
def test_a_worker_that_cannot_begin_says_why(method, shape, tmp_path):
    (tmp_path / "coverage.py").write_text("raise RuntimeError('this one does not work')")
    (tmp_path / "program.py").write_text(f"""
import os
import worker_dispatcher
os.environ["COVERAGE_PROCESS_START"] = "here"  # not before, or the real one is loaded at the start
config = {{"task": {{"list": [1, 2], "function": abs}}, "worker": {shape | {"start_method": method}}, "verbose": False}}
try:
    worker_dispatcher.start(config)
except worker_dispatcher.RunError as error:
    print(error)
""")
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("worker processes end before they begin a task: the last one exited with code ")
    assert done.stdout.endswith(": RuntimeError: this one does not work\n")


@pytest.mark.parametrize("method", [None, "spawn"])
def test_a_library_that_fails_in_workers_is_named(method, tmp_path):
    (tmp_path / "numpy.py").write_text(
        "import os\nif 'FAILS' in os.environ: raise RuntimeError('it does not work here')"
    )
    (tmp_path / "program.py").write_text(f"""
import os
import numpy
import worker_dispatcher
os.environ["FAILS"] = "now"
def work(task):
    return numpy.__name__
worker = {PROCESSES | {"start_method": method}}
try:
    worker_dispatcher.start({{"task": {{"list": [1], "function": work}}, "worker": worker, "verbose": False}})
except worker_dispatcher.RunError as error:
    print(error)
""")
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith(": RuntimeError: it does not work here\n"), done.stderr
