"""The dicts of `get_logs()`: what is in them, in which order, and what making them costs."""

from __future__ import annotations

import gc
import sys
import threading
from array import array

import pytest

import worker_dispatcher
from worker_dispatcher.clock import Anchor
from worker_dispatcher.garbage import no_collections
from worker_dispatcher.records import (
    ADDED,
    DROPPED,
    ERROR,
    NOT_RUN,
    OK,
    OUTPUT,
    Failure,
    Outcome,
    Records,
)

KEYS = [
    "task_id",
    "started_at",
    "ended_at",
    "duration",
    "result",
    "metadata",
    "status",
    "error",
    "attempts",
    "worker",
    "pid",
]
OF_A_LOAD = ["scheduled_at", "interval", "phase", "queue_delay", "response_time", "in_flight"]


@pytest.fixture
def records():
    """Tasks 1 and 2 are ok, 3 has failed, 4 was dropped, 5 was ok in its second attempt, 6 was not run."""
    records = Records(Anchor(wall=1000.0, monotonic=10.0))
    records.draw(6)
    return records


def fill(records: Records) -> Records:
    records.complete_run(1, [11.0, 11.5], [12.0, 13.0], ["a", "b"], 1)
    records.complete(Outcome(3, ERROR, 12.0, 12.5, failure=Failure("E", "m", "trace", item="x", input="x"), worker=2))
    records.complete(Outcome(4, DROPPED))
    records.earlier[5] = array("d", [12.5, 12.75])
    records.complete(Outcome(5, OK, 14.0, 14.5, "e", worker=1, attempts=2))
    records.complete(Outcome(6, NOT_RUN))
    records.pids = {1: 101, 2: 102}
    return records


def test_logs_have_their_keys_in_one_order_with_more_behind_where_there_is_more(records):
    keys = [list(log) for log in fill(records).logs()]

    assert keys == [KEYS, KEYS, [*KEYS, "task", "input"], [*KEYS, "earlier_attempts"]]


def test_logs_of_a_load_have_their_keys_in_one_order(records):
    records.set_dues(1, array("d", [11.0, 11.5, 12.0, 12.0, 12.5, 15.0]))
    records.open_interval(7, 1)
    records.open_interval(8, 3)
    records.measured_from = 11.5
    logs = fill(records).logs()

    more = [[], [], ["task", "input"], ["earlier_attempts"]]
    assert [list(log) for log in logs] == [[*KEYS, *there, *OF_A_LOAD] for there in more]
    assert [log["interval"] for log in logs] == [7, 7, 8, 8]
    assert [log["phase"] for log in logs] == ["warmup", "main", "main", "main"]
    assert [log["scheduled_at"] for log in logs] == [1001.0, 1001.5, 1002.0, 1002.5]
    assert [log["queue_delay"] for log in logs] == [0.0, 0.0, 0.0, 0.0]  # until the first attempt
    assert [log["response_time"] for log in logs] == [1.0, 1.5, 0.5, 2.0]
    assert [log["in_flight"] for log in logs] == [1, 2, 3, 1]


def test_what_tasks_printed_and_what_was_added_stands_where_it_belongs(records):
    records.captures = True
    records.metadata = {1: {"mine": 1, OUTPUT: "said", ADDED: {"more": 2}}, 3: {"its": 3}}
    first, second, third, _ = fill(records).logs()

    assert list(first) == ["more", *KEYS, "output"]
    assert (first["more"], first["metadata"], first["output"]) == (2, {"mine": 1}, "said")
    assert (second["metadata"], second["output"]) == ({}, "")
    assert list(third) == [*KEYS, "task", "input", "output"]
    assert third["metadata"] is records.metadata[3]


