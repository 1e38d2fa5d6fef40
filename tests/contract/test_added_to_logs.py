"""What on_done adds to the log it is given is in get_logs(); what a run tells of its config and of no config."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest

import worker_dispatcher as wd

pytestmark = pytest.mark.above_the_pools


def add(id, result, log):
    log["seen"] = [id, result]
    log["task_id"] = log["duration"] = "mine"  # ours stay ours
    log["metadata"]["noted"] = id
    return result


def give(id, metadata):
    metadata["given"] = id
    return 10 * id


def test_what_on_done_adds_to_its_log_is_in_the_logs(shape, run):
    assert run(shape, give, 3, callback={"on_done": add}) == [10, 20, 30]

    for log in wd.get_logs():
        id = log["task_id"]
        assert log["seen"] == [id, 10 * id]
        assert log["duration"] >= 0
        assert log["metadata"] == {"given": id, "noted": id}


def test_the_log_that_on_done_is_given_has_a_status(shape, run):
    assert run(shape, give, 2, callback={"on_done": lambda log: log["status"]}) == ["ok", "ok"]


def fail_twice(id, config):
    tries = config[id] = config.get(id, 0) + 1
    if id == 2 and tries < 3:
        raise ConnectionError("not yet")
    return id


def test_the_log_that_on_done_is_given_says_which_attempt_it_was(shape, run):
    """In its own worker: what a worker has tried is counted there, so each shape has one."""

    def note(log):
        log["seen"] = log["attempts"]
        log["attempts"] = "mine"

    run(shape, fail_twice, 3, {"number": 1}, callback={"on_done": note}, retries=2, config={})

    logs = wd.get_logs()
    assert [log["seen"] for log in logs] == [log["attempts"] for log in logs] == [1, 3, 1]


def test_what_on_done_adds_is_there_where_output_is_captured_and_where_it_fails(plain_shape, run):
    def fails(id, log):
        log["seen"] = id
        log["output"] = "mine"
        if id == 2:
            raise OSError("on_done")

    def speak(id):
        print("said", id)

    with pytest.warns(wd.TaskFailuresWarning):
        run(plain_shape, speak, 2, {"capture_output": True}, callback={"on_done": fails})
    assert [log["seen"] for log in wd.get_logs()] == [1, 2]
    assert [log["output"] for log in wd.get_logs()] == ["said 1\n", "said 2\n"]


def test_what_a_coroutine_on_done_adds_late_is_in_the_logs():
    def add_late(log):
        async def add():
            await asyncio.sleep(0.01)
            log["late"] = True

        return add()

    async def work(id):
        return id

    for options in ({}, {"parallel_processing": {"enabled": True}}):
        task = {"list": 2, "function": work, "callback": {"on_done": add_late}}
        wd.start({"task": task, "worker": options, "verbose": False})
        assert [log["late"] for log in wd.get_logs()] == [True, True]


def test_what_on_done_adds_is_in_a_journal_and_in_records_that_are_handed_over(tmp_path):
    config = {"task": {"list": 2, "function": give, "callback": {"on_done": add}}, "verbose": False}
    assert [log["seen"] for log in wd.launch(config, keep_records=False)] in ([[1, 10], [2, 20]], [[2, 20], [1, 10]])
    for _ in range(2):
        wd.start({**config, "journal": tmp_path / "journal"})
        assert [log["seen"] for log in wd.get_logs()] == [[1, 10], [2, 20]]
    assert [log["seen"] for log in wd.read_journal(tmp_path / "journal")] == [[1, 10], [2, 20]]


def test_the_last_config_tells_the_number_that_was_used(shape, run):
    run(shape, give, 50, {"number": None})
    used = wd.get_last_config()["worker"]["number"]
    assert used >= 1
    run(shape, give, 1, {"number": None})
    assert wd.get_last_config()["worker"]["number"] == 1
    run(shape, give, 3, {"number": 7})
    assert wd.get_last_config()["worker"]["number"] == 7


def test_a_config_that_is_none_is_refused_with_what_is_missing():
    for call in (lambda: wd.start(None), wd.start, lambda: wd.launch(None)):
        with pytest.raises(wd.ConfigError, match=r"is None, so there is nothing to run; give one dict"):
            call()


@pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")
def test_retries_draw_none_of_the_programs_random_numbers():
    def fails(id):
        raise OSError("again")

    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()
    task = {"list": 3, "function": fails, "retries": 2, "backoff": {"initial": 0.001}}
    wd.start({"task": task, "verbose": False})
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_a_load_that_is_complete_in_its_journal_can_be_asked_all(tmp_path):
    load = {"number": None, "frequency_mode": {"enabled": True, "rate": 50, "duration": 0.1}}
    config = {"task": {"list": 5, "function": give}, "worker": load, "verbose": False, "journal": tmp_path / "journal"}
    for _ in range(2):
        assert wd.start(config) == [10, 20, 30, 40, 50]
        assert [log["task_id"] for log in wd.get_logs()] == [1, 2, 3, 4, 5]
        assert str(wd.report())
    assert {log["phase"] for log in wd.get_logs()} == {"resumed"}
