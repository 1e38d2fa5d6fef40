"""start in threads, in a running loop, in a running task, twice at once."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest
from staging import SHAPES

import worker_dispatcher as wd

pytestmark = pytest.mark.above_the_pools


def test_start_works_in_a_thread(shape, run):
    found = []
    thread = threading.Thread(target=lambda: found.append(run(shape, lambda id: id, 5)))
    thread.start()
    thread.join()

    assert found == [[1, 2, 3, 4, 5]]


def test_start_works_in_a_running_loop(shape, run):
    async def main():
        return run(shape, lambda id: id, 5)

    assert asyncio.run(main()) == [1, 2, 3, 4, 5]


def test_two_runs_at_once_do_not_mix(shape, make_config, notes):
    """Each run waits until the other one has begun."""
    found = {}

    def meet(id, config):
        notes.add(config)
        yield notes.has("a", "b")
        return config, id

    def one(name):
        found[name] = wd.start(make_config(shape, meet, 20, config=name))

    threads = [threading.Thread(target=one, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == {name: [(name, n) for n in range(1, 21)] for name in "ab"}


OPTIONS = {"threads": {}, "processes": {"use_processing": True}, "grid": {"parallel_processing": {"enabled": True}}}


@pytest.mark.parametrize("inner", OPTIONS)
@pytest.mark.parametrize("outer", OPTIONS)
def test_a_task_may_start_a_run_of_its_own(run, outer, inner):
    options = OPTIONS[inner]

    def nested(id):
        import worker_dispatcher

        config = {
            "task": {"list": [id, id + 1, id + 2], "function": lambda task: (task * 10, os.getpid())},
            "worker": {"number": 2, **options},
            "verbose": False,
        }
        results = worker_dispatcher.start(config)
        return os.getpid(), results

    found = run(SHAPES[outer], nested, 3, {"number": 2})

    for id, (pid, results) in enumerate(found, 1):
        assert [value for value, _ in results] == [id * 10, id * 10 + 10, id * 10 + 20]
        assert (pid == os.getpid()) is (outer == "threads")
        assert ({inner_pid for _, inner_pid in results} == {pid}) is (inner == "threads")
    assert len(wd.get_results()) == 3


def test_the_getters_speak_of_the_run_of_this_thread_that_finished_last(shape, run):
    first = run(shape, lambda id: id, 2)
    assert wd.get_results() is first

    thread = threading.Thread(target=lambda: run(shape, lambda id: -id, 2))
    thread.start()
    thread.join()
    assert wd.get_results() is first

    assert run(shape, lambda id: -id, 2) is wd.get_results()
