"""A worker tells of the tasks of a stretch together: what that costs it, and what a kill of it would cost."""

from __future__ import annotations

from typing import Any

import pytest

from worker_dispatcher import execute
from worker_dispatcher.call import Call
from worker_dispatcher.call_style import CallStyle
from worker_dispatcher.osproc.channel import Frame
from worker_dispatcher.osproc.shared_status import SharedStatus
from worker_dispatcher.pools.base import Batch, Setup
from worker_dispatcher.pools.in_flight import InFlight
from worker_dispatcher.pools.parent.batching import pack_items
from worker_dispatcher.pools.protocol import frames
from worker_dispatcher.pools.protocol.decode import Report, one_ended
from worker_dispatcher.pools.worker import single
from worker_dispatcher.script import main_module

MOST_UNTOLD = 0.010  # seconds of finished work


class Clock:
    """It goes only while tasks run."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


class Parent:
    """The other end of a worker's channel, by the same clock. told: (when, how many tasks) of each report; ends: when
    each task ended; asked: how often the worker looked whether the parent is there."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.told: list[tuple[float, int]] = []
        self.ends: list[float] = []
        self.asked = 0
        self.held = InFlight()

    def send(self, kind: int, parts: Any, fds: Any = ()) -> None:
        frame = Frame(kind, [memoryview(part) for part in parts], [])
        if kind == frames.ENDED:
            (end,) = one_ended(frame, self.held, 1)
            ends = list(end.ends)
        else:
            assert kind == frames.REPORT
            ends = list(Report.of(frame, 1).ends)
        self.told.append((self.clock.at, len(ends)))
        self.ends += ends

    def severed(self) -> bool:
        self.asked += 1
        return False

    def fileno(self) -> int:
        return -1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(single, "now", clock)
    monkeypatch.setattr(execute, "now", clock)
    return clock


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When each stretch was shown to who tells of it early."""
    begun: list[float] = []
    monkeypatch.setattr(single.EarlyReports, "begin", lambda reports, went, at: begun.append(at))
    return begun


def ran(clock: Clock, seconds: list[float]) -> Parent:
    """Tasks that take so long, of one batch."""

    def pass_time(task: float) -> float:
        clock.at += task
        return task

    parent = Parent(clock)
    setup = Setup(Call(pass_time, CallStyle(positional=True)))
    worker = single.SingleWorker(parent, SharedStatus(1), setup)  # type: ignore[arg-type]
    batch = Batch(1, seconds)
    parent.held.add(1, batch)
    _, parts, _ = pack_items(seconds, main_module.FRESH)
    worker.take(Frame(frames.WORK, [memoryview(part) for part in (frames.head_of(1, batch), *parts)], []))
    assert len(parent.ends) == len(seconds)
    return parent


@pytest.mark.parametrize("each", [0.001, 0.003, 0.004, 0.0055])
def test_tasks_of_a_few_milliseconds_are_told_of_together(clock: Clock, watched: list[float], each: float) -> None:
    parent = ran(clock, [each] * 60)

    stretch = -(-MOST_UNTOLD // each)  # tasks until the first has waited for so long
    assert [count for _, count in parent.told[1:-1]] == [stretch] * len(parent.told[1:-1])
    assert parent.asked <= len(parent.told) + 1  # the worker looks at the life-line as often, and not more


@pytest.mark.parametrize("seconds", [[0.001] * 60, [0.0055] * 20, [0.009] * 9, [0.001, 0.02, 0.004, 0.03, 0.001] * 4])
def test_no_more_finished_work_waits_to_be_told_of_than_a_kill_may_cost(
    clock: Clock, watched: list[float], seconds: list[float]
) -> None:
    parent = ran(clock, seconds)

    ends = iter(parent.ends)
    for when, count in parent.told:
        told = [next(ends) for _ in range(count)]
        last_begun = when - seconds[parent.ends.index(told[-1])]
        assert last_begun - told[0] < MOST_UNTOLD  # but for the last, which may run for long: there somebody watches


def test_a_task_that_takes_long_is_told_of_as_it_ends_and_nobody_is_woken_for_it(
    clock: Clock, watched: list[float]
) -> None:
    parent = ran(clock, [0.012] * 10)

    assert parent.told == [(end, 1) for end in parent.ends]
    assert watched == []


def test_what_ended_before_a_task_that_may_take_long_is_watched(clock: Clock, watched: list[float]) -> None:
    """After a long one, too, though the first of a stretch is then taken for long."""
    ran(clock, [0.012, 0.001, 5.0, 0.012, 0.001, 0.001, 5.0])

    assert len(watched) == 2
