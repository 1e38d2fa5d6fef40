"""Programs that use the library, each in an interpreter of its own: what they are given, and what they tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["METHODS", "tell"]

METHODS = [None, "spawn", "fork"]
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
