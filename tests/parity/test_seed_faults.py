"""The faults of 1.x in results, failures, configs and shared state, each with the right behaviour."""

from __future__ import annotations

import array
import collections
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seed_runs import quiet_failures, task_ids

import worker_dispatcher

pytestmark = pytest.mark.above_the_pools


def statuses() -> dict[int, str]:
    return {log["task_id"]: log["status"] for log in worker_dispatcher.get_logs()}


# Results in hash order ----------------------------------------------------------------------------------------------


def test_results_and_logs_are_in_task_order_even_if_the_first_task_ends_last(shape, run, notes):
    items = [f"item {number}" for number in range(1, 13)]

    def waits_for_the_others(id, config, task, metadata):
        if id == 1:
            notes.wait(*range(2, 13))
        notes.add(id)
        return [id, task]

    results = run(waits_for_the_others, items, {"number": 4, **shape})

    assert results == [[number, f"item {number}"] for number in range(1, 13)]
    assert task_ids() == list(range(1, 13))
    assert notes.all()[-1] == "1"


# In the grid, chunks repeated: 100 tasks gave 175 or 250 results under spawn ----------------------------------------


@pytest.mark.parametrize("start_method", [None, "fork", "forkserver", "spawn"])
def test_in_the_grid_each_task_runs_once_and_has_one_result_and_one_log(grid_shape, run, notes, start_method):
    def noted(id, config, task, metadata):
        notes.add(id)
        return id

    for round_ in (1, 2):  # the fault came from what a first run left in the children
        results = run(noted, 100, {"number": 8, "start_method": start_method, **grid_shape})
        assert results == list(range(1, 101))
        assert task_ids() == list(range(1, 101))
        assert collections.Counter(notes.all()) == {str(number): round_ for number in range(1, 101)}


# A dead worker, a lambda or an unpicklable result loses a whole chunk in silence with exit 0 ------------------------


@quiet_failures
def test_a_dead_worker_costs_one_task_and_no_other(process_shape, run):
    def dies(id, config, task, metadata):
        if id == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        if id == 12:
            os._exit(0)
        return id

    results = run(dies, 30, {"number": 4, **process_shape})

    assert statuses() == {number: "crashed" if number in (7, 12) else "ok" for number in range(1, 31)}
    assert [result for result in results if result] == [number for number in range(1, 31) if number not in (7, 12)]
    assert [bool(results[6]), bool(results[11])] == [False, False]
    assert results[6].task_id == 7
    assert results[6].status == "crashed"
    assert "SIGKILL" in worker_dispatcher.get_logs()[6]["error"]["message"]


def test_a_lambda_and_a_closure_run_in_processes(process_shape, run):
    offset = 1000
    assert run(lambda id: id + offset, 10, {"number": 2, **process_shape}) == [1000 + id for id in range(1, 11)]


@quiet_failures
def test_a_result_that_cannot_be_sent_is_an_error_of_its_task_only(process_shape, run):
    def sometimes_a_lock(id, config, task, metadata):
        return threading.Lock() if id == 5 else id

    results = run(sometimes_a_lock, 20, {"number": 4, **process_shape})

    assert statuses() == {number: "error" if number == 5 else "ok" for number in range(1, 21)}
    assert [result for result in results if result] == [number for number in range(1, 21) if number != 5]


def test_failures_of_a_quiet_run_are_not_silent(shape, run):
    def fails_once(id, config, task, metadata):
        if id == 2:
            raise ValueError("no such order")
        return id

    with pytest.warns(worker_dispatcher.errors.TaskFailuresWarning, match="no such order"):
        run(fails_once, 3, {"number": 2, **shape})


# `number: None` means 1 ---------------------------------------------------------------------------------------------


def cores_allowed() -> int:
    """Whole cores that this process may use: affinity, and the quota of a container."""
    cores = len(os.sched_getaffinity(0))
    limit = Path("/sys/fs/cgroup/cpu.max")
    quota, period = (limit.read_text().split() if limit.exists() else ["max", "1"])[:2]
    return cores if quota == "max" else min(cores, int(quota) // int(period))


@pytest.mark.skipif(cores_allowed() < 2, reason="one core is one worker")
def test_no_number_means_one_worker_per_usable_core(shape, tmp_path):
    script = f"""
import json, os, pathlib, sys, time
import worker_dispatcher

os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
folder = pathlib.Path({str(tmp_path)!r})

def meets_the_other(id, config, task, metadata):
    (folder / str(id)).touch()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if all((folder / name).exists() for name in ("1", "2")):
            return True
        time.sleep(0.002)
    return False

worker = {{"number": None, **{shape!r}}}
quiet = {{"worker": worker, "verbose": False}}
met = worker_dispatcher.start({{"task": {{"list": 2, "function": meets_the_other}}, **quiet}})
worker_dispatcher.start({{"task": {{"list": 50, "function": len}}, **quiet}})
workers = {{log["worker"] for log in worker_dispatcher.get_logs()}}
print(json.dumps([met, len(workers)]))
"""
    met, workers = json.loads(run_script(script).stdout)
    assert met == [True, True]
    assert workers <= 2


def run_script(text: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=check, timeout=60)


# Tuples, ranges and generators mean zero tasks ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "tasks"),
    [
        (("a", "b", "c"), ["a", "b", "c"]),
        (range(5, 8), [5, 6, 7]),
        ((number * number for number in range(4)), [0, 1, 4, 9]),
        (iter([3, 2, 1]), [3, 2, 1]),
        ({"x": 1, "y": 2}, ["x", "y"]),
        ({"only"}, ["only"]),
        (array.array("i", [7, 8]), [7, 8]),
        (np.arange(3), [0, 1, 2]),
        (collections.deque([1, 2]), [1, 2]),
        (3, [{}, {}, {}]),
        (0, []),
        ([], []),
    ],
    ids=["tuple", "range", "generator", "iterator", "dict", "set", "array", "numpy", "deque", "count", "zero", "empty"],
)
def test_every_iterable_is_consumed_in_full(run, items, tasks):
    assert run(lambda id, config, task, metadata: task, items, {"number": 2}) == tasks
    assert len(worker_dispatcher.get_logs()) == len(tasks)


