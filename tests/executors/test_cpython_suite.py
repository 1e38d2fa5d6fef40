"""CPython's own tests of executors, with a WorkerPool in the place of ThreadPoolExecutor and ProcessPoolExecutor.

They are run by a Python 3.13 that has them, where one is installed: with the environment of this run if that is one,
else with one that scripts/environment.sh makes, once. What is left out of them, and why, is in exceptions.py.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
VERSION = (3, 13)
MODULES = ("test_thread_pool", "test_process_pool", "test_init", "test_shutdown", "test_wait", "test_as_completed")
RUNS = [(module, method) for method in ("fork", "forkserver", "spawn") for module in (*MODULES[1:], "test_deadlock")]
RUNS += [(module, "thread") for module in MODULES if module != "test_process_pool"]
HAS_SUITE = "import sys, venv, ensurepip, test.test_concurrent_futures.util; sys.exit(sys.version_info[:2] != (3, 13))"


def _run(*command: str, **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, cwd=PROJECT, capture_output=True, text=True, timeout=280, **how)


def _has_suite(python: str) -> bool:
    try:
        return _run(python, "-c", HAS_SUITE).returncode == 0
    except OSError:
        return False


def _python() -> str | None:
    """A Python of that version that has the suite."""
    name = "python{}.{}".format(*VERSION)
    found = [shutil.which(name), *map(str, Path.home().glob(f".pyenv/versions/*/bin/{name}"))]
    return next((python for python in found if python is not None and _has_suite(python)), None)


@pytest.fixture(scope="session")
def python(_signals_reach_what_tests_start: None) -> str:
    """An interpreter that has the suite, and the project's dependencies."""
    if sys.version_info[:2] == VERSION and _has_suite(sys.executable):
        return sys.executable
    base = _python()
    if base is None:
        pytest.skip("there is no Python {}.{} here that has test.test_concurrent_futures".format(*VERSION))
    script = PROJECT / "scripts" / "environment.sh"
    with script.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other sessions want the same at the same time
        make = f'set -e; . {script}; prepare .venv-suite; echo "$ENV_PYTHON"'
        made = _run("sh", "-c", make, env={**os.environ, "PYTHON": base})
    assert made.returncode == 0, made.stderr
    return str(PROJECT / made.stdout.split()[-1])


@pytest.mark.timeout(900)  # the first may have to make the environment
@pytest.mark.parametrize(("module", "method"), RUNS, ids=["-".join(run) for run in RUNS])
def test_the_executor_suite_of_cpython_passes(python: str, module: str, method: str) -> None:
    run = _run(python, "-X", "faulthandler", str(HERE / "run_module.py"), module, method)
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
