"""What the handler of an alarm raises leaves the call that it rang in, whenever that is; nothing is left behind."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("alarmed.py")
FACES = [
    "threads",
    "coroutines",
    "processes",
    "spawn",
    "fork",
    "grid",
    "load",
    "journal",
    "launch",
    "pool",
    "pool of processes",
    "engine",
    "engine with processes",
    "engine with a store",
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("times", [20, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("face", FACES)
def test_an_alarm_leaves_the_call_that_it_rings_in(face, times):
    seed = random.randrange(10**6)
    print("seed", seed)
    command = [sys.executable, str(PROGRAM), str(times), str(seed), face]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert (done.stdout, done.returncode) == ("tried\n", 0), done.stdout + done.stderr
