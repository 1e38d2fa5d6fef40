"""A task of a kept grid that is over its time ends alone: what runs beside it in its process ends undisturbed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from worker_dispatcher import TaskTimeout, WorkerDied, WorkerPool

PATIENCE = 60  # seconds, for what takes a moment on a machine that has nothing else to do


def mark(path):
    """Note in a file that a task has begun; how often it has."""
    with open(path, "a") as file:
        file.write("x")


def beside(path, until):
    """Runs until a file is there; gives its process id."""
    mark(path)
    while not Path(until).exists():
        time.sleep(0.005)
    return os.getpid()


def sleeper(path):
    mark(path)
    time.sleep(3600)


def dies(path, until):
    beside(path, until)
    os.kill(os.getpid(), signal.SIGKILL)


def process_id(_=None):
    return os.getpid()


def await_(fact):
    until = time.monotonic() + PATIENCE
    while not fact():
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.fixture
def grid():
    with WorkerPool(2, kind="grid", threads_per_process=2) as pool:
        assert pool.submit(process_id).result(PATIENCE)
        yield pool


def pair(grid, tmp_path, **limits):
    """A task that runs beside one that never ends, both in one process: futures, and what lets the first one end."""
    here, go = tmp_path / "beside", tmp_path / "go"
    other = grid.submit(beside, here, go)
    await_(here.exists)
    return other, grid.schedule(sleeper, (tmp_path / "sleeper",), **limits), go


def test_what_runs_beside_a_task_over_its_time_ends_undisturbed_and_once(grid, tmp_path):
    other, late, go = pair(grid, tmp_path, timeout=0.3)
    with pytest.raises(TaskTimeout):
        late.result(PATIENCE)
    assert not other.done()
    time.sleep(0.6)  # in a run its process would be gone by now
    go.touch()
    old = other.result(PATIENCE)
    assert (tmp_path / "beside").read_text() == "x"
    fresh = grid.submit(process_id).result(PATIENCE)
    assert fresh != old
    await_(lambda: not Path(f"/proc/{old}").exists())


def test_the_process_of_a_task_over_its_time_takes_nothing_new(grid, tmp_path):
    other, late, go = pair(grid, tmp_path, timeout=0.3)
    with pytest.raises(TaskTimeout):
        late.result(PATIENCE)
    waiting = grid.submit(process_id)
    time.sleep(0.3)
    assert not waiting.done()
    go.touch()
    assert waiting.result(PATIENCE) != other.result(PATIENCE)


def test_the_process_of_a_task_that_ran_alone_is_replaced_at_once(grid, tmp_path):
    old = grid.submit(process_id).result(PATIENCE)
    late = grid.schedule(sleeper, (tmp_path / "sleeper",), timeout=0.3)
    with pytest.raises(TaskTimeout):
        late.result(PATIENCE)
    assert grid.submit(process_id).result(PATIENCE) != old


@pytest.mark.parametrize("end", ["kill", "deadline"])
def test_a_task_that_is_killed_or_past_its_deadline_ends_alone_too(grid, tmp_path, end):
    limits = {"deadline": 0.5} if end == "deadline" else {}
    other, doomed, go = pair(grid, tmp_path, **limits)
    if end == "kill":
        await_((tmp_path / "sleeper").exists)
        assert doomed.kill()
    assert doomed.outcome(PATIENCE).state == ("cancelled" if end == "kill" else "expired")
    time.sleep(0.6)
    assert not other.done()
    go.touch()
    old = other.result(PATIENCE)
    assert (tmp_path / "beside").read_text() == "x"
    await_(lambda: not Path(f"/proc/{old}").exists())


def test_two_tasks_of_a_process_may_be_over_their_times_one_after_the_other(grid, tmp_path):
    first = grid.schedule(sleeper, (tmp_path / "one",), timeout=0.3)
    second = grid.schedule(sleeper, (tmp_path / "two",), timeout=0.9)
    for late in (first, second):
        with pytest.raises(TaskTimeout):
            late.result(PATIENCE)
    assert grid.submit(process_id).result(PATIENCE)


def test_a_retry_waits_until_the_process_of_the_attempt_before_is_gone(grid, tmp_path):
    other, late, go = pair(grid, tmp_path, timeout=0.3, retries=1, retry_on=TaskTimeout, backoff=lambda attempt: 0.0)
    await_(lambda: grid.stats().abandoned == 1)
    time.sleep(0.3)
    assert (tmp_path / "sleeper").read_text() == "x"
    go.touch()
    assert other.result(PATIENCE)
    assert late.outcome(PATIENCE).attempts == 2
    assert (tmp_path / "sleeper").read_text() == "xx"


def test_a_death_beside_a_task_over_its_time_may_be_the_fault_of_that(grid, tmp_path):
    here, go = tmp_path / "here", tmp_path / "go"
    other = grid.submit(dies, here, go)
    await_(here.exists)
    late = grid.schedule(sleeper, (tmp_path / "sleeper",), timeout=0.3)
    with pytest.raises(TaskTimeout):
        late.result(PATIENCE)
    go.touch()
    with pytest.raises(WorkerDied):
        other.result(PATIENCE)
    assert here.read_text() == "xx"  # the second time alone, which makes it certain


def test_shutdown_ends_a_process_with_a_task_over_its_time(tmp_path):
    with WorkerPool(2, kind="grid", threads_per_process=2) as pool:
        other, late, go = pair(pool, tmp_path, timeout=0.3)
        with pytest.raises(TaskTimeout):
            late.result(PATIENCE)
        began = time.monotonic()
        go.touch()
    assert other.result(0)
    assert time.monotonic() - began < 20
