"""A parent process is not woken for each task that ends while its workers have enough to do."""

from __future__ import annotations

import os
import time

import pytest
from staging import SHAPES

import worker_dispatcher as wd
from worker_dispatcher.pools.processes import ProcessPool

quiet_failures = pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")


def spin(id):
    until = time.perf_counter() + 0.005
    while time.perf_counter() < until:
        pass
    return id


@pytest.fixture
def waits(monkeypatch):
    """What each wait of the pool has brought."""
    seen = []
    collect = ProcessPool.collect

    def counted(self):
        seen.append(events := collect(self))
        return events

    monkeypatch.setattr(ProcessPool, "collect", counted)
    return seen


def test_tasks_that_end_shortly_after_one_another_are_heard_of_together(run, waits):
    counts = []
    while not counts or (counts[-1] > 200 and len(counts) < 5):  # a busy machine has its moments
        waits.clear()
        assert run(SHAPES["processes"], spin, 300, {"number": 2}) == list(range(1, 301))
        counts.append(len([events for events in waits if events]))

    assert min(counts) <= 200  # it would be 300, but for two that end at once


@quiet_failures
def test_what_has_ended_while_nobody_listened_counts_when_its_worker_dies(run):
    def dies_once_in_a_while(id):
        if id % 50 == 0:
            os.kill(os.getpid(), 9)
        return spin(id)

    run(SHAPES["processes"], dies_once_in_a_while, 300, {"number": 2})

    assert [log["task_id"] for log in wd.get_logs() if log["status"] != "ok"] == [50, 100, 150, 200, 250, 300]
    assert {log["attempts"] for log in wd.get_logs()} == {1}
