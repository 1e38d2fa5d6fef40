"""In which order the workers of a pool get what a run hands over, and what becomes of tasks that come back."""

from __future__ import annotations

import math

import pytest

from worker_dispatcher.call import Call, CallStyle
from worker_dispatcher.clock import now
from worker_dispatcher.pools.base import AttemptDone, Batch, NotStarted, Setup
from worker_dispatcher.workpool.lent import Handover

BEFORE = 1 << 40


@pytest.fixture
def tasks() -> Handover:
    made = Handover(Setup(Call(abs, CallStyle(positional=True))), lambda *_: None, {}, None, one_each=True)
    made.begin(BEFORE)
    return made


def taken(tasks: Handover) -> list[int]:
    found = []
    while (batch := tasks.take(1)) is not None:
        found.append(batch.first - BEFORE)
    return found


def test_another_attempt_goes_before_tasks_that_come_after_it(tasks: Handover) -> None:
    """As in a run without a pool: they may be long."""
    tasks.put(Batch(5, [5, 6, 7]))
    tasks.put(Batch(3, [3]).again(2))
    tasks.put(Batch(4, [4]).again(2))
    assert tasks.waiting() == 5
    assert taken(tasks) == [3, 4, 5, 6, 7]


def test_what_comes_back_in_pieces_keeps_its_order(tasks: Handover) -> None:
    tasks.put(Batch(1, [1, 2, 3, 4, 5]))
    whole = tasks.take(4)
    assert whole is not None
    for low in (2, 0):
        tasks.tell(NotStarted(whole.part(low, low + 2)))
    assert not tasks.events
    assert tasks.waiting() == 5
    assert taken(tasks) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("left", [-1.0, math.inf])
def test_what_no_worker_may_begin_any_more_goes_back_to_the_run(tasks: Handover, left: float, alone: bool) -> None:
    """A worker turns it back, and would for ever."""
    tasks.put(Batch(1, [1], alone, stop_at=now() + left))
    batch = tasks.take_alone() if alone else tasks.take(1)
    assert batch is not None
    tasks.tell(NotStarted(batch))
    over = left < 0
    assert [event.batch.first for event in tasks.events if isinstance(event, NotStarted)] == [1] * over
    assert tasks.waiting() + tasks.alone_waiting() == (not over)
    assert tasks.held.count == 0


def test_a_task_that_runs_alone_waits_where_the_run_has_as_many_workers_as_it_may() -> None:
    tasks = Handover(Setup(Call(abs, CallStyle(positional=True))), lambda *_: None, {}, 1, one_each=True)
    tasks.begin(BEFORE)
    tasks.put(Batch(1, [1]))
    tasks.put(Batch(2, [2], alone=True))
    running = tasks.take(1)
    assert running is not None
    assert not tasks.alone_waiting()
    assert tasks.take_alone() is None
    tasks.tell(AttemptDone(running, 0.0, 0.0, 1, None, None, 1))
    assert tasks.alone_waiting()
    alone = tasks.take_alone()
    assert alone is not None
    assert alone.first == BEFORE + 2
