"""worker.memory_limit: who holds too much is killed and named; everybody else's work is as right as ever."""

from __future__ import annotations

import os
import time

import psutil
import pytest

import worker_dispatcher as wd

LIMIT = "250MB"
TOO_MUCH = 600_000_000


def hog(id, task):
    """Some tasks hold too much, and would for ever."""
    if task == "hog":
        held = b"x" * TOO_MUCH
        time.sleep(60)
        return len(held)
    time.sleep(0.02)
    return id * 10


def told(log):
    assert (log["status"], log["error"]["type"]) == ("crashed", "WorkerDied")
    return log["error"]["message"]


def test_a_task_that_holds_too_much_is_crashed_and_told_why(process_shape, run, others_are_ok, next_run_works):
    began = time.monotonic()
    tasks = ["hog" if n == 4 else n for n in range(12)]
    run(hog, tasks, {**process_shape, "memory_limit": LIMIT})

    message = told(wd.get_logs()[4])
    assert message.startswith("its worker process used ")
    assert message.endswith("MB of memory, over the worker.memory_limit of 250 MB")
    assert time.monotonic() - began < 30
    others_are_ok(12, [5])
    assert {log["attempts"] for log in wd.get_logs()} == {1}
    next_run_works(process_shape)


def test_a_task_that_holds_too_much_is_tried_again_as_often_as_others(run, others_are_ok):
    shape = {"number": 2, "use_processing": True, "memory_limit": LIMIT}
    run(hog, [0, "hog", 2, 3], shape, retries=1)

    assert told(wd.get_logs()[1])
    assert wd.get_logs()[1]["attempts"] == 2
    others_are_ok(4, [2])


def leave_something(id):
    """Each task leaves something behind; one alone stays within the limit, and all of a process do not."""
    kept.append(b"x" * 60_000_000)
    time.sleep(0.15)
    return os.getpid()


kept: list[bytes] = []


def test_a_worker_that_has_grown_is_replaced_between_tasks_or_costs_one(run):
    run(leave_something, 16, {"number": 2, "use_processing": True, "memory_limit": LIMIT}, retries=3)

    pids = wd.get_results()
    assert all(pids)
    assert len(set(pids)) > 2


def test_a_limit_that_no_worker_keeps_ends_the_run_and_says_so(process_shape, run):
    shape = {**process_shape, "memory_limit": "1MB", "init": lambda: time.sleep(60)}
    with pytest.raises(wd.RunError, match=r"before they begin a task: the last one used .*memory_limit of 1 MB"):
        run(hog, 50, shape)


def test_tasks_under_a_limit_that_no_worker_keeps_are_crashed(process_shape, run):
    run(time.sleep, [30] * 8, {**process_shape, "memory_limit": "1MB"})

    assert all("over the worker.memory_limit of 1 MB" in told(log) for log in wd.get_logs())
    assert len(wd.get_logs()) == 8


def test_the_look_at_memory_takes_little_of_the_callers_time(run):
    def wait(id):
        time.sleep(1.5)

    shape = {"number": 8, "use_processing": True}
    used = []
    for limit in (None, "1GB"):
        before = psutil.Process().cpu_times()
        run(wait, 8, shape | {"memory_limit": limit})
        after = psutil.Process().cpu_times()
        used.append(after.user + after.system - before.user - before.system)
    assert used[1] - used[0] < 0.3  # of 1.5 s; 0.02 s on an idle machine


def test_threads_are_refused_since_they_share_their_memory():
    config = {"task": {"list": 1, "function": hog}, "worker": {"memory_limit": "1GB"}}
    with pytest.raises(wd.ConfigError, match=r"memory_limit  needs worker processes"):
        wd.start(config)
