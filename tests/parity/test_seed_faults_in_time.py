"""The faults of 1.x that have to do with time: frequency mode and the runtime."""

from __future__ import annotations

import collections
import time
from typing import Any

import pytest
from seed_runs import quiet_failures, task_ids

import worker_dispatcher

pytestmark = pytest.mark.above_the_pools

# Frequency mode with the grid ---------------------------------------------------------------------------------------


def ticking(interval: float, **more: Any) -> dict[str, Any]:
    return {"frequency_mode": {"enabled": True, "interval": interval, **more}}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_frequency_mode_in_the_grid_runs_fewer_tasks_than_there_are_cores(grid_shape, run, count):
    results = run(lambda id, config, task, metadata: id, count, {"number": 4, **ticking(0.01), **grid_shape})
    assert results == list(range(1, count + 1))
    assert task_ids() == list(range(1, count + 1))


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 7, 8, 13])
def test_frequency_mode_with_a_queue_ends_for_every_number_of_workers(run, number):
    queue = {"parallel_processing": {"enabled": True, "use_queue": True}}
    count = 2 * number + 1
    began = time.monotonic()
    results = run(lambda id, config, task, metadata: id, count, {"number": number, **ticking(0.01), **queue})
    assert results == list(range(1, count + 1))
    assert time.monotonic() - began < 20  # the seed: 60 s


def test_a_ramp_down_drops_no_task_and_never_goes_below_one_a_tick(shape, run):
    worker = {"number": 5, **ticking(0.02, accumulated_workers=-2), **shape}
    results = run(lambda id, config, task, metadata: id, 12, worker)
    assert results == list(range(1, 13))
    assert task_ids() == list(range(1, 13))
    per_tick = collections.Counter(log["interval"] for log in worker_dispatcher.get_logs())
    assert per_tick == {0: 5, 1: 3, 2: 1, 3: 1, 4: 1, 5: 1}


def test_a_ramp_up_adds_workers_at_each_tick(shape, run):
    worker = {"number": 1, **ticking(0.02, accumulated_workers=2), **shape}
    assert run(lambda id, config, task, metadata: id, 9, worker) == list(range(1, 10))
    per_tick = collections.Counter(log["interval"] for log in worker_dispatcher.get_logs())
    assert per_tick == {0: 1, 1: 3, 2: 5}


# Tasks start after the deadline; tasks that ran are missing from the logs -------------------------------------------


@quiet_failures
@pytest.mark.leaves_threads
def test_nothing_starts_after_the_runtime_and_what_ran_is_in_the_logs(shape, run, notes):
    def short(id, config, task, metadata):
        notes.add(id)
        time.sleep(0.05)  # the work
        return id

    for runtime in (0.6, 2.4):  # it counts from the call: no worker may be there before the first is over
        began = time.monotonic()
        run(short, 200, {"number": 2, **shape}, top={"runtime": runtime})
        assert time.monotonic() - began < runtime + 3
        if logs := worker_dispatcher.get_logs():
            break

    info = worker_dispatcher.get_result_info()
    assert max(log["started_at"] for log in logs) <= info["started_at"] + runtime + 0.05
    assert sorted(map(int, notes.all())) == task_ids()
    assert sorted(task_ids() + info["not_run"]) == list(range(1, 201))  # a late worker may have an early one
    assert info["not_run"]


@quiet_failures
def test_the_runtime_holds_in_frequency_mode(run, notes):
    worker = {"number": 2, **ticking(0.1)}
    run(lambda id: notes.add(id) or True, 200, worker, top={"runtime": 0.55})
    info = worker_dispatcher.get_result_info()
    assert sorted(map(int, notes.all())) == task_ids()
    assert task_ids() + info["not_run"] == list(range(1, 201))
    assert 2 <= len(task_ids()) <= 12


# Frequency mode drifts 0.1-0.16 ms per interval and sleeps after the last batch -------------------------------------


def test_the_ticks_of_frequency_mode_do_not_drift(shape, run):
    run(lambda id: id, 60, {"number": 1, **ticking(0.02), **shape})
    logs = worker_dispatcher.get_logs()
    first = logs[0]["scheduled_at"]
    assert [log["scheduled_at"] - first for log in logs] == pytest.approx([0.02 * k for k in range(60)], abs=1e-5)
    lateness = [log["started_at"] - log["scheduled_at"] for log in logs]
    assert min(lateness) > -0.001
    # The seed's last ticks were 6 to 9 ms later than its first. The least counts: a busy moment is no drift.
    assert min(lateness[-10:]) - min(lateness[:10]) < 0.003


def test_frequency_mode_does_not_wait_after_the_last_batch(shape, run):
    began = time.monotonic()
    assert run(lambda id: id, 4, {"number": 4, **ticking(60), **shape}) == [1, 2, 3, 4]
    assert time.monotonic() - began < 20


# Processes with frequency mode fork one process per task ------------------------------------------------------------


def test_frequency_mode_reuses_its_processes(run):
    run(lambda id: id, 60, {"number": 2, **ticking(0.05), "use_processing": True})
    assert task_ids() == list(range(1, 61))
    # One process could do it; how many there are beyond what falls due together is up to what else the machine does.
    assert len({log["pid"] for log in worker_dispatcher.get_logs()}) <= 20
