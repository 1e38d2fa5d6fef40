"""Any order of bookings: records that are handed over are what kept ones are in the end."""

from __future__ import annotations

import math
import threading
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounds import examples
from test_driver_properties import ScriptedPool, runs

from worker_dispatcher.clock import Anchor
from worker_dispatcher.config.parse import parse
from worker_dispatcher.dispatch.bounded import BoundedRun
from worker_dispatcher.dispatch.plan import THREADS, make_plan
from worker_dispatcher.dispatch.record_stream import RecordStream, StreamedRecords
from worker_dispatcher.dispatch.tasklist import task_list
from worker_dispatcher.errors import BookingError
from worker_dispatcher.records import (
    CANCELLED,
    CRASHED,
    DROPPED,
    ERROR,
    NOT_RUN,
    OK,
    PENDING,
    TIMEOUT,
    Failure,
    Outcome,
    Records,
)

MANY = 4096


class Twins(Records):
    """Kept records; each booking is made in streamed ones as well, with what is known of the task just then."""

    def __init__(self, anchor: Anchor) -> None:
        super().__init__(anchor)
        self.stream = RecordStream(MANY)
        self.streamed = StreamedRecords(anchor, self.stream, 1)
        self.pids[1] = 4711

    def draw(self, count, dues=None):
        first = super().draw(count, dues)
        assert self.streamed.draw(count, dues) == first
        return first

    def open_interval(self, number, first):
        super().open_interval(number, first)
        self.streamed.open_interval(number, first)

    def complete_run(self, first, starts, ends, results, worker):
        self._tell(range(first, first + len(results)))
        self.streamed.complete_run(first, starts, ends, results, worker)
        super().complete_run(first, starts, ends, results, worker)

    def complete(self, one):
        self._tell([one.task_id])
        assert self.streamed.due_of(one.task_id) == self.due_of(one.task_id)
        self.streamed.complete(one)
        super().complete(one)

    def _tell(self, ids):
        self.streamed.pids = self.pids
        for task_id in ids:
            if task_id in self.attempts:
                self.streamed.attempts[task_id] = self.attempts[task_id]
            if task_id in self.earlier:
                self.streamed.earlier[task_id] = self.earlier[task_id]
            if task_id in self.metadata:
                self.streamed.metadata[task_id] = self.metadata[task_id]

    def check(self) -> None:
        streamed = self.streamed
        self.stream.end()
        handed = []
        while (record := self.stream.take()) is not None:
            handed.append(record)
        kept = [{name: log[name] for name in log if name != "in_flight"} for log in self.logs()]
        assert sorted(handed, key=lambda record: record["task_id"]) == kept
        assert streamed.counts() == self.counts()
        assert streamed.ids_with(PENDING) == self.ids_with(PENDING)
        first = self.first_failure()
        assert streamed.first_failure() == (first and (first[0], first[1]._replace(item=None)))
        assert sorted(streamed.ids_with(NOT_RUN)) == self.ids_with(NOT_RUN)
        assert (len(streamed), streamed.completed) == (len(self), self.completed)
        assert streamed.failures == streamed.metadata == streamed.attempts == streamed.earlier == {}


STATUSES = st.sampled_from([OK, OK, OK, ERROR, TIMEOUT, CRASHED, CANCELLED, NOT_RUN])


@given(dice=st.data(), timed=st.booleans(), draws=st.lists(st.integers(1, 5), max_size=6))
def test_handed_over_are_the_records_that_would_be_kept(dice, timed, draws):
    records, open_ids, interval = Twins(Anchor(1000.0, 10.0)), [], 0
    if timed:
        records.measured_from = records.streamed.measured_from = 12.0
    for count in draws:
        dues = array("d", [11.0 + 0.1 * (len(records) + nth) for nth in range(count)]) if timed else None
        first = records.draw(count, dues)
        open_ids += range(first, first + count)
        # An interval is opened once the first of its tasks has been drawn, and others of the same batch may follow it.
        for begins in sorted(dice.draw(st.sets(st.integers(first, first + count - 1))) | {1}) if timed else ():
            if begins >= first:
                records.open_interval(interval, begins)
                interval += dice.draw(st.integers(1, 3))
        for _ in range(dice.draw(st.integers(0, len(open_ids)))):
            task_id = open_ids.pop(dice.draw(st.integers(0, len(open_ids) - 1)))
            book(dice, records, task_id)
            with pytest.raises(BookingError, match=f"task #{task_id}: has ended already"):
                records.streamed.complete(Outcome(task_id, OK, 1.0, 2.0))
    with pytest.raises(BookingError, match="never given out"):
        records.streamed.complete_run(len(records) + 1, [1.0], [2.0], [0], 1)
    records.check()


