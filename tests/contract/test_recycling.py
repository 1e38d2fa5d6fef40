"""worker.max_tasks_per_worker: a process ends after so many tasks, and another takes its place."""

from __future__ import annotations

import os
import time
from collections import Counter

import pytest

import worker_dispatcher as wd
from worker_dispatcher.pools import base


def pids():
    return Counter(log["pid"] for log in wd.get_logs())


@pytest.mark.parametrize(("number", "most", "tasks"), [(1, 1, 10), (2, 3, 40), (4, 7, 40)])
def test_no_process_runs_more_tasks_than_it_may_and_none_is_lost(process_shape, run, number, most, tasks):
    results = run(process_shape, lambda id: (id, os.getpid()), tasks, {"number": number, "max_tasks_per_worker": most})

    assert [id for id, _ in results] == list(range(1, tasks + 1))
    assert Counter(pid for _, pid in results) == pids()
    assert max(pids().values()) <= most
    assert len(pids()) <= tasks / most + number  # each but the last of a place has run all it may
    assert {log["attempts"] for log in wd.get_logs()} == {1}


def test_tiny_tasks_fill_a_process_before_it_goes(run, process_shape):
    run(process_shape, lambda id: id, 20_000, {"number": 2, "max_tasks_per_worker": 5_000})

    assert max(pids().values()) <= 5_000
    assert len(pids()) <= 6


def test_a_long_task_keeps_its_process_and_blocks_nobody(process_shape, run, notes):
    """The first task ends only once all others have: they run in processes that come and go beside it."""

    def first_waits(id):
        if id == 1:
            yield notes.count(11)
        notes.add(id)
        return os.getpid()

    pids = run(process_shape, first_waits, 12, {"number": 3, "max_tasks_per_worker": 2})

    assert max(Counter(pids).values()) <= 2
    assert notes.all()[-1] == "1"


def test_tasks_that_fail_are_retried_and_deaths_count_too(process_shape, run, notes):
    def second_time_lucky(id):
        first = str(id) not in notes.all()
        notes.add(id)
        if first and id % 3 == 0:
            os._exit(7)
        if first and id % 3 == 1:
            raise ValueError(id)
        return id

    options = {"number": 2, "max_tasks_per_worker": 3}
    assert run(process_shape, second_time_lucky, 15, options, retries=1) == list(range(1, 16))


def test_a_process_that_goes_runs_exit_and_one_that_comes_runs_init(process_shape, run, notes):
    hooks = {"init": lambda: notes.add("init"), "exit": lambda: notes.add("exit")}
    run(process_shape, lambda id: id, 6, {"number": 1, "max_tasks_per_worker": 2, **hooks})

    assert Counter(notes.all()) == {"init": 3, "exit": 3}
    assert notes.all()[0] == "init"


def test_a_slow_exit_of_a_process_that_goes_is_cut_short(process_shape, run, monkeypatch):
    monkeypatch.setattr(base.Setup, "exit_grace", 0.2)
    options = {"number": 1, "max_tasks_per_worker": 2, "exit": lambda: time.sleep(30)}

    with pytest.warns(wd.WorkerWarning, match="had not returned after"):
        assert run(process_shape, lambda id: id, 6, options) == list(range(1, 7))


def test_the_pace_is_kept_while_processes_come_and_go(process_shape, run):
    frequency = {"enabled": True, "interval": 0.1}
    results = run(
        process_shape, lambda id: id, 12, {"number": 2, "max_tasks_per_worker": 2, "frequency_mode": frequency}
    )

    assert results == list(range(1, 13))
    assert max(pids().values()) <= 2


def test_threads_are_refused_since_they_cannot_be_ended():
    config = {"task": {"list": 1, "function": len}, "worker": {"max_tasks_per_worker": 3}}
    with pytest.raises(wd.ConfigError, match=r"max_tasks_per_worker  needs worker processes; set"):
        wd.start(config)
