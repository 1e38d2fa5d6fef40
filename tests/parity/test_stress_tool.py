"""stress-tool, the client that was written for 1.x, runs unmodified on top of this package, and its workbook is right.

It is installed as published, without its dependencies (this checkout is the worker-dispatcher it asks for, openpyxl
comes with the test extra), into a folder of the test.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import openpyxl
import pytest

import worker_dispatcher

PACKAGE = "stress-tool==1.2.2"
SCRIPT = """
import json, sys, time
import stress_tool
import worker_dispatcher

def visit(id, config, task, metadata):
    metadata["code"] = 200 if id % 4 else 500
    metadata["response"] = {"text": f"order {task}"}
    time.sleep(config["pause"])
    if id % 7 == 0:
        raise ConnectionError("refused")
    return metadata["code"] == 200

shape, verbose = json.loads(sys.argv[1]), sys.argv[2] == "verbose"
results = stress_tool.start(
    {"task": {"list": list(range(100, 120)), "function": visit, "config": {"pause": 0.02}}, "worker": shape,
     "verbose": verbose}
)
fields = {
    "Code": "code",
    "Body": lambda metadata: metadata["response"]["text"],
    "Nothing": "no such key",
}
path = stress_tool.generate_report(
    config={"raw_logs": {"fields": fields}}, file_path="tps.xlsx", interval=0.1, verbose=verbose
)
stress_tool.print("the end")
logs = [
    [log["task_id"], log["started_at"], log["ended_at"], bool(log["result"])] for log in worker_dispatcher.get_logs()
]
tps = worker_dispatcher.get_tps(display_intervals=True, interval=0.1)
print(json.dumps([path, len(results), tps, logs]))
"""
SHAPES = {
    "threads": {"number": 5},
    "processes": {"number": 2, "use_processing": True},
    "grid": {"number": 4, "parallel_processing": {"enabled": True, "use_queue": True}},
    "frequency": {"number": 5, "frequency_mode": {"enabled": True, "interval": 0.1}},
}


@pytest.fixture(scope="module")
def stress_tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the package is."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip(f"{PACKAGE} cannot be installed: this Python has no pip")
    folder = tmp_path_factory.mktemp("stress_tool")
    options = ["--no-deps", "--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1", "--timeout", "20"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder), PACKAGE]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=110)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        pytest.skip(f"{PACKAGE} cannot be installed: {lines[-1]}")
    return folder


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_its_workbook_says_what_our_logs_say(shape: dict[str, Any], stress_tool: Path, tmp_path: Path) -> None:
    output = run(stress_tool, tmp_path, shape)
    path, count, tps, logs = json.loads(output.splitlines()[-1])
    assert (path, count, len(logs)) == ("tps.xlsx", 20, 20)
    assert output.splitlines()[-2] == "the end"
    book = openpyxl.load_workbook(tmp_path / path)
    assert book.sheetnames == ["Report", "Raw Logs", "Intervals"]

    told: dict[Any, Any] = {}
    for name, value, *_ in book["Report"].iter_rows(values_only=True, min_col=1, max_col=2):
        told.setdefault(name, value)
    assert json.loads(told["Raw Report"]) == tps
    assert (told["TPS"], told["Number of Requests"], told["Number of Successes"]) == (tps["tps"], 20, 13)
    assert told["Success Rate"] == "65.00%"
    assert told["Concurrency"] == shape["number"]
    assert told["Maximum Execution Time"] == f"{tps['metrics']['execution_time']['max']:.6f} sec"
    assert told.get("Peak TPS", tps["tps"]) == tps["peak"].get("tps", tps["tps"])

    names, *rows = book["Raw Logs"].iter_rows(values_only=True)
    assert names[:5] == ("Task ID", "Started at", "Ended at", "Duration (sec)", "Success")
    assert [[row[0], float(row[1]), float(row[2]), row[4]] for row in rows] == logs
    assert [row[5:] for row in rows] == [
        (str(200 if number % 4 else 500), f"order {99 + number}", None) for number in range(1, 21)
    ]

    _, *rows = book["Intervals"].iter_rows(values_only=True)
    assert [(row[0], row[4], row[5], row[6], row[7]) for row in rows] == [
        (one["tps"], *(one["count"][name] for name in ("success", "total", "start", "end"))) for one in tps["intervals"]
    ]


def test_it_says_its_lines_and_ours(stress_tool: Path, tmp_path: Path) -> None:
    output = run(stress_tool, tmp_path, SHAPES["threads"], "verbose")
    assert "Worker Dispatcher Configuration:" in output
    assert "--- Start calculating the TPS data ---" in output
    assert "TPS Report has been successfully generated at tps.xlsx" in output


def run(stress_tool: Path, folder: Path, shape: dict[str, Any], *arguments: str) -> str:
    """What the script prints."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    home = Path(worker_dispatcher.__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{home}{os.pathsep}{stress_tool}", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(shape), *(arguments or ["quiet"])],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
