"""Any order of events from a pool: each drawn task has exactly one outcome, and no more attempts than allowed."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounds import examples

from worker_dispatcher.clock import Anchor, now
from worker_dispatcher.config.parse import parse
from worker_dispatcher.dispatch.bounded import BoundedRun
from worker_dispatcher.dispatch.plan import THREADS, make_plan
from worker_dispatcher.dispatch.tasklist import task_list
from worker_dispatcher.errors import BookingError
from worker_dispatcher.pools.base import AttemptDone, Batch, BatchDone, Complaints, NotStarted
from worker_dispatcher.pools.in_flight import InFlight
from worker_dispatcher.records import (
    CANCELLED,
    CRASHED,
    ERROR,
    NOT_RUN,
    OK,
    PENDING,
    TIMEOUT,
    Failure,
    Outcome,
    Records,
)


class ScriptedPool:
    """A pool whose workers do what the dice say: end runs, end single tasks in any way, give tasks back."""

    place, apart = "worker thread", False
    roomy, due = False, float("inf")

    def __init__(self, dice: st.DataObject, room: int, stop_after: int | None) -> None:
        self.dice, self.room, self.stop_after = dice, room, stop_after
        self.pids = {1: 100}
        self.complaints = Complaints()
        self.held: list[Batch] = []
        self.begun: Counter[int] = Counter()
        self.waits = 0
        self.happened: list = []
        self.closed = 0
        self.stop = self.stop_now
        self.bounded: BoundedRun | None = None

    def feed(self, source) -> None:
        while (room := self.room - sum(len(b.items) for b in self.held)) > 0:
            batch = source.take_alone() or source.take(self.dice.draw(st.integers(1, room)))
            if batch is None:
                return
            self.held.append(batch)

    def sleep(self, until: float) -> None:
        self.waits += 1
        if self.waits == self.stop_after:
            self.bounded.stop("cancel")
        for _ in range(self.dice.draw(st.integers(0 if self.waits % 4 else 1, 3))):
            if self.held:
                self.happened += self._one_event()

    def collect(self) -> list:
        happened, self.happened = self.happened, []
        return happened

    def _one_event(self) -> list:
        batch = self.held.pop(self.dice.draw(st.integers(0, len(self.held) - 1)))
        count = self.dice.draw(st.integers(1, len(batch.items)))
        if count < len(batch.items):
            self.held.append(batch.part(count, len(batch.items)))
            batch = batch.part(0, count)
        kind = self.dice.draw(st.sampled_from(["finished", "ended", "failed", "returned"]))
        ids = range(batch.first, batch.first + count)
        at = now()
        if kind == "returned":
            return [NotStarted(batch._replace(alone=count == 1 and self.dice.draw(st.booleans())))]
        self.begun.update(ids)
        if kind == "finished":
            return [BatchDone(batch.first, [at] * count, [at] * count, [("done", i) for i in ids], {}, 1)]
        events = []
        for i in ids:
            failure = None
            if kind == "failed":
                status = self.dice.draw(st.sampled_from([ERROR, TIMEOUT, CRASHED]))
                failure = Failure("Some", "text", retry=self.dice.draw(st.booleans()), status=status)
            events.append(
                AttemptDone(batch.part(i - batch.first, i - batch.first + 1), at, at, ("done", i), failure, {"m": i}, 1)
            )
        return events

    def stop_now(self) -> list:
        events: list = []
        for batch in self.held:
            if self.dice.draw(st.booleans()):
                events.append(NotStarted(batch))
                continue
            for nth, i in enumerate(range(batch.first, batch.first + len(batch.items))):
                self.begun[i] += 1
                failure = self.dice.draw(
                    st.sampled_from([None, Failure("", "", status=CANCELLED), Failure("E", "late")])
                )
                events.append(AttemptDone(batch.part(nth, nth + 1), now(), now(), ("done", i), failure, None, 1))
        self.held = []
        return events

    def hurry(self) -> None:
        pass

    def wake(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1


runs = given(
    dice=st.data(),
    tasks=st.integers(0, 25),
    retries=st.integers(0, 2),
    room=st.integers(1, 12),
    on_error=st.sampled_from(["record", "raise"]),
    max_failures=st.none() | st.integers(1, 5),
    stop_after=st.none() | st.integers(1, 8),
)


@settings(max_examples=examples(200))
@runs
def test_every_drawn_task_has_one_outcome(dice, tasks, retries, room, on_error, max_failures, stop_after):
    task = {"list": tasks, "function": lambda id: id, "retries": retries}
    task |= {"on_error": on_error, "max_failures": max_failures}
    config = parse({"task": task, "worker": {"number": 2}})
    anchor = Anchor.take()
    items = task_list(config.task.list, 2)
    records = Records(anchor)
    plan = make_plan(config, tasks, anchor)._replace(shape=THREADS)
    bounded = BoundedRun(plan, items, records)
    pool = ScriptedPool(dice, room, stop_after)
    pool.bounded = bounded
    told: Counter[int] = Counter()
    bounded.follow(lambda first, count: told.update(range(first, first + count)))

    bounded.run(lambda named: pool)

    assert PENDING not in records.status
    assert records.completed == len(records)
    assert told == Counter(range(1, len(records) + 1))
    assert pool.closed == (tasks > 0)
    if bounded.stopped is None:
        assert len(records) == tasks
        assert NOT_RUN not in records.status
    for task_id in range(1, len(records) + 1):
        status = records.status[task_id - 1]
        assert pool.begun[task_id] <= retries + 1
        if status == OK:
            assert records.results[task_id - 1] == ("done", task_id)
            assert records.attempts.get(task_id, 1) == pool.begun[task_id]
        else:
            assert not records.results[task_id - 1]
        if status in (ERROR, TIMEOUT, CRASHED):
            assert 1 <= records.attempts.get(task_id, 1) <= retries + 1
    failed = sum(status in (ERROR, TIMEOUT, CRASHED) for status in records.status)
    allowed = max_failures or (1 if on_error == "raise" else None)
    if on_error == "raise" and failed >= allowed and failed:
        assert bounded.error is not None
    elif bounded.stopped is None:
        assert bounded.error is None


@given(
    sizes=st.lists(st.integers(1, 6), max_size=6),
    takes=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8)), max_size=20),
)
def test_what_a_worker_holds_is_taken_exactly_once_in_any_order(sizes, takes):
    held, seq, ids = InFlight(), 1, {}
    for size in sizes:
        held.add(seq, Batch(100 + seq, list(range(seq, seq + size))))
        ids.update({n: 100 + n for n in range(seq, seq + size)})
        seq += size
    open_seqs = set(ids)

    def check(pieces):
        taken = set()
        for piece in pieces:
            batch = piece.tasks()
            assert len(batch.items) == piece.high - piece.low == piece.end - piece.seq
            assert batch.first == piece.first_id == ids[piece.seq]
            assert list(batch.items) == list(range(piece.seq, piece.end))
            assert taken.isdisjoint(range(piece.seq, piece.end))
            taken.update(range(piece.seq, piece.end))
        return taken

    for low, length in takes:
        expected = open_seqs & set(range(low, low + length))
        assert check(held.take(low, low + length)) == expected
        open_seqs -= expected
        assert held.count == len(open_seqs)
    assert check(held.take_all()) == open_seqs
    assert held.count == 0


@given(
    order=st.permutations(range(1, 13)),
    statuses=st.lists(st.sampled_from([OK, ERROR, TIMEOUT, NOT_RUN]), min_size=12, max_size=12),
)
def test_each_task_is_settled_exactly_once_in_any_order(order, statuses):
    records = Records(Anchor(1000.0, 0.0))
    assert records.draw(5) == 1
    assert records.draw(7) == 6
    for nth, (task_id, status) in enumerate(zip(order, statuses, strict=True)):
        assert records.completed == nth
        failure = Failure("E", "text", status=status) if status in (ERROR, TIMEOUT) else None
        records.complete(Outcome(task_id, status, 1.0, 2.0, result=task_id, failure=failure, worker=3))
        with pytest.raises(BookingError, match=f"task #{task_id}"):
            records.complete(Outcome(task_id, OK, 1.0, 2.0))
        with pytest.raises(BookingError):
            records.complete_run(task_id, [1.0], [2.0], [0], 1)

    assert records.ids_with(PENDING) == []
    assert sum(records.counts().values()) == records.completed == 12
    for task_id, status in zip(order, statuses, strict=True):
        assert (records.results[task_id - 1] == task_id) is (status == OK)
    assert [log["task_id"] for log in records.logs()] == list(records.started_ids())
    assert sorted([*records.started_ids(), *records.ids_with(NOT_RUN)]) == list(range(1, 13))
