"""numpy in worker processes: loaded once for all of them, with as many threads as told, and with numbers of its own."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
from staging import SHAPES

PROCESSES = SHAPES["processes"]

LOOKS = """
import os, sys, time
{imports}

def server_has_numpy(id):
    time.sleep(0.01)
    return "_multiarray_umath" in open(f"/proc/{{os.getppid()}}/maps").read()
"""
RUNS = """
import sys
import numpy
import looks
import worker_dispatcher

config = {"task": {"list": 4, "function": looks.server_has_numpy}, "worker": {"use_processing": True, "number": 2}}
print(worker_dispatcher.start({**config, "verbose": False}))
"""


@pytest.mark.parametrize(("imports", "has"), [("import numpy as np", True), ("from math import sin", False)])
def test_numpy_is_loaded_once_where_the_tasks_use_it_and_only_there(script, tmp_path: Path, imports, has):
    (tmp_path / "looks.py").write_text(LOOKS.format(imports=imports))
    (tmp_path / "runs.py").write_text(RUNS)

    assert script("runs.py").stdout.splitlines()[-1] == str([has] * 4)


def test_an_array_in_the_config_says_that_numpy_is_used(run):
    def server_has_numpy(config):
        return "_multiarray_umath" in Path(f"/proc/{os.getppid()}/maps").read_text()

    assert run(PROCESSES, server_has_numpy, 1, config=np.zeros(3)) == [True]


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
@pytest.mark.parametrize("threads", [1, 2])
def test_linear_algebra_has_the_threads_it_is_told_whoever_loaded_it(run, method, threads):
    def threads_of_numpy(id):
        np.ones((2, 2)) @ np.ones((2, 2))
        return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}

    options = {"number": 1, "blas_threads": threads, "start_method": method}
    assert run(PROCESSES, threads_of_numpy, 1, options) == [{min(threads, len(os.sched_getaffinity(0)))}]


TELLS_THREADS = """
import os
import numpy as np
import threadpoolctl
import worker_dispatcher

def threads(id):
    np.ones((2, 2)) @ np.ones((2, 2))
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}

def told(common):
    worker = {"use_processing": True, "number": 1}
    os.environ["OMP_NUM_THREADS"] = common
    return worker_dispatcher.start({"task": {"list": 1, "function": threads}, "worker": worker, "verbose": False})
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one thread must differ from two")
@pytest.mark.parametrize(
    "steps",
    [
        "print(told('1')); os.environ['OPENBLAS_NUM_THREADS'] = '2'; print(told('1'))",
        "print(told('1')); os.environ['OPENBLAS_NUM_THREADS'] = '2'; print(told('1')); print(told('1'))",
        "os.environ['OPENBLAS_NUM_THREADS'] = '1'; print(told('2')); os.environ['OPENBLAS_NUM_THREADS'] = '2'; "
        "print(told('1'))",
    ],
)
def test_the_threads_of_linear_algebra_that_the_user_has_set_stand_in_every_run(script, tmp_path: Path, steps):
    (tmp_path / "tells.py").write_text(TELLS_THREADS + steps)
    first, *later = script("tells.py").stdout.splitlines()
    assert first == "[{1}]"
    assert set(later) == {"[{2}]"}


FORKS_WHILE_NUMBERS_ARE_DRAWN = """
import threading, time
import numpy as np
import worker_dispatcher

def draw(drawing):
    # What np.random.standard_normal(10**8) does: it holds this lock for as long as it draws, without the GIL.
    with np.random.mtrand._rand._bit_generator.lock:
        drawing.set()
        time.sleep(60)

drawing = threading.Event()
threading.Thread(target=draw, args=(drawing,), daemon=True).start()
drawing.wait()
worker = {"use_processing": True, "number": 1, "start_method": "fork"}
task = {"list": [-1, -2], "function": abs}
print(worker_dispatcher.start({"task": task, "worker": worker, "runtime": 8, "verbose": False}))
"""


def test_a_fork_does_not_wait_for_a_thread_of_its_parent_that_draws_numbers(script, tmp_path: Path):
    (tmp_path / "draws.py").write_text(FORKS_WHILE_NUMBERS_ARE_DRAWN)
    assert script("draws.py").stdout.splitlines() == ["[1, 2]"]


def test_workers_draw_numbers_of_their_own(run):
    def draw(id):
        time.sleep(0.001)
        return np.random.random()

    np.random.seed(1)
    assert len(set(run(PROCESSES, draw, 6, {"number": 2, "max_tasks_per_worker": 1}))) == 6
