"""A stretch of tasks in one thread, and the watcher who gives it up in the middle."""

from __future__ import annotations

import contextvars
import itertools
import math
import os
import threading
import time

import pytest

from worker_dispatcher import execute
from worker_dispatcher.call import Call
from worker_dispatcher.config.signature import TASK_NAMES, call_style
from worker_dispatcher.execute import run_tasks
from worker_dispatcher.pools.base import Batch
from worker_dispatcher.pools.runners.task_queue import Columns, Slot, TaskQueue, forked
from worker_dispatcher.task_span import TaskSpan


def a_slot():
    slot = Slot(1, [0], [0.0], [math.inf], [0], [0])
    slot.stretch = TaskSpan()
    return slot


def run(slot, function, tasks, seal=None, timeout=1000.0):
    """Run tasks 11, 12, ..., with seqs 1, 2, ...; what the slot's stretch holds then."""
    call = Call(function, call_style(function, TASK_NAMES))
    limits = {"timeout": timeout, "stop_at": math.inf, "until": math.inf, "forked": [False]}
    tasks = zip(itertools.count(1), itertools.count(11), tasks)
    run_tasks(call, call.caller(), tasks, slot, slot.stretch, seal, **limits)
    return slot.stretch


def heard(stretch):
    columns = Columns.empty()
    columns.take(7, stretch)
    return columns


def test_a_task_that_is_given_up_while_it_runs_is_not_heard_of_and_none_begins_after_it():
    slot, begun = a_slot(), []

    def task(task):
        begun.append(task)
        if task == "c":
            assert slot.give_up() == 3
        return task.upper()

    went = run(slot, task, "abcdef")

    assert begun == ["a", "b", "c"]
    assert went.unbegun == (4, 14, "d")  # somebody else's now
    assert heard(went).seqs == [1, 2]
    assert heard(went).seqs == []  # told once
    assert slot.abandoned == 3
    assert slot.since == went.starts[2]  # not since it has come upon the next one
    assert not slot.settle([], went)


def test_a_task_that_is_given_up_after_its_function_has_ended_is_not_heard_of_either():
    slot = a_slot()

    def seal(call, result, metadata):
        if result == "c":
            assert slot.give_up() == 3
        return result, None, False

    went = run(slot, lambda task: task, "abcdef", seal)
    assert heard(went).results == ["a", "b"]
    assert went.unbegun == (4, 14, "d")


def test_a_task_that_sets_something_does_not_end_the_span_and_an_early_end_stays_one():
    var, seen = contextvars.ContextVar[str]("var", default="unset"), []

    def task(task):
        seen.append(var.get())
        if task in "bc":
            var.set(task)
        if task == "e":
            slot.halt[0] = True
        return task

    slot = a_slot()
    went = contextvars.Context().run(run, slot, task, "abcdef")
    assert seen == ["unset"] * 5
    assert went.results == ["a", "b", "c", "d", "e"]
    assert went.unbegun == (6, 16, "f")


def test_a_slot_between_two_tasks_cannot_be_given_up():
    slot, answers = a_slot(), []

    def tasks():
        for task in "abc":
            answers.append(slot.give_up())
            yield task

    went = run(slot, lambda task: task, tasks())
    assert answers == [0, 0, 0]
    assert heard(went).results == ["a", "b", "c"]
    assert went.unbegun is None
    assert not slot.abandoned
    assert not slot.halt[0]


def test_a_task_that_is_not_late_is_not_given_up_and_what_it_ends_meanwhile_counts():
    slot = a_slot()

    def task(task):
        assert slot.give_up(at=slot.deadline[0] - 1) == 0
        return task

    went = run(slot, task, "abc")
    assert heard(went).results == ["a", "b", "c"]
    assert not slot.halt[0]


def test_an_end_in_the_moment_of_a_cut_that_is_undone_is_in_its_place():
    went = TaskSpan()
    went.seqs += [1, 2]
    went.ends.append(0.1)
    assert went.cut() == 2
    went.ends.append(0.2)  # by the task's thread
    assert went.ended == 1
    went.mend()
    assert went.ends == [0.1, 0.2]
    assert went.ended == 2


def test_a_halt_stays_whoever_looks_for_late_tasks():
    slot = a_slot()
    slot.halt[0] = 1
    assert slot.give_up() == 0
    assert slot.halt[0] == 1


def test_failures_and_metadata_are_at_their_places_however_often_a_stretch_is_looked_at():
    slot = a_slot()
    seen = Columns.empty()

    def task(task, metadata):
        seen.take(7, slot.stretch)
        if task in "bd":
            metadata["is"] = task
        return 1 / (task != "d")

    run(slot, task, "abcd")
    seen.take(7, slot.stretch)
    assert seen.seqs == [1, 2, 3, 4]
    assert seen.apart.keys() == {1, 3}
    assert seen.apart[1] == (None, {"is": "b"})
    assert seen.apart[3][0].type == "ZeroDivisionError"

    backwards = Columns(*(column[::-1] for column in seen[:5]), {3 - at: what for at, what in seen.apart.items()})
    assert backwards.in_order() == seen
    assert seen.notes(1, [12, 13, 14]) == {12: {"is": "b"}, 14: {"is": "d"}}
    assert seen.part(1, 3) == Columns([2, 3], [7, 7], seen.starts[1:3], seen.ends[1:3], [1.0, 1.0], {0: seen.apart[1]})