def test_a_task_that_an_earlier_run_had_has_no_worker_and_no_due_time(records):
    records.set_dues(1, array("d", [11.0] * 6))
    records.open_interval(1, 1)
    records.complete_resumed(1, [5.0], [6.0], ["a"])
    records.complete_run(2, [11.5], [12.0], ["b"], 0)
    resumed, inline = records.logs()

    assert list(resumed) == [*KEYS, "phase"]
    assert (resumed["phase"], resumed["worker"], resumed["pid"]) == ("resumed", None, None)
    assert (list(inline), inline["worker"], inline["pid"]) == ([*KEYS, *OF_A_LOAD], None, None)


@pytest.mark.parametrize("load", [False, True])
def test_the_log_of_one_task_is_the_same_as_among_all(records, load):
    if load:
        records.set_dues(1, array("d", [11.0] * 6))
        records.open_interval(1, 1)
    logs = fill(records).logs()

    for log in logs:
        assert list(log)[: len(KEYS)] == KEYS
        log.pop("in_flight", None)  # which only all of them can say
        assert list(records.log(log["task_id"]).items()) == list(log.items())


class Looking(list):
    """The column of results: each time something is written, somebody looks at the logs."""

    def __init__(self, records):
        super().__init__(records.results)
        self.records, self.seen = records, []

    def __setitem__(self, place, value):
        self.seen += self.records.logs()
        super().__setitem__(place, value)
        self.seen += self.records.logs()


def test_who_reads_while_a_task_is_recorded_never_sees_half_of_it(records):
    records.results = Looking(records)
    records.complete_run(1, [11.0, 11.5], [12.0, 13.0], ["a", "b"], 1)
    records.complete_each([3, 4], [12.0, 12.0], [12.5, 12.5], ["c", "d"], 1)
    records.complete(Outcome(5, OK, 14.0, 14.5, "e", worker=1))

    whole = {log["task_id"]: log for log in records.logs()}
    assert records.results.seen
    assert all(log == whole[log["task_id"]] for log in records.results.seen)


@pytest.mark.parametrize("odd", [False, True])
def test_the_log_of_a_task_of_which_there_is_no_more_to_say_takes_no_call_of_python_or_one(records, odd):
    """One, to look at it, where there is more to say of others."""
    records.draw(994)
    if odd:
        fill(records)
        records.metadata[1] = {"mine": 1}
    first = 7 if odd else 1
    count = 1001 - first
    records.complete_run(first, [11.0] * count, [12.0] * count, [None] * count, 1)
    calls = []
    gc.collect()  # what other tests have left would be called meanwhile
    sys.setprofile(lambda frame, event, arg: calls.append(event == "call" and frame.f_code.co_name))
    try:
        logs = records.logs()
    finally:
        sys.setprofile(None)

    names = [name for name in calls if name]
    assert len(logs) == (998 if odd else 1000)
    assert len(names) - names.count("each_log") < (1030 if odd else 30), {
        name: names.count(name) for name in set(names)
    }


@pytest.fixture
def alone(monkeypatch):
    """As if there were no thread but this one, whatever the tests run in."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)


def test_the_collector_rests_and_goes_on_where_nobody_else_is_there(alone):
    with no_collections():
        assert not gc.isenabled()
    assert gc.isenabled()

    with pytest.raises(ZeroDivisionError), no_collections():
        1 / 0  # noqa: B018
    assert gc.isenabled()


def test_the_collector_rests_while_the_logs_of_a_run_are_made(alone, monkeypatch):
    worker_dispatcher.start({"task": {"list": 3, "function": lambda task: task}, "verbose": False})
    made, rested = Records.logs, []
    monkeypatch.setattr(Records, "logs", lambda records: rested.append(not gc.isenabled()) or made(records))

    assert len(worker_dispatcher.get_logs()) == 3
    assert rested == [True]
    assert gc.isenabled()


def test_the_collector_that_was_switched_off_stays_so(alone):
    gc.disable()
    try:
        with no_collections():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_collector_is_left_alone_where_another_thread_is_there():
    over = threading.Event()
    other = threading.Thread(target=over.wait)
    other.start()
    try:
        with no_collections():
            assert gc.isenabled()
    finally:
        over.set()
        other.join()
