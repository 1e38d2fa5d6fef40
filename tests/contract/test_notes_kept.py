"""What a task had noted in its metadata when it was cut short is in its log, where its process was not killed."""

from __future__ import annotations

import asyncio
import threading

import pytest

import worker_dispatcher as wd

quiet_failures = pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")


@pytest.fixture
def gate():
    """Holds up tasks until the test is over."""
    opened = threading.Event()
    yield opened
    opened.set()


@quiet_failures
def test_what_a_thread_had_noted_before_its_time_was_over_is_in_its_log(gate):
    def work(task, metadata):
        metadata["step"] = f"{task}: connected"
        if task == "slow":
            gate.wait(30)
        metadata["step"] = f"{task}: read"

    wd.start(
        {
            "task": {"list": ["fine", "slow", "other"], "function": work, "timeout": 0.2},
            "worker": {"number": 1},
            "verbose": False,
        }
    )
    logs = wd.get_logs()
    gate.set()
    assert [log["status"] for log in logs] == ["ok", "timeout", "ok"]
    assert [log["metadata"]["step"] for log in logs] == ["fine: read", "slow: connected", "other: read"]


@quiet_failures
def test_what_a_thread_writes_after_its_time_is_in_nobodys_log(gate):
    written = threading.Event()

    def work(metadata):
        metadata["a"] = 1
        gate.wait(30)
        metadata["b"] = 2
        written.set()

    wd.start({"task": {"list": 1, "function": work, "timeout": 0.1}, "verbose": False})
    (log,) = wd.get_logs()
    gate.set()
    assert written.wait(30)
    assert log["metadata"] == {"a": 1}


@pytest.mark.parametrize("stop", ["runtime", "cancel"])
def test_what_a_thread_had_noted_when_the_run_was_stopped_is_in_its_log(gate, stop):
    noted = threading.Event()

    def work(metadata):
        metadata["a"] = 1
        noted.set()
        gate.wait(30)

    run = wd.launch(
        {"task": {"list": 1, "function": work}, "runtime": 1.0 if stop == "runtime" else None, "verbose": False}
    )
    assert noted.wait(30)
    if stop == "cancel":
        run.cancel()
    (log,) = run.wait(30).logs
    assert (log["status"], log["metadata"]) == ("cancelled", {"a": 1})


@quiet_failures
@pytest.mark.parametrize(
    "worker", [{}, {"parallel_processing": {"enabled": True, "processes": 1}}], ids=["one loop", "loop in a process"]
)
def test_what_a_coroutine_had_noted_before_its_time_was_over_is_in_its_log(worker):
    async def work(task, metadata):
        metadata["step"] = "connected"
        await asyncio.sleep(task)
        metadata["step"] = "read"

    wd.start(
        {
            "task": {"list": [0, 60], "function": work, "timeout": 0.3},
            "worker": {"number": 2, **worker},
            "verbose": False,
        }
    )
    logs = wd.get_logs()
    assert [log["status"] for log in logs] == ["ok", "timeout"]
    assert [log["metadata"] for log in logs] == [{"step": "read"}, {"step": "connected"}]


@quiet_failures
def test_what_a_coroutine_had_noted_that_blocks_its_loop_over_its_time_is_in_its_log(gate):
    async def work(task, metadata):
        metadata["step"] = f"{task}: connected"
        if task == "stuck":
            gate.wait(30)
        metadata["step"] = f"{task}: read"

    wd.start(
        {
            "task": {"list": ["fine", "stuck", "other"], "function": work, "timeout": 0.2},
            "worker": {"number": 1},
            "verbose": False,
        }
    )
    logs = wd.get_logs()
    gate.set()
    assert [log["status"] for log in logs] == ["ok", "timeout", "ok"]
    assert [log["metadata"]["step"] for log in logs] == ["fine: read", "stuck: connected", "other: read"]


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("stop", ["runtime", "cancel"])
def test_what_a_coroutine_had_noted_when_the_run_was_stopped_is_in_its_log(gate, stop, blocks):
    noted = threading.Event()

    async def work(task, metadata):
        metadata["task"] = task
        noted.set()
        if blocks:
            gate.wait(30)
        await asyncio.sleep(60)

    run = wd.launch(
        {"task": {"list": [5], "function": work}, "runtime": 1.0 if stop == "runtime" else None, "verbose": False}
    )
    assert noted.wait(30)
    if stop == "cancel":
        run.cancel()
    (log,) = run.wait(30).logs
    assert (log["status"], log["metadata"]) == ("cancelled", {"task": 5})
