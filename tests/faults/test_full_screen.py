"""What the library says, where it cannot be written: it fails no program, whose own output is its own matter."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

RUN = """
import sys
import worker_dispatcher
results = worker_dispatcher.start({"task": {"list": [1, 2, 3], "function": lambda task: task}, "worker": {"number": 2}})
worker_dispatcher.report()
worker_dispatcher.print("told", "in", 2, "pieces", sep="-", end="!", file=sys.stderr)
open("results", "w").write(str(results))
"""


def run_script(folder, code, *, shell="", stdout=subprocess.PIPE):
    """How a program ends that runs this; its streams have the buffers that they have without PYTHONUNBUFFERED."""
    (folder / "script.py").write_text(code)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = ["sh", "-c", f'exec "$0" "$1" {shell}', sys.executable, "script.py"]
    return subprocess.run(
        command, cwd=folder, env=environment, stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False
    )


@pytest.mark.parametrize("shell", [">/dev/full", ">/dev/full 2>&1", ">&-", "2>/dev/full", ">&- 2>&-"])
def test_an_output_that_takes_nothing_does_not_fail_the_program(tmp_path, shell):
    ended = run_script(tmp_path, RUN, shell=shell)
    assert (ended.returncode, (tmp_path / "results").read_text()) == (0, "[1, 2, 3]"), ended.stderr


def test_an_output_whose_reader_has_gone_does_not_fail_the_program(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = run_script(tmp_path, RUN, stdout=writing)
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"told-in-2-pieces!")


def test_what_the_program_itself_could_not_write_still_fails_it(tmp_path):
    ended = run_script(tmp_path, "print('rows', end='')\n" + RUN, shell=">/dev/full")
    assert ended.returncode == 120
    assert b"No space left on device" in ended.stderr


@pytest.mark.parametrize("blocking", [True, False])
def test_lines_stand_behind_what_the_program_has_printed_before(tmp_path, blocking):
    code = f"import os\nos.set_blocking(1, {blocking})\nprint('rows', end='')\n{RUN}\nprint('end', end='')\n"
    ended = run_script(tmp_path, code)
    said = ended.stdout.decode()
    assert ended.returncode == 0
    assert said.startswith("rows\nWorker Dispatcher Configuration:")
    assert said.endswith("\nend")
