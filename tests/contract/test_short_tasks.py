"""Many short tasks in threads, which report them by the stretch: what is in the same stretch shares no fate."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter

import pytest
from staging import GRACE, SHAPES, runtimes

import worker_dispatcher as wd

quiet_failures = pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")

THREADS = SHAPES["threads"]


CREWS = {
    "processes": {"number": 2},
    "threads": {"number": 2},
    "grid": {"number": 4, "parallel_processing": {"enabled": True, "processes": 2}},
}


@pytest.fixture(params=CREWS)
def crew_shape(request):
    """Where two threads share the tasks of a process, or two processes have theirs; with the worker's options."""
    return SHAPES[request.param], CREWS[request.param]


def test_what_ended_before_and_what_comes_after_a_long_task_does_not_wait_for_it(crew_shape, make_config, notes):
    def one_is_long(id):
        if id == 150:
            yield notes.has("go")
        return id

    handle = wd.launch(make_config(crew_shape[0], one_is_long, 3000, crew_shape[1]))
    seen = []
    for log in handle:
        assert log["status"] == "ok"
        seen.append(log["task_id"])
        if len(seen) == 2999:
            notes.add("go")

    assert seen[-1] == 150
    assert sorted(seen) == list(range(1, 3001))


@quiet_failures
@pytest.mark.leaves_threads(3)
def test_tasks_that_are_stuck_among_short_ones_time_out_and_every_other_one_runs_once(run, notes):
    ran = Counter()

    def some_are_stuck(id):
        ran[id] += 1
        if id in (100, 101, 900):
            yield notes.has("the end")
        return id

    results = run(THREADS, some_are_stuck, 2000, {"number": 2}, timeout=0.5)
    notes.add("the end")

    assert [at + 1 for at, result in enumerate(results) if result != at + 1] == [100, 101, 900]
    assert {results[at - 1].status for at in (100, 101, 900)} == {"timeout"}
    assert ran == Counter(range(1, 2001))
    assert [log["task_id"] for log in wd.get_logs()] == list(range(1, 2001))
    assert all(0.5 <= wd.get_logs()[at - 1]["duration"] < 0.5 + GRACE for at in (100, 101, 900))


@quiet_failures
@pytest.mark.leaves_threads(1)
@pytest.mark.parametrize("end", ["cancel", "timeout", "runtime"])
def test_a_thread_that_is_given_up_among_short_tasks_has_told_of_all_that_had_ended(end, make_config, notes):
    def one_is_stuck(id):
        ran.append(id)
        if id == 100:
            notes.add("stuck")
            yield notes.has("the end")

    task = {"timeout": {"timeout": 0.4}}.get(end, {})
    for runtime in runtimes(0.4):
        ran = []
        top = {"runtime": runtime} if end == "runtime" else {}
        handle = wd.launch(make_config(THREADS, one_is_stuck, 300, {"number": 1}, top, **task))
        if end == "cancel":
            notes.wait("stuck")
            handle.cancel()
        handle.wait(20)
        if "stuck" in notes.all():
            break
    notes.add("the end")

    last = 300 if end == "timeout" else 100
    assert ran == list(range(1, last + 1))
    assert [log["task_id"] for log in handle.logs] == ran
    assert {log["task_id"]: log["status"] for log in handle.logs if log["status"] != "ok"} == {
        100: "timeout" if end == "timeout" else "cancelled"
    }
    assert handle.info["not_run"] == list(range(last + 1, 301))


@quiet_failures
@pytest.mark.leaves_threads
def test_a_timeout_shorter_than_it_takes_to_look_loses_nothing_that_had_ended(make_config, notes):
    def many_are_stuck(id):
        if id % 50 == 0:
            yield notes.has("the end")

    handle = wd.launch(make_config(THREADS, many_are_stuck, 500, {"number": 1}, timeout=0.003))
    handle.wait(20)
    notes.add("the end")
    assert [log["task_id"] for log in handle.logs] == list(range(1, 501))
    assert {log["status"] for log in handle.logs[49::50]} == {"timeout"}
    # On a busy machine others are late, too.
    assert {log["status"] for log in handle.logs} == {"timeout", "ok"}


def test_short_tasks_are_retried_called_back_and_kept_one_by_one(run, tmp_path):
    tries, called = Counter(), Counter()

    def fails_first(id, metadata):
        tries[id] += 1
        metadata["try"] = tries[id]
        if id % 10 == 0 and tries[id] == 1:
            raise ValueError("not yet")
        return id

    def on_done(id, result, log):
        called[id] += 1
        log["metadata"]["called"] = called[id]
        return -result

    top = {"journal": str(tmp_path / "journal")}
    task = {"retries": 1, "callback": {"on_done": on_done}}
    for _ in range(2):  # the second time, all of it is remembered
        assert run(THREADS, fails_first, 1000, {"number": 3}, top, **task) == [-id for id in range(1, 1001)]
        assert [log["attempts"] for log in wd.get_logs()] == [1 + (id % 10 == 0) for id in range(1, 1001)]
        notes = [log["metadata"] for log in wd.get_logs()]
        assert notes == [{"try": 1 + (id % 10 == 0), "called": 1} for id in range(1, 1001)]
    assert tries == Counter({id: 1 + (id % 10 == 0) for id in range(1, 1001)})
    assert called == Counter(range(1, 1001))


def test_what_short_tasks_print_and_note_is_each_one_s_own(crew_shape, run):
    def prints(id, metadata):
        print(f"I am {id}")
        metadata["id"] = id
        return json.dumps(id)

    run(crew_shape[0], prints, 500, crew_shape[1] | {"capture_output": True})
    assert [log["output"] for log in wd.get_logs()] == [f"I am {id}\n" for id in range(1, 501)]
    assert [log["metadata"]["id"] for log in wd.get_logs()] == list(range(1, 501))


def test_as_many_tasks_run_at_once_as_there_are_threads_new_or_idle(run):
    """Threads are started and woken a few at a time; each wave of tasks needs all of them."""
    together, ended = threading.Barrier(40, timeout=20), []

    def waits_for_the_others(task):
        together.wait()
        ended.append(task)

    def waves():
        for wave in range(5):
            yield from range(40)
            until = time.monotonic() + 20
            while len(ended) < 40 * (wave + 1) and not together.broken and time.monotonic() < until:
                time.sleep(0.001)

    assert run(THREADS, waits_for_the_others, waves(), {"number": 40}) == [None] * 200
    assert run(THREADS, waits_for_the_others, range(200), {"number": 40}) == [None] * 200
