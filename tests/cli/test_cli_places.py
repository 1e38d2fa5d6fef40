"""What lies in the folder of a target hides nothing that the command needs."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker_dispatcher.cli.target import NEEDED

Call = Callable[..., Any]
SHAPES = {"threads": [], "processes": ["--processes"], "grid": ["--grid", "2x2"]}
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
# Of the standard library, of packages that are installed and needed, and this package.
LIBRARY = (
    ["argparse", "asyncio", "bisect", "collections", "csv", "dataclasses", "datetime", "difflib", "email", "enum"]
    + ["fractions", "functools", "heapq", "html", "http", "importlib", "io", "json", "logging", "math", "operator"]
    + ["pickle", "queue", "random", "re", "resource", "select", "signal", "socket", "statistics", "string", "struct"]
    + ["textwrap", "threading", "time", "token", "traceback", "types", "typing", "warnings", "weakref"]
)
PACKAGES = ["cloudpickle", "matplotlib", "numpy", "packaging", "plotly", "psutil", "six", "threadpoolctl", "tqdm"]
AFTER_RUNPY = {"argparse", "heapq", "html", "json", "queue", "random", "select", "socket"}  # which `-m` begins with
JOB = """
from helper import double  # of this folder

def work(id):
    return double(id)
"""


@pytest.fixture
def crowded(folder: Path) -> Path:
    """A folder with a module for each of these names, and a target beside them."""
    for name in (*LIBRARY, *PACKAGES, "worker_dispatcher"):
        (folder / f"{name}.py").write_text("raise SystemExit(f'{__file__} was imported')\n")
    (folder / "helper.py").write_text("def double(number):\n    return 2 * number\n")
    (folder / "job.py").write_text(JOB)
    return folder


def started(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As the installed program, which the interpreter starts without the current folder on its path."""
    code = "import sys; from worker_dispatcher.cli import main; sys.exit(main())"
    command = [sys.executable, "-P", "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=60, check=False)


@each_shape
@pytest.mark.parametrize("target", ["job:work", "job.py:work"])
def test_modules_by_the_names_of_others_in_the_folder_are_left_alone(
    crowded: Path, logs: Call, shape: list[str], target: str
) -> None:
    wanted = ["--rate", "100", "--duration", "0.2", "--log", "run.jsonl", "--html", "run.html", "--csv", "run.csv"]
    ended = started(crowded, "load", target, *wanted, *shape, "--pacing", "random")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [log["result"] for log in logs("run.jsonl")][:3] == [2, 4, 6]
    assert (crowded / "run.html").stat().st_size > 10_000


@each_shape
def test_so_are_those_of_the_standard_library_under_python_m(crowded: Path, logs: Call, shape: list[str]) -> None:
    for name in {*LIBRARY, "worker_dispatcher"} - AFTER_RUNPY:
        (crowded / f"{name}.py").unlink()
    command = [sys.executable, "-m", "worker_dispatcher", "run", "job:work", "--list", "4", "--log", "run.jsonl"]
    ended = subprocess.run([*command, *shape], cwd=crowded, text=True, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [log["result"] for log in logs("run.jsonl")] == [2, 4, 6, 8]


def test_what_is_needed_names_all_that_the_package_and_its_extras_import() -> None:
    tops, seen, wanted = set(), set(), ["worker-dispatcher"]
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        found = importlib.metadata.distribution(name)
        extras = r"extra == ['\"](report|xlsx)['\"]" if name == "worker-dispatcher" else "$^"
        needs = [one for one in found.requires or () if ";" not in one or re.search(extras, one)]
        wanted += [re.match(r"[\w.-]+", one)[0] for one in needs]
        files = {file.parts[0].removesuffix(".py") for file in found.files or () if file.suffix in (".py", ".so")}
        tops |= {one for one in files if one.isidentifier() and one != "__pycache__"}
    assert tops - NEEDED <= {"jupyterlab_plotly"}  # nothing imports it


@pytest.mark.parametrize("target", ["random:f", "random.py:f", "json.inner:f"])
def test_a_target_named_like_a_standard_module_says_so(call: Call, folder: Path, target: str) -> None:
    (folder / "random.py").write_text("def f(id): return id\n")
    (folder / "json").mkdir()
    (folder / "json" / "__init__.py").touch()
    (folder / "json" / "inner.py").write_text("def f(id): return id\n")
    said = call("run", target, "--list", "1")
    assert said.code == 2
    assert "has the name of a module of the standard library, which is imported instead; rename it" in said.err


def test_a_target_named_like_a_needed_package_says_so(call: Call, folder: Path) -> None:
    (folder / "psutil.py").write_text("def f(id): return id\n")
    said = call("run", "psutil.py:f", "--list", "1")
    assert said.code == 2
    assert "psutil.py has the name of an installed package, which is imported instead; rename it" in said.err


def test_a_module_that_means_the_random_py_beside_it_is_told_why_it_gets_another(call: Call, folder: Path) -> None:
    (folder / "random.py").write_text("def dice(): return 4\n")
    (folder / "game.py").write_text("from random import dice\ndef f(id): return dice()\n")
    said = call("run", "game:f", "--list", "1")
    assert said.code == 2
    assert said.err.endswith(
        "random.py has the name of a module of the standard library, which is imported instead; rename it\n"
    )


def test_a_module_of_the_folder_goes_before_an_installed_one_that_nobody_needs(folder: Path, logs: Call) -> None:
    (folder / "requests.py").write_text("def f(id): return 'mine'\n")
    ended = started(folder, "run", "requests:f", "--list", "1", "--quiet", "--log", "run.jsonl", "--processes")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [log["result"] for log in logs("run.jsonl")] == ["mine"]


@pytest.mark.parametrize("marked", [True, False])
def test_a_file_with_a_relative_import_is_told_the_name_of_its_module(call: Call, folder: Path, marked: bool) -> None:
    (folder / "shop" / "inner").mkdir(parents=True)
    (folder / "shop" / "tools.py").write_text("def twice(id): return 2 * id\n")
    (folder / "shop" / "inner" / "job.py").write_text("from ..tools import twice\ndef f(id): return twice(id)\n")
    for place in ("shop", "shop/inner") if marked else ():
        (folder / place / "__init__.py").touch()
    said = call("run", "shop/inner/job.py:f", "--list", "1")
    assert said.code == 2
    assert said.err.endswith("it is part of a package; write shop.inner.job:function\n")
    assert call("run", "shop.inner.job:f", "--list", "1", "--quiet", "--processes").code == 0


def test_the_log_is_written_whatever_becomes_of_the_report(
    call: Call, folder: Path, logs: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("the report failed")

    monkeypatch.setattr("worker_dispatcher.cli.commands.load.report", fails)
    with pytest.raises(RuntimeError, match="the report failed"):
        call("load", "orders:whoami", "--rate", "20", "--duration", "0.2", "--log", "run.jsonl")
    assert len(logs("run.jsonl")) == 4


def test_the_log_takes_nothing_but_the_records(program: Call, folder: Path, logs: Call) -> None:
    broken = folder / "broken"
    broken.mkdir()
    (broken / "numpy.py").write_text("raise ImportError('numpy is broken')\n")
    process = program(
        "run", "orders:whoami", "--list", "3", "--log", "run.jsonl", env={"PYTHONPATH": str(broken), "PATH": "/bin"}
    )
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(logs("run.jsonl")) == 3
