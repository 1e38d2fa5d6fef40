"""on_done in the worker, on_all_done in the calling process: who is called, with what, and what an error means."""

from __future__ import annotations

import os
import threading

import pytest
from staging import runtimes

import worker_dispatcher as wd

pytestmark = pytest.mark.above_the_pools

quiet_failures = pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")


def test_on_done_gets_everything_and_gives_the_result(shape, run):
    def on_done(id, config, result, log):
        return {"id": id, "config": config, "result": result, "log": log, "pid": os.getpid()}

    results = run(shape, lambda task: task * 2, [5, 6], config={"a": 1}, callback={"on_done": on_done})

    for id, (found, log) in enumerate(zip(results, wd.get_logs(), strict=True), 1):
        assert (found["id"], found["config"], found["result"]) == (id, {"a": 1}, 8 + 2 * id)
        assert found["log"]["task_id"] == id
        assert found["log"]["result"] == 8 + 2 * id
        assert found["log"]["duration"] == pytest.approx(log["duration"], abs=1e-6)
        assert found["pid"] == log["pid"]
        assert log["result"] is found


@quiet_failures
def test_on_done_is_not_called_for_a_task_that_failed_and_its_own_error_is_the_tasks(shape, run, notes):
    def fails_on_one(id):
        if id == 1:
            raise ValueError("the task")
        return id

    def on_done(id, result):
        notes.add(id)
        if id == 2:
            raise KeyError("the callback")
        return -result

    results = run(shape, fails_on_one, 3, callback={"on_done": on_done})

    assert notes.has("2", "3")()
    assert "1" not in notes.all()
    assert [getattr(result, "error", {}).get("type") for result in results[:2]] == ["ValueError", "KeyError"]
    assert results[2] == -3


@quiet_failures
def test_on_all_done_runs_once_for_each_logged_task_in_order_in_the_callers_thread(shape, run):
    calls = []

    def fails_on_two(id):
        if id == 2:
            raise ValueError("no")
        return id

    def on_all_done(id, config, result, log):
        calls.append((id, threading.current_thread(), result, log["status"]))
        return ("seen", id)

    results = run(shape, fails_on_two, 4, callback={"on_all_done": on_all_done})

    assert [call[0] for call in calls] == [1, 2, 3, 4]
    assert {call[1] for call in calls} == {threading.current_thread()}
    assert isinstance(calls[1][2], wd.TaskFailure)
    assert results == [("seen", n) for n in range(1, 5)] == [log["result"] for log in wd.get_logs()]
    assert [log["status"] for log in wd.get_logs()] == ["ok", "error", "ok", "ok"]


@quiet_failures
def test_an_on_all_done_that_raises_makes_that_task_an_error(shape, run):
    def on_all_done(id, result):
        if id == 2:
            raise LookupError("lost")
        return result

    results = run(shape, lambda id: id, 3, callback={"on_all_done": on_all_done})

    assert results[0] == 1
    assert results[2] == 3
    assert results[1].error["type"] == "LookupError"
    assert wd.get_result_info()["counts"]["error"] == 1
    assert wd.get_logs()[1]["status"] == "error"


def test_an_on_all_done_that_raises_comes_out_where_errors_are_raised(shape, run):
    def on_all_done(id, result):
        raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        run(shape, lambda id: id, 2, callback={"on_all_done": on_all_done}, on_error="raise")

    assert wd.get_results()[1] == 2


@pytest.mark.leaves_threads(2)
def test_on_all_done_runs_after_the_runtime_and_not_after_raise(shape, run, notes, tmp_path):
    calls = []
    late = tmp_path / "late"

    def one_stays(id):
        if id == 2:
            yield late.exists
        return id

    def on_all_done(id, result):
        calls.append(id)
        return result

    for runtime in runtimes(0.4):
        calls.clear()
        run(shape, one_stays, 2, {"number": 2}, callback={"on_all_done": on_all_done}, top={"runtime": runtime})
        if len(wd.get_logs()) == 2:
            break
    late.touch()
    assert calls == [1, 2]

    def fails(id):
        raise ValueError(id)

    with pytest.raises(ValueError, match="1"):
        run(shape, fails, 1, callback={"on_all_done": on_all_done}, on_error="raise")
    assert calls == [1, 2]
