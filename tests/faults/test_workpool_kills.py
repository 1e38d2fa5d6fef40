"""Workers of a kept pool that are killed at any moment: the task that one ran is told of it, and that is all."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter

import pytest

from worker_dispatcher import TaskTimeout, WorkerDied, WorkerPool

PATIENCE = 60  # seconds, for what takes a moment on a machine that has nothing else to do


def noted(path, number, seconds):
    """Write that it has begun and that it has ended, a line each in one step."""
    with open(path, "ab", buffering=0) as file:
        file.write(b"b%d\n" % number)
        time.sleep(seconds)
        file.write(b"e%d\n" % number)
    return number


def seed_of(name):
    seed = int(os.environ.get("STORM_SEED", random.SystemRandom().randrange(1 << 30)))
    print(f"STORM_SEED={seed}  # {name}")
    return random.Random(seed)


def kill_one(pool, dice):
    """True if there was one."""
    pids = sorted(set(pool._scheduler.pool.pids.values()))
    if not pids:
        return False
    try:
        os.kill(dice.choice(pids), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def cycle(pool, dice, path, first):
    """Eight tasks and one kill; how many tasks were told of it."""
    futures = [pool.submit(noted, path, first + nth, dice.uniform(0, 0.004)) for nth in range(dice.randrange(1, 9))]
    time.sleep(dice.uniform(0, 0.02))
    kill_one(pool, dice)
    died = 0
    for number, future in enumerate(futures, first):
        error = future.exception(PATIENCE)
        if error is None:
            assert future.result() == number
        else:
            assert isinstance(error, WorkerDied), error
            died += 1
    return died, len(futures)


def storm(make, dice, path, cycles, fresh):
    first = 0
    pool = make()
    try:
        for nth in range(cycles):
            if fresh and nth:
                pool.shutdown()
                pool = make()
            died, count = cycle(pool, dice, path, first)
            assert died <= 1
            first += count
        stats = pool.stats()
        assert stats.submitted == stats.succeeded + stats.failed
    finally:
        pool.shutdown()
    lines = Counter(path.read_bytes().split())
    assert all(count == 1 for count in lines.values()), [line for line, count in lines.items() if count > 1]
    return first


@pytest.mark.parametrize("cycles", [20, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_a_killed_process_costs_one_task_at_most_and_none_is_run_twice(tmp_path, cycles):
    storm(lambda: WorkerPool(3, kind="process"), seed_of("kills"), tmp_path / "log", cycles, fresh=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_processes_killed_while_a_pool_begins_cost_one_task_at_most_and_none_is_run_twice(tmp_path):
    storm(lambda: WorkerPool(3, kind="process"), seed_of("kills at the start"), tmp_path / "log", 60, fresh=True)


def one_by_one(pool, dice, path, cycles):
    for number in range(cycles):
        future = pool.submit(noted, path, number, dice.uniform(0, 0.002))
        time.sleep(dice.uniform(0, 0.004))
        kill_one(pool, dice)
        error = future.exception(PATIENCE)
        assert error is None or isinstance(error, WorkerDied)


def test_a_process_killed_around_the_moment_in_which_it_is_given_a_task_loses_none(tmp_path):
    # Each finds an idle worker, and is written to it by the thread that submits.
    with WorkerPool(2, kind="process") as pool:
        one_by_one(pool, seed_of("kills of the idle"), tmp_path / "log", 30)
    lines = Counter((tmp_path / "log").read_bytes().split())
    assert all(count == 1 for count in lines.values())


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def own_id_then_sleep(path):
    path.write_text(str(os.getpid()))
    time.sleep(3600)


def test_a_process_whose_task_is_over_its_time_is_gone_at_once(tmp_path):
    with WorkerPool(2, kind="process") as pool:
        pool.submit(abs, 1).result(PATIENCE)
        took = []
        for nth in range(5):
            path = tmp_path / str(nth)
            future = pool.schedule(own_id_then_sleep, (path,), timeout=0.5)
            with pytest.raises(TaskTimeout):
                future.result(PATIENCE)
            pid = int(path.read_text())
            while not gone(pid):
                time.sleep(0.001)
            took.append(time.time() - path.stat().st_mtime - 0.5)
    assert min(took) < 0.2, took
