"""Schedules as data: which task is due when."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from worker_dispatcher.dispatch.load import (
    Curve,
    Growing,
    Paced,
    Remaining,
    Stage,
    Stages,
    Steady,
    Trace,
)
from worker_dispatcher.dispatch.schedule import AllAtOnce, Schedule


def first_ticks(schedule: Schedule, count: int) -> list[tuple[int, list[float]]]:
    return [(number, dues.tolist()) for number, dues in itertools.islice(schedule.ticks(), count)]


def test_all_at_once_has_no_times() -> None:
    assert not AllAtOnce().timed
    assert list(AllAtOnce().ticks()) == []


def test_a_burst_is_due_at_each_multiple_of_the_interval() -> None:
    assert first_ticks(Paced(Growing(2), "burst", 0.5), 3) == [(0, [0, 0]), (1, [0.5, 0.5]), (2, [1, 1])]


def test_even_tasks_lie_at_equal_distances_within_their_interval() -> None:
    assert first_ticks(Paced(Growing(2, 2), "even", 1), 2) == [(0, [0, 0.5]), (1, [1, 1.25, 1.5, 1.75])]


@pytest.mark.parametrize(
    ("accumulated", "counts"), [(2, [4, 6, 8, 10]), (1.9, [4, 5, 6, 7]), (-1, [4, 3, 2, 1]), (-3, [4, 1, 1, 1])]
)
def test_accumulated_workers_are_rounded_down_and_never_leave_an_interval_empty(
    accumulated: float, counts: list[int]
) -> None:
    schedule = Paced(Growing(4, accumulated), "burst", 1)
    assert [len(dues) for _, dues in first_ticks(schedule, 4)] == counts


def test_a_rate_below_one_per_interval_leaves_intervals_without_tasks() -> None:
    assert first_ticks(Paced(Steady(0.4), "even", 1), 3) == [(0, [0.0]), (2, [2.5]), (5, [5.0])]


def test_a_ramp_releases_the_area_under_its_rate() -> None:
    schedule = Paced(Stages((Stage(10, 0, 10), Stage(5, 10, 10), Stage(10, 10, 0))), "even", 1)
    dues = [due for _, tick in schedule.ticks() for due in tick]
    assert len(dues) == 50 + 50 + 50
    assert sum(due < 10 for due in dues) == 50
    assert sum(10 <= due < 15 for due in dues) == 50
    assert dues[2] == pytest.approx(2)  # the ramp is t * t / 2
    assert dues[-1] < 25


def test_a_stage_of_rate_zero_is_a_pause() -> None:
    schedule = Paced(Stages((Stage(2, 5, 5), Stage(3, 0, 0), Stage(2, 5, 5))), "even", 1)
    dues = [due for _, tick in schedule.ticks() for due in tick]
    assert [sum(low <= due < low + 1 for due in dues) for low in range(7)] == [5, 5, 0, 0, 0, 5, 5]
    assert dues[10] == 5.0


def test_a_duration_ends_it_and_its_end_does_not_belong_to_it() -> None:
    schedule = Paced(Growing(4), "even", 1, duration=2.5)
    assert [len(dues) for _, dues in schedule.ticks()] == [4, 4, 2]


def test_a_trace_is_replayed_and_numbered_by_interval() -> None:
    schedule = Trace((0.0, 0.1, 1.0, 86400.5), 1)
    assert first_ticks(schedule, 9) == [(0, [0.0, 0.1]), (1, [1.0]), (86400, [86400.5])]
    assert first_ticks(Trace((0.0, 0.1, 1.0), 1, duration=1), 9) == [(0, [0.0, 0.1])]


def test_a_seed_makes_chance_the_same_each_time() -> None:
    for pacing in ("random", "poisson"):
        one, same, other = (Paced(Steady(50), pacing, 1, seed=seed) for seed in (7, 7, 8))
        assert first_ticks(one, 5) == first_ticks(same, 5) != first_ticks(other, 5)


def test_poisson_gaps_are_those_of_independent_arrivals() -> None:
    dues = [due for _, tick in Paced(Steady(200), "poisson", 1, duration=100, seed=1).ticks() for due in tick]
    gaps = sorted(b - a for a, b in itertools.pairwise(dues))
    assert len(dues) == pytest.approx(20_000, abs=5 * math.sqrt(20_000))
    assert sum(gaps) / len(gaps) == pytest.approx(1 / 200, rel=0.05)
    assert gaps[len(gaps) // 2] == pytest.approx(math.log(2) / 200, rel=0.05)  # an exponential's median


curves = st.one_of(
    st.builds(Growing, st.integers(1, 40), st.integers(-10, 10)),
    st.builds(Steady, st.floats(0.05, 500)),
    st.lists(st.tuples(st.floats(0.1, 20), st.floats(0, 50), st.floats(0, 50)), min_size=1, max_size=5).map(
        lambda given: Stages(tuple(Stage(*stage) for stage in given))
    ),
)


@given(
    curves,
    st.sampled_from(["burst", "even", "random", "poisson"]),
    st.floats(0.01, 10),
    st.none() | st.floats(0.01, 30),
    st.integers(0, 5),
)
def test_due_times_never_decrease_and_lie_in_their_interval(
    curve: Growing | Steady | Stages, pacing: str, interval: float, duration: float | None, seed: int
) -> None:
    before = 0.0
    for number, dues in itertools.islice(Paced(curve, pacing, interval, duration, seed).ticks(), 20):
        assert len(dues)
        for due in dues:
            assert due >= before
            assert number * interval <= due <= (number + 1) * interval
            assert duration is None or due < duration
            before = due


@given(st.integers(1, 200), st.integers(-20, 20), st.sampled_from(["burst", "even", "random"]), st.floats(0.001, 100))
def test_each_interval_has_exactly_its_number(number: int, more: int, pacing: str, interval: float) -> None:
    ticks = first_ticks(Paced(Growing(number, more), pacing, interval), 10)
    assert [len(dues) for _, dues in ticks] == [max(1, number + tick * more) for tick in range(10)]


@given(st.floats(0.1, 1000), st.floats(0.01, 4), st.sampled_from(["burst", "even", "random"]))
def test_a_rate_is_kept_in_the_mean_and_never_off_by_a_whole_task(rate: float, interval: float, pacing: str) -> None:
    seen = 0
    for number, dues in itertools.islice(Paced(Steady(rate), pacing, interval, seed=1).ticks(), 30):
        seen += len(dues)
        assert abs(seen - rate * (number + 1) * interval) < 1 + 1e-6


@given(st.lists(st.tuples(st.floats(0.5, 20), st.floats(0, 50), st.floats(0, 50)), min_size=1, max_size=4))
def test_stages_have_as_many_tasks_as_their_area_at_any_interval(given: list[tuple[float, float, float]]) -> None:
    stages = Stages(tuple(Stage(*stage) for stage in given))
    area = sum(duration * (start + end) / 2 for duration, start, end in given)
    assume(abs(area - round(area)) > 1e-6)
    for interval in (0.3, 1, 7):
        assert sum(len(dues) for _, dues in Paced(stages, "even", interval).ticks()) == math.ceil(area)


@given(st.integers(1, 1000), st.floats(1e-6, 1e6), st.integers(1, 100_000))
def test_an_interval_never_drifts(number: int, interval: float, tick: int) -> None:
    assert Growing(number).when(tick, interval, 0) == tick * interval


@given(st.integers(1, 50), st.integers(-60, 5), st.integers(1, 2000))
def test_the_largest_interval_is_what_a_run_of_so_many_tasks_releases_at_most(
    number: int, more: int, tasks: int
) -> None:
    left, most = tasks, 0
    for tick in itertools.count():
        count = min(left, max(1, number + tick * more))
        most, left = max(most, count), left - count
        if not left:
            break
    assert Growing(number, more).largest(tasks) == most


@pytest.mark.parametrize("pacing", ["burst", "even", "random", "poisson"])
@pytest.mark.parametrize("curve", [Growing(10**12), Growing(1, 1e12), Steady(1e6), Stages((Stage(1e6, 0, 1e6),))])
def test_an_interval_of_any_size_comes_in_pieces_as_they_are_asked_for(curve: Curve, pacing: str) -> None:
    before, seen = 0.0, 0
    for _, dues in itertools.islice(Paced(curve, pacing, 1e6, seed=1).ticks(), 5):
        assert 0 < len(dues) <= 4096
        assert dues.tolist() == sorted(dues)
        assert before <= dues[0]
        before, seen = dues[-1], seen + len(dues)
    assert seen > 10_000


def test_a_large_interval_has_exactly_its_number_too() -> None:
    for pacing in ("burst", "even", "random"):
        pieces = itertools.takewhile(lambda piece: piece[0] < 2, Paced(Growing(10_000), pacing, 1, seed=1).ticks())
        assert Counter(number for number, dues in pieces for _ in dues) == {0: 10_000, 1: 10_000}
    offsets = Trace((0.0,) * 10_000 + (1.5,), 1)
    assert [(number, len(dues)) for number, dues in offsets.ticks()] == [(0, 4096), (0, 4096), (0, 1808), (1, 1)]


def test_long_times_without_a_task_are_passed_over() -> None:
    quiet = Stages((Stage(1, 5, 5), Stage(1e8, 0, 0), Stage(1, 5, 5), Stage(1e8, 0, 0)))
    for pacing in ("burst", "even", "random", "poisson"):
        dues = [due for _, tick in Paced(quiet, pacing, 0.1, seed=4).ticks() for due in tick]
        assert all(due <= 1 or 1e8 + 1 <= due <= 1e8 + 2 for due in dues)
        assert len(dues) == 10 or pacing == "poisson"
        few = first_ticks(Paced(Steady(1e-3), pacing, 1e-6, seed=4), 3)
        assert len(few) == 3
        assert few[-1][0] == pytest.approx(few[-1][1][0] * 1e6, abs=1)
    assert first_ticks(Trace((0.0, 1e9), 5e-324), 2) == [(0, [0.0]), (10**15, [1e9])]


@given(
    done=st.integers(0, 30),
    schedule=st.sampled_from(
        [
            Paced(Growing(3, 1), "burst", 0.5, 3.0),
            Paced(Steady(7), "even", 1.0, 3.0),
            Paced(Steady(7), "poisson", 1.0, 3.0, 5),
            Paced(Stages((Stage(1.0, 0, 10), Stage(1.0, 10, 2))), "even", 0.25),
            Trace((0.0, 0.0, 0.7, 2.5, 2.5, 9.0), 1.0),
        ]
    ),
)
def test_what_remains_of_a_schedule_is_its_end_from_the_next_due_time_on(done: int, schedule: Schedule) -> None:
    whole = [(number, due) for number, dues in schedule.ticks() for due in dues]
    left = Remaining(schedule, done)
    found = [(number, due) for number, dues in left.ticks() for due in dues]
    assert [number for number, _ in found] == [number for number, _ in whole[done:]]
    gone = left.gone()
    assert gone == (whole[done][1] if done < len(whole) else math.inf)
    assert [due + gone for _, due in found] == pytest.approx([due for _, due in whole[done:]])
    assert not found or found[0][1] == 0.0
