"""The tables for who comes from another library: where both columns are code, both run and give the same.

The libraries themselves come with the extra [bench]; without one only our column runs, and must give what f gives.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

PAGE = Path(__file__).resolve().parents[2] / "worker_dispatcher" / "README.md"

PRELUDE = '''
import warnings
from worker_dispatcher import *

warnings.simplefilter("ignore", DeprecationWarning)
table = {number: number * number for number in range(20)}
items = list(range(20))

def f(x):
    return x * x

def g(config, task):
    return config[task]

def change(result):
    return result

task = {"list": items, "function": f}
processes = {"number": 4, "use_processing": True}

def run(code):
    """What an expression gives, or what a loop hands to `use`; sorted, since a loop has results as they come."""
    rows = (item for item in items)
    used = []
    if code.startswith("for "):
        exec(code, {**globals(), "use": used.append})
    else:
        used = list(eval(code, {**globals(), "rows": rows}))
    return sorted(used)
'''

IMPORTS = {  # the last lines of a script before its rows
    "concurrent.futures": """
    from concurrent.futures import *
    futures = [ThreadPoolExecutor(2).submit(f, x) for x in items]
    """,
    "joblib": "from joblib import Parallel, delayed",
    "mpire": "from mpire import WorkerPool",
    "pebble": "from pebble import ProcessPool, ThreadPool",
    "worker-dispatcher 1.x": "",
}


class Row(NamedTuple):
    library: str
    there: str
    here: str


def rows_of(text: str) -> list[Row]:
    """The rows of two pieces of code, by the library of their heading. What follows the second piece is a remark."""
    found = []
    for part in text.split("\n## ")[1:]:
        library = part.partition("\n")[0]
        rows = re.findall(r"^\| `([^`]+)` \| `((?:start|for)[^`]+)`.* \|$", part, re.MULTILINE)
        found += [Row(library, there, here) for there, here in rows]
    return found


ROWS = rows_of(PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("library", IMPORTS)
def test_what_is_written_there_and_here_gives_the_same(library: str, tmp_path: Path) -> None:
    rows = [row for row in ROWS if row.library == library]
    assert len(rows) >= 2
    root = library.partition(".")[0]
    there = library.startswith(("worker", "concurrent")) or importlib.util.find_spec(root) is not None
    lines = [line.strip() for line in IMPORTS[library].splitlines() if line.strip()] if there else []
    lines += [f"assert run({row.here!r}) == [f(x) for x in items], {row.here!r}" for row in rows]
    lines += [f"assert run({row.there!r}) == [f(x) for x in items], {row.there!r}" for row in rows if there]
    script = tmp_path / "rows.py"
    script.write_text(PRELUDE + '\nif __name__ == "__main__":\n    ' + "\n    ".join([*lines, 'print("the same")']))

    environment = {**os.environ, "JOBLIB_TEMP_FOLDER": str(tmp_path)}  # not shared memory, which other sessions watch
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("the same\n")


def test_each_library_has_its_table() -> None:
    assert list(dict.fromkeys(row.library for row in ROWS)) == list(IMPORTS)
