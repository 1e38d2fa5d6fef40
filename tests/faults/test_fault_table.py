"""How a worker ends x where it happens x shape: the guilty task has its outcome, all others are right."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import deeds
import psutil
import pytest

import worker_dispatcher

COUNT, GUILTY = 12, 5
TIMEOUT = 0.3
PLACES = ["running", "loading the item", "packing the result", "loading the result", "on_done"]
GENTLE = ["sleep", "swallow exceptions"]  # hangs that are no different elsewhere than while the task runs
RAISING_ONLY = ["packing the item", "loading the result in the parent"]


@pytest.fixture
def one_is_guilty(run, others_are_ok, next_run_works):
    """Run with one guilty task; its log."""

    def go(deed: str, place: str, shape: dict[str, Any], **task: Any) -> dict[str, Any]:
        items: list[Any] = list(range(COUNT))
        items[GUILTY - 1] = deeds.item_for(place, deed)
        config = {"deed": deed, "place": place, "guilty": GUILTY, "parent": os.getpid()}
        results = run(deeds.work, items, shape, config=config, callback={"on_done": deeds.after}, **task)
        log = worker_dispatcher.get_logs()[GUILTY - 1]
        assert results == [entry["result"] for entry in worker_dispatcher.get_logs()]
        others_are_ok(COUNT, [GUILTY])
        next_run_works(shape)
        return log

    return go


@pytest.mark.parametrize("place", PLACES + RAISING_ONLY)
@pytest.mark.parametrize("deed", deeds.RAISES)
def test_what_a_task_raises_is_its_error(deed, place, process_shape, one_is_guilty):
    log = one_is_guilty(deed, place, process_shape)
    assert (log["status"], log["error"]["type"], log["attempts"]) == ("error", deed, 1)
    assert "told" in log["error"]["message"]
    assert "deeds.py" in log["error"]["traceback"]


@pytest.mark.parametrize("place", ["running", "on_done"])
@pytest.mark.parametrize("deed", deeds.RAISES)
def test_what_a_task_in_a_thread_raises_is_its_error(deed, place, one_is_guilty):
    log = one_is_guilty(deed, place, {"number": 3})
    assert (log["status"], log["error"]["type"], log["error"]["message"]) == ("error", deed, "told")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("deed", deeds.ENDS)
def test_the_end_of_a_worker_fails_one_task_and_is_named(deed, place, process_shape, one_is_guilty):
    log = one_is_guilty(deed, place, process_shape)
    assert (log["status"], log["error"]["type"], log["attempts"]) == ("crashed", "WorkerDied", 1)
    assert deeds.ENDS[deed][1] in log["error"]["message"]


@pytest.mark.each_value
@pytest.mark.parametrize(
    ("deed", "place"),
    [(deed, place) for deed in deeds.HANGS for place in PLACES if place == "running" or deed not in GENTLE],
)
def test_a_task_over_its_time_is_ended_whatever_it_does(deed, place, process_shape, one_is_guilty):
    began = time.monotonic()
    log = one_is_guilty(deed, place, process_shape, timeout=TIMEOUT)
    assert (log["status"], log["error"]["type"], log["attempts"]) == ("timeout", "TaskTimeout", 1)
    assert time.monotonic() - began < TIMEOUT + 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("deed", deeds.HARMLESS)
def test_what_harms_nobody_harms_nobody(deed, any_shape, one_is_guilty):
    log = one_is_guilty(deed, "running", any_shape)
    assert (log["status"], log["result"]) == ("ok", GUILTY * 10)


@pytest.mark.parametrize("deed", [*deeds.ENDS, "stop"])
def test_a_worker_that_ends_when_idle_spoils_nothing(deed, process_shape, run, others_are_ok, next_run_works, tmp_path):
    note = tmp_path / "pid"

    def tasks():
        yield "leaves a watch behind"
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not _is_over(note):
            time.sleep(0.005)
        yield from range(COUNT - 1)

    run(deeds.dies_when_idle, tasks(), process_shape, config={"deed": deed, "note": str(note)}, timeout=TIMEOUT)
    others_are_ok(COUNT)
    next_run_works(process_shape)


def _is_over(note: Path) -> bool:
    """True once the process of that note has ended, is stopped, or has done its deed and lives."""
    if Path(f"{note} done").exists():
        return True
    if not note.exists() or not note.read_text():
        return False
    try:
        return psutil.Process(int(note.read_text())).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return True