def book(dice, records, task_id):
    status = dice.draw(STATUSES)
    if status != NOT_RUN and dice.draw(st.booleans()):
        records.metadata[task_id] = {"note": task_id}
        records.attempts[task_id] = 2
    if status == OK and dice.draw(st.booleans()):
        records.complete_run(task_id, [12.0], array("d", [13.5]), [task_id], dice.draw(st.sampled_from([1, (2,)])))
        return
    failure = Failure("E", f"text {task_id}", "trace", status=status) if status not in (OK, NOT_RUN) else None
    records.complete(Outcome(task_id, status, 12.0, 12.5, result=task_id, failure=failure, worker=1))


@settings(max_examples=examples(100))
@runs
def test_a_driver_books_both_alike(dice, tasks, retries, room, on_error, max_failures, stop_after):
    task = {"list": tasks, "function": lambda id: id, "retries": retries}
    task |= {"on_error": on_error, "max_failures": max_failures}
    config = parse({"task": task, "worker": {"number": 2}})
    anchor = Anchor.take()
    records = Twins(anchor)
    plan = make_plan(config, tasks, anchor)._replace(shape=THREADS)
    bounded = BoundedRun(plan, task_list(config.task.list, 2), records)
    pool = ScriptedPool(dice, room, stop_after)
    pool.bounded = bounded

    bounded.run(lambda named: pool)

    records.check()


@given(dice=st.data(), at_least=st.integers(1, 20))
def test_a_handover_gives_all_in_order_and_is_full_only_while_enough_wait(dice, at_least):
    stream, put, taken, woken = RecordStream(at_least), 0, 0, []
    stream.wake = lambda: woken.append(stream.full)
    for _ in range(dice.draw(st.integers(0, 30))):
        if taken < put and dice.draw(st.booleans()):
            was_full = stream.full
            taken += 1
            assert stream.take() == {"n": taken}
            assert woken == ([False] if was_full and not stream.full else [])
            woken.clear()
        elif not stream.full:  # as the driver does: what was started still comes, nothing else
            count = dice.draw(st.integers(0, 30))
            stream.put([{"n": put + nth + 1} for nth in range(count)])
            put += count
        assert not stream.full or put - taken > stream._room / 2
        assert stream.full or put - taken < stream._room
    stream.end()
    assert [stream.take() for _ in range(put - taken)] == [{"n": n + 1} for n in range(taken, put)]
    assert stream.take() is None


def test_the_room_grows_only_when_the_consumer_runs_dry_after_it_was_full():
    stream = RecordStream(2)

    def dry_once():
        taking = threading.Thread(target=stream.take)
        taking.start()
        while not stream._changed._waiters:  # it waits for a record
            assert taking.is_alive()
        stream.put([{}])
        taking.join(20)

    dry_once()
    assert stream._room == 2  # it was never full
    stream.put([{}] * 3)
    assert stream.full
    for _ in range(3):
        stream.take()
    dry_once()
    assert stream._room == 4
    dry_once()
    assert stream._room == 4


def test_no_more_may_be_drawn_than_there_is_room_for():
    stream = RecordStream(2)
    records = StreamedRecords(Anchor(1000.0, 0.0), stream, workers=3)
    most = records.room()
    records.draw(10)
    assert records.room() == most - 10
    records.complete_run(1, [1.0], [2.0], [0], 1)
    assert records.room() == most - 9
    records.complete_run(2, [1.0], [2.0], [0], 1)
    assert records.room() == 0
    stream.take()
    assert records.room() == most - 8
    assert StreamedRecords(Anchor(1000.0, 0.0), stream, workers=10_000).room() == 20_000


def test_intervals_cost_no_memory():
    records = StreamedRecords(Anchor(1000.0, 0.0), RecordStream(MANY), workers=1)
    for number in range(1000):
        records.draw(1, array("d", [float(number)]))
        records.open_interval(number, number + 1)
        records.complete(Outcome(number + 1, OK, 1.0, 2.0))
    handed = [records._stream.take() for _ in range(1000)]

    assert [one["interval"] for one in handed] == list(range(1000))
    assert not hasattr(records, "_interval_firsts")
    assert records._open == {}


@pytest.mark.parametrize("column", ["status", "started", "ended", "worker", "results", "due"])
def test_streamed_records_have_no_columns_that_could_be_taken_for_empty(column):
    records = StreamedRecords(Anchor(1000.0, 0.0), RecordStream(1), workers=1)
    with pytest.raises(AttributeError):
        getattr(records, column)
    assert math.isinf(records.measured_until)
    assert records.ids_with(DROPPED) == []
