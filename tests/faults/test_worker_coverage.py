"""Functions that run in workers are measured by `coverage` where it measures all processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from programs import METHODS

PROGRAM = """
import worker_dispatcher

def work(task):
    if task == 1:
        return "first"
    return "other"

if __name__ == "__main__":
    worker_dispatcher.start({"task": {"list": [1, 2], "function": work},
                             "worker": {"use_processing": True, "number": 2, "start_method": METHOD},
                             "verbose": False})
"""


@pytest.mark.parametrize("method", METHODS)
def test_what_runs_in_workers_is_measured(method, tmp_path):
    (tmp_path / "jobs.py").write_text(PROGRAM.replace("METHOD", repr(method)))
    (tmp_path / ".coveragerc").write_text("[run]\nparallel = true\npatch = subprocess\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}

    def coverage(*arguments: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "coverage", *arguments], cwd=tmp_path, env=environment, check=True, timeout=90
        )

    coverage("run", "jobs.py")
    coverage("combine", "-q")
    coverage("json", "-q", "-o", "told.json", "--include=jobs.py")
    told = json.loads((tmp_path / "told.json").read_text())["files"]["jobs.py"]
    assert told["missing_lines"] == []