def test_a_generator_feeds_processes_as_well(process_shape, run):
    squares = (number * number for number in range(50))
    assert run(lambda task: task + 1, squares, {"number": 3, **process_shape}) == [n * n + 1 for n in range(50)]


# Typos are ignored --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "spelling"),
    [
        ({"worker": {"nubmer": 3}}, "worker.number"),
        ({"taks": {"list": 3}}, "task"),
        ({"task": {"functoin": len}}, "task.function"),
        ({"worker": {"frequency_mode": {"intervall": 1}}}, "worker.frequency_mode.interval"),
    ],
)
def test_a_typo_is_refused_with_the_right_spelling(config, spelling, notes):
    config = {"task": {"list": 3, "function": notes.add}} | config
    with pytest.raises(worker_dispatcher.ConfigError) as caught:
        worker_dispatcher.start(config)
    assert isinstance(caught.value, ValueError)
    assert f"'{spelling}'" in str(caught.value)
    assert notes.all() == []


# get_duration() returns a timestamp ---------------------------------------------------------------------------------


def test_get_duration_is_a_duration(run):
    began = time.monotonic()
    run(lambda id: id, 5, {"number": 2})
    longest = time.monotonic() - began
    info = worker_dispatcher.get_result_info()
    assert 0 < worker_dispatcher.get_duration() <= longest
    assert worker_dispatcher.get_duration() == info["duration"]
    assert info["ended_at"] - info["started_at"] == pytest.approx(info["duration"], abs=1e-5)


# A stray debug print ------------------------------------------------------------------------------------------------


def test_a_quiet_run_prints_nothing(shape):
    script = f"""
import worker_dispatcher
task = {{"list": 20, "function": lambda id: id}}
assert len(worker_dispatcher.start({{"task": task, "worker": {{"number": 3, **{shape!r}}}, "verbose": False}})) == 20
worker_dispatcher.get_tps()
"""
    done = run_script(script)
    assert (done.stdout, done.stderr) == ("", "")


# One exception calls exit() and loses the logs ----------------------------------------------------------------------


@quiet_failures
def test_exceptions_of_any_kind_end_their_task_and_nothing_else(shape, run):
    def raises(id, config, task, metadata):
        if id in config:
            raise config[id](f"from task {id}")
        return id

    kinds = {2: ValueError, 4: SystemExit, 6: KeyboardInterrupt, 8: GeneratorExit, 10: StopIteration}
    results = run(raises, 12, {"number": 3, **shape}, config=kinds)

    logs = worker_dispatcher.get_logs()
    assert statuses() == {number: "error" if number in kinds else "ok" for number in range(1, 13)}
    assert [result for result in results if result] == [number for number in range(1, 13) if number not in kinds]
    for number, kind in kinds.items():
        error = logs[number - 1]["error"]
        assert error["type"].endswith(kind.__name__)
        assert f"from task {number}" in error["message"]
        assert "raises" in error["traceback"]


# Ctrl-C first runs the whole queue ----------------------------------------------------------------------------------


