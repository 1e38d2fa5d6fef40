"""Programs that use the library, each in an interpreter of its own: what they are given, and what they tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["METHODS", "SLOW", "begin", "left_of", "tell"]

METHODS = [None, "spawn", "fork"]
# A module whose import waits for the file "go", but in the process that PARENT names.
SLOW = """
import os, time
if os.environ.get("PARENT") not in (None, str(os.getpid())):
    open("loading", "w").close()
    while not os.path.exists("go"):
        time.sleep(0.01)

def work(id):
    return id
"""
_MARK = "PROGRAM_IN"
PROLOGUE = """
import json, os, sys
import worker_dispatcher

def run(function, tasks=4, method=None, number=2, worker=None, **task):
    shape = {"number": number, "use_processing": True, "start_method": method, **(worker or {})}
    return worker_dispatcher.start(
        {"task": {"list": tasks, "function": function, **task}, "worker": shape, "verbose": False})

def tell(value):
    os.write(1, json.dumps(value).encode())
"""


def tell(
    folder: Path,
    code: str,
    *arguments: str,
    flags: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    python: str = sys.executable,
    within: float = 90,
) -> Any:
    """Run a program in a folder; what it has told. It must end well and leave nothing on stderr."""
    (folder / "program.py").write_text(PROLOGUE + code)
    variables = os.environ | dict(environment or {})
    command = [python, *flags, str(folder / "program.py"), *arguments]
    done = subprocess.run(
        command, env=variables, cwd=folder, check=False, timeout=within, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return json.loads(done.stdout)


def begin(folder: Path, code: str, *arguments: str) -> subprocess.Popen[str]:
    """A program that goes on, in a folder of its own, which is also where it has its temporary files."""
    (folder / "program.py").write_text(PROLOGUE + code)
    (folder / "tmp").mkdir(exist_ok=True)
    variables = os.environ | {"TMPDIR": str(folder / "tmp"), _MARK: str(folder)}
    command = [sys.executable, str(folder / "program.py"), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=variables, cwd=folder, start_new_session=True, **pipes)


def left_of(folder: Path) -> list[int]:
    """The processes that a program has begun in a folder, itself included, and that have not ended."""
    mark, found = f"{_MARK}={folder}".encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                lives = b") Z " not in (entry / "stat").read_bytes()
                if lives and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:  # it has just ended, or is somebody else's
                pass
    return found
