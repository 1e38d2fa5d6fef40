"""Schedules as data: what is released when."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_dispatcher.dispatch.schedule import AllAtOnce, Bursts


def test_all_at_once_releases_everything_at_the_start() -> None:
    assert list(AllAtOnce().ticks()) == [(0.0, None)]


def test_a_burst_releases_the_same_number_at_each_multiple_of_the_interval() -> None:
    assert list(itertools.islice(Bursts(4, 0.5).ticks(), 3)) == [(0.0, 4), (0.5, 4), (1.0, 4)]


@pytest.mark.parametrize(
    ("accumulated", "counts"), [(2, [4, 6, 8, 10]), (1.9, [4, 5, 6, 7]), (-1, [4, 3, 2, 1]), (-3, [4, 1, 1, 1])]
)
def test_accumulated_workers_are_rounded_down_and_never_leave_a_tick_empty(
    accumulated: float, counts: list[int]
) -> None:
    assert [count for _, count in itertools.islice(Bursts(4, 1, accumulated).ticks(), 4)] == counts


@given(st.integers(1, 1000), st.floats(1e-6, 1e6), st.integers(1, 100_000))
def test_a_tick_never_drifts(number: int, interval: float, tick: int) -> None:
    offset, _ = next(itertools.islice(Bursts(number, interval).ticks(), tick, None))
    assert offset == tick * interval


@given(st.integers(1, 50), st.integers(-60, 5), st.integers(1, 2000))
def test_the_largest_tick_is_what_a_run_of_so_many_tasks_releases_at_most(number: int, more: int, tasks: int) -> None:
    left, most = tasks, 0
    for tick in itertools.count():
        count = min(left, max(1, number + tick * math.floor(more)))
        most, left = max(most, count), left - count
        if not left:
            break
    assert Bursts(number, 1, more).largest(tasks) == most
