"""The thread of a worker that reports while a task runs: it speaks of what goes on for long, and of nothing else."""

from __future__ import annotations

import _thread
import os
import time
from collections.abc import Iterator

import pytest
from notes import wait_for

from worker_dispatcher.clock import now
from worker_dispatcher.pools.worker.early_reports import EarlyReports
from worker_dispatcher.task_span import TaskSpan

PATIENCE = 0.01


class Told:
    """Who hears the reports."""

    def __init__(self) -> None:
        self.stretches: list[TaskSpan] = []
        self.raises = False
        self.early = EarlyReports(self.hear, PATIENCE)

    def hear(self, went: TaskSpan) -> None:
        self.stretches.append(went)
        if self.raises:
            raise BrokenPipeError("the parent is gone")

    def count(self, number: int) -> None:
        wait_for(lambda: len(self.stretches) == number)


@pytest.fixture
def told() -> Iterator[Told]:
    made = Told()
    yield made
    made.early._leave()


def begin(told: Told) -> TaskSpan:
    told.early.begin(went := TaskSpan(), now())
    return went


def test_a_stretch_that_goes_on_is_told_of_once(told: Told) -> None:
    for number in range(1, 4):
        went = begin(told)
        told.count(number)
        assert told.stretches[-1] is went
        time.sleep(3 * PATIENCE)
        told.early.end()
        assert len(told.stretches) == number


def test_of_stretches_that_are_over_in_time_nothing_is_told(told: Told) -> None:
    began, late, count = now(), 0, 0
    while now() < began + 10 * PATIENCE:
        at = now()
        told.early.begin(TaskSpan(), at)
        told.early.end()
        late += now() - at >= PATIENCE  # as it happens on a busy machine
        count += 1
    time.sleep(3 * PATIENCE)
    assert len(told.stretches) <= late < count


def test_where_the_system_gives_no_thread_it_is_asked_for_with_the_next_stretch(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*what: object) -> int:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", refuse)
        begin(told)
        told.early.end()
    assert not told.stretches
    begin(told)
    told.count(1)


def test_a_report_that_fails_is_not_the_last(told: Told) -> None:
    told.raises = True
    for number in (1, 2):
        begin(told)
        told.count(number)
        told.early.end()


def test_before_a_fork_it_tells_what_there_is_and_is_gone(told: Told) -> None:
    told.early._patience = 60.0
    for number in (1, 2):
        went = begin(told)
        if (child := os.fork()) == 0:
            os._exit(told.early._here)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not told.early._here
        assert len(told.stretches) == number
        assert told.stretches[-1] is went
        told.early.end()
