"""The checks that end a load while it goes on, on a clock of the test's own."""

from __future__ import annotations

from array import array

import pytest

from worker_dispatcher.clock import Anchor
from worker_dispatcher.dispatch import abort
from worker_dispatcher.records import ERROR, Failure, Outcome, Records

FAILED = Failure("OSError", "refused", "")


class Clock:
    def __init__(self, at: float) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(100.0)
    monkeypatch.setattr(abort, "now", clock)
    return clock


@pytest.mark.parametrize(("workers", "warmup"), [(5.0, 0.0), (0.0, 5.0), (2.0, 3.0)])
def test_what_a_check_is_held_against_is_as_long_as_it_says(clock, workers, warmup):
    """Neither the seconds in which workers start nor those of the warm-up are among its ten."""
    records = Records(Anchor(1000.0, clock.at))
    watch = abort.AbortWatch(["error_rate>50% for 10s"], records)
    began = records.measured_from = clock.at + workers + warmup
    looks = []
    for second in range(12):
        clock.at = began + second
        due = clock.at - 0.5
        if second:
            records.complete(Outcome(records.draw(1, array("d", [due])), ERROR, due, due + 0.1, failure=FAILED))
        looks.append(watch.look() is not None)
    assert looks == [False] * 10 + [True] * 2


def test_a_look_that_took_long_puts_off_the_next(clock, monkeypatch):
    records = Records(Anchor(1000.0, clock.at))
    watch = abort.AbortWatch(["error_rate>50%"], records)
    assert watch.due == 100.5
    monkeypatch.setattr(watch, "_broken", lambda at: setattr(clock, "at", at + 1) or "")
    watch.look()
    assert watch.due == 121.0