def test_each_task_of_a_stretch_ends_when_it_ends_itself_also_where_it_raises(monkeypatch):
    moments = iter([10, 11, 11, 13, 13, 19])  # a clock as coarse as the end of one task and the beginning of the next
    monkeypatch.setattr(execute, "now", lambda: next(moments))
    went = run(a_slot(), lambda task: 1 // task, [1, 1, 0, 1])
    assert went.starts == [10, 11, 13]
    assert went.ends == [11, 13, 19]
    assert went.apart.keys() == {2}


def test_a_stretch_that_its_thread_has_done_with_is_passed_on_as_it_is_and_told_once():
    went = run(a_slot(), lambda task: task, "abc")
    columns = Columns.of_stretch(7, went)
    assert columns.results is went.results
    assert columns == Columns([1, 2, 3], [7] * 3, went.starts, went.ends, ["a", "b", "c"], {})
    assert Columns.of_stretch(7, went) == heard(went) == Columns.empty()


def test_a_stretch_whose_thread_may_go_on_with_it_is_not():
    slot = a_slot()

    def task(task):
        if task == "c":
            assert slot.give_up() == 3
            told.append(Columns.of_stretch(7, slot.stretch))
        return task

    told = []
    run(slot, task, "abc")
    assert told == [Columns([1, 2], [7] * 2, slot.stretch.starts[:2], slot.stretch.ends[:2], ["a", "b"], {})]


def test_a_heavy_result_is_the_last_of_its_run_and_a_stretch_goes_on_where_it_was():
    slot = a_slot()
    tasks = iter("abcd")

    def seal(call, result, metadata):
        return result.upper(), None, result == "b"

    went = run(slot, lambda task: task, tasks, seal)
    assert (went.results, went.heavy) == (["A", "B"], True)
    assert run(slot, lambda task: task, tasks, seal) is went
    assert (went.results, went.heavy) == (["A", "B", "C", "D"], False)
    assert went.ended == 4


def test_a_watcher_who_finds_nobody_late_costs_nothing_and_loses_nothing():
    slot, over = a_slot(), threading.Event()

    def watch():
        while not over.is_set():
            assert slot.give_up(at=0.0) == 0
            time.sleep(1e-5)  # else it has the interpreter most of the time, and the task's thread hardly ever

    watcher = threading.Thread(target=watch)
    watcher.start()
    count, tasks, results = 20_000, iter(range(20_000)), []
    try:
        while len(results) < count:
            went = slot.stretch = run_on(slot, tasks)
            results += heard(went).results
            if went.unbegun is not None:  # it looked as if it were to halt
                tasks = itertools.chain(went.unbegun[2:], tasks)
    finally:
        over.set()
        watcher.join()
    assert results == list(range(count))


def run_on(slot, tasks):
    with slot.mutex:  # as `settle` has it
        slot.stretch = TaskSpan()
    return run(slot, lambda task: task, tasks)


@pytest.mark.parametrize("items", [[5, 6, 7, 8, 9], (5, 6, 7, 8, 9), range(5, 10)])
def test_claims_are_taken_one_by_one_or_by_the_rest_of_a_batch(items):
    queue = TaskQueue()
    queue.add(1, Batch(100, items))
    queue.add(6, Batch(300, [1, 2]))
    first = queue.next()
    assert first.task == (1, 100, 5)
    assert next(first.rest) == (2, 101, 6)
    third = queue.next()
    assert third.task == (3, 102, 7)
    assert list(third.rest) == [(4, 103, 8), (5, 104, 9)]
    assert queue.next().task == (6, 300, 1)
    assert queue.drop() == [7]
    assert queue.next() is None


def test_a_child_sees_that_it_was_forked_and_starts_afresh():
    cell = forked()
    child = os.fork()
    if child == 0:
        os._exit(0 if cell[0] and not forked()[0] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not cell[0]
    assert forked() is cell


def test_what_one_stretch_notes_stands_in_no_other_and_one_that_notes_nothing_makes_nothing_for_it():
    first, second = a_slot(), a_slot()
    idle = TaskSpan()

    def notes_or_fails(id, metadata):
        metadata["id"] = id
        if id == 12:
            raise ValueError("no")

    run(first, notes_or_fails, "ab")
    run(second, lambda task: task, "ab")

    assert first.stretch.apart[0] == (None, {"id": 11})
    assert (first.stretch.apart[1][0].type, first.stretch.apart[1][1]) == ("ValueError", {"id": 12})
    assert second.stretch.apart == idle.apart == {}
    assert idle.notes == {}
    assert idle.apart is second.stretch.apart  # a thread that waits makes one for each task, and a GC pass looks at all
    assert idle.notes is TaskSpan().notes


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("counts", [(1,), (2,), (1, 1), (1, 3), (3, 1), (1, 1, 1, 1)])
def test_the_columns_have_all_of_a_task_however_many_are_taken_at_once(counts, fails):
    slot, columns, taken = a_slot(), Columns.empty(), 0

    def task(task):
        if fails and task % 2 == 0:
            raise ValueError(task)
        return -task

    columns.take(5, run(a_slot(), task, [0]))  # of another, before
    for count in counts:
        items = range(taken + 1, taken + count + 1)
        call = Call(task, call_style(task, TASK_NAMES))
        limits = {"timeout": 1000.0, "stop_at": math.inf, "until": math.inf, "forked": [False]}
        for item in items:  # a failure ends a call
            run_tasks(call, call.caller(), iter([(item, 10 + item, item)]), slot, slot.stretch, None, **limits)
        taken += count
        columns.take(7, slot.stretch)

    ids = range(1, taken + 1)
    assert columns.seqs[1:] == [*ids]
    assert columns.numbers == [5, *[7] * taken]
    assert columns.starts[1:] == slot.stretch.starts
    assert columns.ends[1:] == slot.stretch.ends
    assert columns.results[1:] == [None if fails and item % 2 == 0 else -item for item in ids]
    assert sorted(columns.apart) == ([0, *(item for item in ids if item % 2 == 0)] if fails else [])
