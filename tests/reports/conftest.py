"""What the tests of reports share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from made_logs import ONE


@pytest.fixture(scope="session", autouse=True)
def _drawn_once(_warm: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Fonts and libraries that matplotlib keeps for good are no leak of the first test that draws."""
    from worker_dispatcher import report

    report(ONE).to_png(tmp_path_factory.mktemp("warm") / "warm.png")


@pytest.fixture
def run_python() -> Callable[[str], str]:
    """Run a script in a Python of its own; its output. It must end well and say nothing on standard error."""

    def run(script: str) -> str:
        done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run
