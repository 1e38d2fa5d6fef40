"""A worker process tells of a task that has ended while the next one of its batch runs."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import pytest
from notes import LONGEST_WAIT, Notes, wait_for
from staging import SHAPES

import worker_dispatcher as wd
from worker_dispatcher import WorkerPool

quiet_failures = pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")

ONE_WORKER = {
    "processes": {"number": 1},
    "grid": {"number": 1, "parallel_processing": {"enabled": True, "processes": 1}},
}


def asleep(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.002)


def busy(path: str) -> None:
    """In Python, without a pause in which another thread would be let in."""
    while not os.path.exists(path):
        sum(range(100))


def tiny_or(wait, path: str, way: str = "") -> str:
    if way:
        wait(path)
    return way


@pytest.mark.parametrize("wait", [asleep, busy])
@pytest.mark.parametrize("kind", ["process", "grid"])
def test_a_task_that_shares_a_batch_with_a_long_one_is_told_of_while_that_runs(kind, wait, tmp_path):
    go = str(tmp_path / "go")
    with WorkerPool(1, kind=kind) as pool:
        tiny = [(tiny_or, (wait, go))] * 300
        for _ in range(3):  # from here on the pool knows that they may travel together
            assert {future.result() for future in pool.schedule_many(tiny)} == {""}
        futures = pool.schedule_many([*tiny[:20], (tiny_or, (wait, go, "long")), *tiny[:5]])
        try:
            assert [future.result(LONGEST_WAIT) for future in futures[:20]] == [""] * 20
            assert not any(future.done() for future in futures[20:])
        finally:
            Path(go).touch()
        assert [future.result(LONGEST_WAIT) for future in futures[20:]] == ["long", *[""] * 5]


@quiet_failures
@pytest.mark.parametrize("shape", ONE_WORKER)
def test_what_had_ended_before_a_task_was_killed_is_not_run_again(shape, run, notes: Notes):
    def one_is_stuck(id):
        notes.add(id)
        if id == 150:
            time.sleep(60)
        return id

    results = run(SHAPES[shape], one_is_stuck, 200, ONE_WORKER[shape], timeout=0.5)

    assert [at for at, result in enumerate(results, 1) if result != at] == [150]
    assert results[149].status == "timeout"
    assert Counter(notes.all()) == Counter(map(str, range(1, 201)))


def test_what_early_reports_brought_comes_once_and_with_its_notes(run, notes: Notes):
    """Stretch by stretch: results that are packed and plain, notes and prints, before and after each long task."""

    def some_are_long(id, metadata):
        metadata["id"] = id
        print("task", id)
        if id % 40 == 0:
            time.sleep(0.03)
        return {"id": id} if id % 3 else id

    run(SHAPES["processes"], some_are_long, 200, {"number": 1, "capture_output": True})

    logs = wd.get_logs()
    assert [log["result"] for log in logs] == [{"id": id} if id % 3 else id for id in range(1, 201)]
    assert [log["metadata"]["id"] for log in logs] == list(range(1, 201))
    assert [log["output"] for log in logs] == [f"task {id}\n" for id in range(1, 201)]


def test_a_task_forks_a_process_of_one_thread_whatever_its_worker_does_beside_it(run, notes: Notes):
    def forks_at_last(id):
        if id == 150:
            wait_for(lambda: len(os.listdir("/proc/self/task")) > 1)  # the one that tells of the tasks before
            if (child := os.fork()) == 0:
                os._exit(7)
            wait_for(lambda: len(os.listdir("/proc/self/task")) == 1)  # and the system has taken it away
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return id

    results = run(SHAPES["processes"], forks_at_last, 300, {"number": 1})
    assert results == [id if id != 150 else 7 for id in range(1, 301)]


def test_what_forks_goes_on_to_tell_early(make_config, notes: Notes):
    def forks_and_waits(id):
        if id in (100, 200):
            if (child := os.fork()) == 0:
                os._exit(0)
            os.waitpid(child, 0)
            yield notes.has(id)
        return id

    handle = wd.launch(make_config(SHAPES["processes"], forks_and_waits, 250, {"number": 1}))
    seen = []
    for log in handle:
        seen.append(log["task_id"])
        if len(seen) in (99, 199):
            notes.add(len(seen) + 1)
    assert seen == list(range(1, 251))