def test_ctrl_c_leaves_at_once_and_keeps_what_is_finished(shape, notes, wait_until):
    script = f"""
import json, os, sys, time
import worker_dispatcher

def noted(id, config, task, metadata):
    descriptor = os.open({str(notes.path)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, b"began\\n")
    os.close(descriptor)
    time.sleep(0.1)  # the work
    return id

try:
    worker = {{"number": 2, **{shape!r}}}
    worker_dispatcher.start({{"task": {{"list": 300, "function": noted}}, "worker": worker, "verbose": False}})
except KeyboardInterrupt:
    logs = worker_dispatcher.get_logs()
    ok = [log["result"] for log in logs if log["status"] == "ok"]
    print(json.dumps([len(ok), len(logs), len(worker_dispatcher.get_result_info()["not_run"])]))
    sys.exit(130)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        wait_until(lambda: len(notes.all()) >= 6 or process.poll() is not None, within=30)
        assert process.poll() is None, "it ended before it was interrupted"
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=30)
        took = time.monotonic() - began
    finally:
        process.kill()
        process.wait()
        process.stdout.close()

    assert took < 5
    assert process.returncode == 130
    ok, logged, not_run = json.loads(output)
    assert ok >= 2
    assert logged + not_run == 300
    assert len(notes.all()) == logged < 100


# Two calls share state ----------------------------------------------------------------------------------------------


def test_a_later_run_changes_nothing_that_an_earlier_one_returned(shape, run):
    def noted(id, config, task, metadata):
        metadata["seen"] = task
        return task

    first = run(noted, ["a", "b", "c"], {"number": 2, **shape})
    first_logs, first_info = worker_dispatcher.get_logs(), worker_dispatcher.get_result_info()
    first_tasks = [log["metadata"] for log in first_logs]
    second = run(noted, ["x"], {"number": 2, **shape})

    assert first == ["a", "b", "c"]
    assert [log["result"] for log in first_logs] == ["a", "b", "c"]
    assert first_tasks == [{"seen": "a"}, {"seen": "b"}, {"seen": "c"}]
    assert first_info["counts"]["ok"] == 3
    assert second == ["x"] == worker_dispatcher.get_results()
    assert task_ids() == [1]
    assert worker_dispatcher.get_result_info()["counts"]["ok"] == 1


def test_a_run_does_not_change_the_config_it_was_given_nor_the_defaults():
    defaults = json.dumps(worker_dispatcher.default_config, default=repr)
    config = {"task": {"list": [1, 2], "function": abs, "config": {"a": 1}}, "worker": {"number": 2}, "verbose": False}
    copy = {"task": dict(config["task"]), "worker": dict(config["worker"]), "verbose": False}
    assert worker_dispatcher.start(config) == [1, 2]
    assert config == copy
    assert json.dumps(worker_dispatcher.default_config, default=repr) == defaults
    # Nothing of the first call is left as a default of the next.
    assert worker_dispatcher.start({"task": {"list": [1], "function": lambda config: config}, "verbose": False}) == [{}]


def test_runs_in_two_threads_do_not_see_each_others_results(run):
    both_run = threading.Barrier(2)
    results: dict[str, list[Any]] = {}

    def one_run(name: str) -> None:
        def meets(id, config, task, metadata):
            if id == 1:
                both_run.wait(20)
            return f"{name}{id}"

        results[name] = run(meets, 20, {"number": 3})

    threads = [threading.Thread(target=one_run, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {name: [f"{name}{id}" for id in range(1, 21)] for name in "ab"}


# on_all_done is called twice per task in the grid -------------------------------------------------------------------


def test_on_all_done_is_called_once_per_task_in_order_after_the_last_task(shape, run, notes):
    calls = []

    def noted(id, config, task, metadata):
        notes.add(id)
        return id

    def on_all_done(id, config, result, log):
        calls.append((id, result, log["task_id"], len(notes.all()), os.getpid()))
        return result * 100

    results = run(noted, 10, {"number": 4, **shape}, callback={"on_all_done": on_all_done})

    assert calls == [(id, id, id, 10, os.getpid()) for id in range(1, 11)]
    assert results == [id * 100 for id in range(1, 11)]
    assert [log["result"] for log in worker_dispatcher.get_logs()] == results


def test_on_done_is_called_once_per_task_and_defines_the_result(shape, run, notes):
    def on_done(id, config, result, log):
        notes.add(f"{id} {log['task_id']} {result}")
        return [result, config["unit"]]

    task = {"config": {"unit": "kg"}, "callback": {"on_done": on_done}}
    results = run(lambda id: id * 2, 10, {"number": 4, **shape}, **task)

    assert results == [[id * 2, "kg"] for id in range(1, 11)]
    assert sorted(notes.all()) == sorted(f"{id} {id} {id * 2}" for id in range(1, 11))
    assert [log["result"] for log in worker_dispatcher.get_logs()] == results


# task.config is copied into a plain dict ----------------------------------------------------------------------------


class Settings(dict[str, Any]):
    def endpoint(self) -> str:
        return f"https://{self['host']}"


def test_the_config_reaches_threads_as_the_very_object(run):
    for config in (Settings(host="h"), [1, 2], "text", object(), collections.OrderedDict(b=1, a=2)):
        seen = run(lambda config: config, 3, {"number": 2}, config=config)
        assert all(one is config for one in seen)


def test_the_config_keeps_its_type_in_processes(process_shape, run):
    ordered = collections.OrderedDict(b=1, a=2)
    assert (
        run(lambda config: config.endpoint(), 3, {"number": 2, **process_shape}, config=Settings(host="h"))
        == ["https://h"] * 3
    )
    kinds = run(lambda config: [type(config).__name__, list(config)], 3, {"number": 2, **process_shape}, config=ordered)
    assert kinds == [["OrderedDict", ["b", "a"]]] * 3
