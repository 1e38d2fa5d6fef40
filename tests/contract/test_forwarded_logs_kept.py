"""What workers log is not lost where the parent's handlers are slow or stand still: whoever logs waits, nobody else."""

from __future__ import annotations

import logging
import time

import pytest

import worker_dispatcher as wd

MANY = 3000  # records: several times what the way to the parent holds
PROCESSES = {"use_processing": True}
GRID = {"parallel_processing": {"enabled": True, "processes": 1}}


@pytest.fixture
def handler(handler):
    """It stands still."""
    handler.gate.clear()
    return handler


def log_many(id):
    for nth in range(MANY):
        logging.getLogger("app").info("%d: %d", id, nth)
    return id


def config(worker, items=2, top=None, **task):
    return {
        "task": {"list": items, "function": log_many, **task},
        "worker": {"number": 2, **worker},
        "verbose": False,
        **(top or {}),
    }


@pytest.mark.each_value
@pytest.mark.parametrize("method", [None, "spawn", "fork"])
@pytest.mark.parametrize("worker", [PROCESSES, GRID], ids=["processes", "grid"])
def test_every_record_comes_however_long_the_handlers_stand_still(handler, worker, method):
    run = wd.launch(config({**worker, "start_method": method}))
    assert handler.came.wait(60)
    time.sleep(0.5)
    assert run.info["counts"]["ok"] == 0  # whoever logs waits
    handler.gate.set()
    assert run.wait(60).results == [1, 2]
    for id in (1, 2):
        assert [text for text in handler.texts if text.startswith(f"{id}:")] == [f"{id}: {nth}" for nth in range(MANY)]


@pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")
@pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.WorkerWarning")
@pytest.mark.parametrize("worker", [PROCESSES, GRID], ids=["processes", "grid"])
def test_a_timeout_ends_a_task_that_waits_to_log(handler, worker):
    begun = time.monotonic()
    results = wd.start(config(worker, timeout=0.5))
    assert [result.status for result in results] == ["timeout", "timeout"]
    assert time.monotonic() - begun < 20


@pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.WorkerWarning")
@pytest.mark.parametrize("worker", [PROCESSES, GRID], ids=["processes", "grid"])
def test_a_run_whose_tasks_wait_to_log_can_be_cancelled(handler, worker):
    run = wd.launch(config(worker))
    assert handler.came.wait(60)
    run.cancel()
    counts = run.wait(20).info["counts"]
    assert counts["ok"] == 0
    assert counts["cancelled"] >= 1


@pytest.mark.parametrize("worker", [PROCESSES, GRID], ids=["processes", "grid"])
def test_where_it_is_asked_for_records_are_dropped_and_nobody_waits(handler, worker):
    run = wd.launch(config({**worker, "forward_logging": "drop"}))
    for _ in range(600):
        if run.info["counts"]["ok"] == 2:
            break
        time.sleep(0.05)
    assert run.info["counts"]["ok"] == 2  # although the handlers stand still
    handler.gate.set()
    with pytest.warns(wd.WorkerWarning, match="log records of workers were lost") as caught:
        run.wait(60)
    lost = int(str(caught[0].message).split()[0])
    assert 0 < len(handler.texts) < 2 * MANY
    assert lost + len(handler.texts) == 2 * MANY


def test_another_word_than_drop_is_refused():
    with pytest.raises(wd.ConfigError, match="must be True, False or 'drop', got str 'lose'"):
        wd.start({"worker": {"forward_logging": "lose"}})
