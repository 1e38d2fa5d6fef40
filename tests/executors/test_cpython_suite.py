"""CPython's own tests of executors, with a WorkerPool in the place of ThreadPoolExecutor and ProcessPoolExecutor.

They are run by a Python 3.13 that has them, where one is installed. What is left out of them, and why, is in
exceptions.py. What is about waiting is the same for each start method, and tried each time with one of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
VERSION = (3, 13)
STARTING = ("test_process_pool", "test_init", "test_shutdown")
WAITING = ("test_wait", "test_as_completed", "test_deadlock")
RUNS = [(module, "forkserver") for module in STARTING + WAITING]
RUNS += [(module, method) for method in ("fork", "spawn") for module in STARTING]
RUNS += [(module, "thread") for module in ("test_thread_pool", "test_init", "test_shutdown", *WAITING[:2])]
RARELY = [(module, method) for method in ("fork", "spawn") for module in WAITING]
HAS_SUITE = "import sys, test.test_concurrent_futures.util; sys.exit(sys.version_info[:2] != (3, 13))"


def _run(*command: str, **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, cwd=PROJECT, capture_output=True, text=True, timeout=280, **how)


def _has_suite(python: str) -> bool:
    try:
        return _run(python, "-c", HAS_SUITE).returncode == 0
    except OSError:
        return False


@pytest.fixture(scope="session")
def python(_signals_reach_what_tests_start: None) -> str:
    """An interpreter of that version that has the suite."""
    name = "python{}.{}".format(*VERSION)
    found = [sys.executable, shutil.which(name), *map(str, Path.home().glob(f".pyenv/versions/*/bin/{name}"))]
    for python in found:
        if python is not None and _has_suite(python):
            return python
    pytest.skip("there is no Python {}.{} here that has test.test_concurrent_futures".format(*VERSION))


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where that interpreter finds the project, and the one package that a pool loads: the same for each Python."""
    packages = tmp_path_factory.mktemp("packages")
    (packages / "cloudpickle").symlink_to(Path(cloudpickle.__file__).parent)
    return os.pathsep.join(map(str, (PROJECT, packages)))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("module", "method"),
    [
        *(pytest.param(*run, id="-".join(run)) for run in RUNS),
        *(pytest.param(*run, id="-".join(run), marks=pytest.mark.combination) for run in RARELY),
    ],
)
def test_the_executor_suite_of_cpython_passes(python: str, path: str, module: str, method: str) -> None:
    command = [python, "-X", "faulthandler", str(HERE / "run_module.py"), module, method]
    run = _run(*command, env={**os.environ, "PYTHONPATH": path})
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
