"""The records: columns in, log entries out."""

from __future__ import annotations

import pytest

from worker_dispatcher.clock import Anchor
from worker_dispatcher.errors import BookingError
from worker_dispatcher.records import (
    CRASHED,
    ERROR,
    NOT_RUN,
    OK,
    PENDING,
    STATUS_NAMES,
    Failure,
    Outcome,
    Records,
    TaskFailure,
)


@pytest.fixture
def records():
    return Records(Anchor(wall=1000.0, monotonic=10.0))


def test_a_run_of_tasks_is_settled_a_column_at_a_time(records):
    records.draw(4)
    records.complete_run(2, [11.0, 12.0], [11.5, 13.0], ["b", "c"], 7)

    assert records.results == [None, "b", "c", None]
    assert records.ids_with(PENDING) == [1, 4]
    assert records.completed == 2
    log = records.log(3)
    assert (log["task_id"], log["started_at"], log["ended_at"], log["duration"]) == (3, 1002.0, 1003.0, 1.0)
    assert (log["status"], log["worker"], log["attempts"], log["error"], log["metadata"]) == ("ok", 7, 1, None, {})


def test_a_run_that_overlaps_what_is_settled_changes_nothing(records):
    records.draw(3)
    records.complete(Outcome(2, OK, 11.0, 12.0, result="x"))
    with pytest.raises(BookingError, match="task #2: has ended already, as ok"):
        records.complete_run(1, [0.0] * 3, [0.0] * 3, [1, 2, 3], 1)

    assert records.results == [None, "x", None]
    assert records.completed == 1


@pytest.mark.parametrize("task_id", [0, -1, 3])
def test_a_task_that_was_never_given_out_cannot_be_completed(records, task_id):
    records.draw(2)
    with pytest.raises(BookingError, match="never given out"):
        records.complete(Outcome(task_id, OK, 0.0, 0.0))


def test_a_failure_stands_in_the_results_and_in_the_log(records):
    records.draw(1)
    records.attempts[1] = 3
    records.complete(Outcome(1, CRASHED, 11.0, 12.0, failure=Failure("WorkerDied", "killed", "trace"), worker=2))
    records.pids[2] = 4711

    [result] = records.results
    error = {"type": "WorkerDied", "message": "killed", "traceback": "trace"}
    assert (result.task_id, result.status, result.error, result.attempts) == (1, "crashed", error, 3)
    assert result.traceback == "trace"
    assert not result
    assert repr(result) == "<TaskFailure #1 crashed: WorkerDied: killed>"
    log = records.log(1)
    assert log["result"] is result
    assert (log["error"], log["attempts"], log["pid"]) == (error, 3, 4711)


def test_a_task_that_did_not_run_has_a_result_and_no_log(records):
    records.draw(2)
    records.complete(Outcome(1, NOT_RUN, 0.0, 0.0))
    records.complete(Outcome(2, OK, 11.0, 12.0, result=5))

    assert [log["task_id"] for log in records.logs()] == [2]
    assert (records.results[0].status, records.results[0].attempts, records.results[0].error) == ("not_run", 0, None)
    assert records.ids_with(NOT_RUN) == [1]
    assert records.counts()["not_run"] == records.counts()["ok"] == 1


def test_a_task_can_fail_later_in_its_on_all_done(records):
    records.draw(1)
    records.complete(Outcome(1, OK, 11.0, 12.0, result=5))
    records.fail_later(1, Failure("KeyError", "'x'"))

    assert records.results[0].error["type"] == "KeyError"
    assert records.log(1)["status"] == "error"
    assert records.counts()["ok"] == 0


def test_logs_are_made_anew_each_time(records):
    records.draw(1)
    records.complete(Outcome(1, ERROR, 11.0, 12.0, failure=Failure("E", "m")))
    records.log(1)["metadata"]["mine"] = 1

    assert records.log(1)["metadata"] == {}


def test_task_failures_compare_by_what_they_say():
    error = {"type": "E", "message": "m", "traceback": ""}
    assert TaskFailure(1, "error", error, 1) == TaskFailure(1, "error", dict(error), 2)
    assert TaskFailure(1, "error", error, 1) != TaskFailure(2, "error", error, 1)
    assert TaskFailure(1, "error", error, 1) != "error"


def test_the_counts_are_those_of_the_statuses_whichever_way_they_were_written(records):
    records.draw(8)
    records.complete_run(1, [11.0] * 3, [11.5] * 3, ["a", "b", "c"], 1)
    for task_id, status in ((4, ERROR), (5, CRASHED), (6, NOT_RUN), (7, OK)):
        records.complete(Outcome(task_id, status, 11.0, 12.0))
    with pytest.raises(BookingError):
        records.complete(Outcome(1, ERROR, 11.0, 12.0))
    records.fail_later(2, Failure("KeyError", "'x'"))

    counted = {name: records.status.count(code) for code, name in enumerate(STATUS_NAMES) if name != "pending"}
    assert records.counts() == counted
    assert counted == {"ok": 3, "error": 2, "timeout": 0, "crashed": 1, "cancelled": 0, "not_run": 1, "dropped": 0}
