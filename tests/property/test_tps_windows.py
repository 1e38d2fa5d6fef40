"""Peaks, percentiles and overlaps against their definitions: every window, every rank, every moment."""

from __future__ import annotations

import math
import random
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounds import examples

from worker_dispatcher import get_tps
from worker_dispatcher.reports import peak as peak_module
from worker_dispatcher.reports.peak import find_peak, scan_peaks
from worker_dispatcher.reports.rate import in_flight, peak_rate, steady_tps
from worker_dispatcher.reports.rows import Rows
from worker_dispatcher.reports.window_numbers import nearest_rank, percentiles_of

Pairs = list[tuple[float, float]]


def successes(pairs: Pairs) -> Rows:
    return Rows.from_columns([s for s, _ in pairs], [e for _, e in pairs], [True] * len(pairs))


def every_window(pairs: Pairs) -> tuple[float, int, int]:
    """(rate, w, k) of the best [w, w + k]; earlier, then shorter ones first. O(n^2) windows over whole seconds."""
    a = np.array([math.floor(s) for s, _ in pairs])
    b = np.array([math.ceil(e) for _, e in pairs])
    best = (0.0, 0, 0)
    for w in sorted(set(a.tolist())):
        lengths = np.arange(1, max(1, int(b.max()) - w) + 1)
        rates = np.array([np.count_nonzero((a >= w) & (b <= w + k)) for k in lengths]) / lengths
        first = int(np.argmax(rates))
        if rates[first] > best[0]:
            best = (float(rates[first]), w, int(lengths[first]))
    return best


def some_pairs(dice: random.Random) -> Pairs:
    count, span = dice.choice([1, 2, 5, 20, 60]), dice.choice([1, 5, 30, 90])
    longest, base = dice.choice([0, 1, 3, 30]), dice.choice([-20, 0, 1_700_000_000])
    paced = dice.random() < 0.3
    starts = [base + (i * span / count if paced else dice.random() * span) for i in range(count)]
    if dice.random() < 0.4:
        starts = [float(math.floor(start)) for start in starts]
    ends = [start + dice.choice([0, dice.random(), dice.random() * longest, longest]) for start in starts]
    return list(zip(starts, ends, strict=True))


@pytest.mark.parametrize("seed", range(examples(12)))
def test_the_peak_is_the_first_best_of_all_windows(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(100):
        pairs, leaf = some_pairs(dice), dice.choice([1, 2, 3, 64])
        with patch.object(peak_module, "_LEAF", leaf):  # small ones divide even these small runs
            found = find_peak(successes(pairs))
        assert found is not None
        assert (found.rate, found.started_at, found.length) == every_window(pairs), (seed, leaf, pairs)


whole = st.integers(0, 25)


@given(st.lists(st.tuples(whole, whole), min_size=1, max_size=30), st.integers(1, 4))
@settings(max_examples=examples(300))
def test_the_peak_on_whole_seconds_is_the_first_best_of_all_windows(spans: list[tuple[int, int]], leaf: int) -> None:
    pairs = [(float(start), float(start + took)) for start, took in spans]
    with patch.object(peak_module, "_LEAF", leaf):
        found = find_peak(successes(pairs))
    assert found is not None
    assert (found.rate, found.started_at, found.length) == every_window(pairs)


@given(st.lists(st.tuples(whole, whole), min_size=1, max_size=30), st.floats(0, 5))
@settings(max_examples=examples(200))
def test_the_scan_ends_at_the_same_peak_and_beats_itself_each_time(
    spans: list[tuple[int, int]], threshold: float
) -> None:
    rows = successes([(float(start), float(start + took)) for start, took in spans])
    scans = list(scan_peaks(rows, threshold))
    found = [peak for scan in scans for peak in scan.found]
    assert (found[-1] if found else None) == find_peak(rows, threshold)
    rates = [threshold, *(peak.rate for peak in found)]
    assert rates == sorted(set(rates))


def test_tasks_without_length_on_a_whole_second_count_in_the_window_that_ends_there() -> None:
    # Two starts with one task each, one window with both: a start may not be skipped for having few tasks.
    rows = successes([(1.0, 2.0), (4.0, 4.0), (5.0, 5.0), (5.0, 5.0)])
    found = find_peak(rows)
    assert found is not None
    assert (found.started_at, found.length, found.count) == (4, 1, 3)


def test_a_peak_among_times_that_are_no_seconds_is_still_found() -> None:
    far = float(2**52)
    pairs = [(far * i / 400, far * i / 400) for i in range(400)] + [(7.0, 7.5)] * 3
    found = find_peak(successes(pairs))
    assert found is not None
    assert (found.rate, found.started_at) == (3.0, 7)


def test_a_long_even_run_takes_the_peak_search_no_quadratic_time() -> None:
    starts = np.arange(200_000, dtype=np.float64)
    rows = Rows.from_columns(starts, starts + 5, np.ones(len(starts), bool))
    found = find_peak(rows)  # 2e10 windows; done in a second, or the suite stands still
    assert found is not None
    assert (found.started_at, found.length, found.count) == (0, 200_004, 200_000)


def best_rate(ends: list[float], window: float) -> float:
    """Over all pairs: a best window runs from one completion up to, but without, another, or is `window` long."""
    windows = [
        (begin, last) for begin in ends for last in (begin + window, *(one for one in ends if one - begin >= window))
    ]
    return max(sum(begin <= end < last for end in ends) / max(last - begin, window) for begin, last in windows)


def test_two_a_second_are_two_in_any_second() -> None:
    even = [n / 2 for n in range(12)]
    for window in (0.5, 1, 1.5, 2, 3):
        assert peak_rate(successes([(end, end) for end in even]), window)["tps"] == 2
    assert get_tps([{"started_at": end, "ended_at": end, "result": 1} for end in even])["peak_rate"]["tps"] == 2


eighths = st.integers(0, 400).map(lambda value: value / 8)  # sums and differences of these are exact


@given(st.lists(eighths, min_size=1, max_size=30), st.sampled_from([0.125, 0.5, 1, 2.5, 10, 100]))
@settings(max_examples=examples(300))
def test_the_peak_rate_is_the_best_over_all_pairs(ends: list[float], window: float) -> None:
    found = peak_rate(successes([(end, end) for end in ends]), window)
    assert found["tps"] == pytest.approx(best_rate(ends, window), rel=1e-12)
    assert_consistent(found, ends, window)


@pytest.mark.parametrize("seed", range(examples(8)))
def test_the_peak_rate_of_random_runs_is_the_best_over_all_pairs(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(60):
        base, span = dice.choice([0, 1_700_000_000.123]), dice.choice([0.1, 3, 50])
        ends = [base + dice.random() * span for _ in range(dice.choice([1, 2, 10, 40]))]
        ends += [base + span / 2 + dice.random() * dice.choice([0, 0.01, 1]) for _ in range(dice.choice([0, 20]))]
        window = dice.choice([0.05, 0.5, 1, 7])
        found = peak_rate(successes([(end - 1, end) for end in ends]), window)
        assert found["tps"] == pytest.approx(best_rate(ends, window), rel=1e-6 if base else 1e-12)
        assert found["duration"] < 2 * window or found["count"] == 1


def assert_consistent(found: dict[str, Any], ends: list[float], window: float) -> None:
    assert list(found) == ["tps", "count", "started_at", "ended_at", "duration", "window"]
    assert found["count"] == sum(found["started_at"] <= end < found["ended_at"] for end in ends)
    assert found["ended_at"] - found["started_at"] == found["duration"] >= window == found["window"]
    assert found["duration"] < 2 * window
    assert found["tps"] == found["count"] / found["duration"]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40), st.integers(1, 1000).map(lambda tenths: tenths / 10))
@settings(max_examples=examples(300))
def test_percentiles_are_the_smallest_value_with_that_share_at_or_below(values: list[float], percent: float) -> None:
    tenths = round(percent * 10)  # whole numbers, so that this definition does not round
    enough = [v for v in values if sum(other <= v for other in values) * 1000 >= tenths * len(values)]
    found = percentiles_of(np.array(values), [percent, 100])
    assert found == {f"p{percent:g}": min(enough), "p100": max(values)}


def test_a_rank_does_not_suffer_from_binary_fractions() -> None:
    assert nearest_rank(99.9, 1000) == 999
    assert nearest_rank(0.1, 1000) == 1
    assert [nearest_rank(p, 10) for p in (1, 10, 10.1, 50, 99, 100)] == [1, 1, 2, 5, 10, 10]


@given(st.lists(st.tuples(eighths, eighths), max_size=25))
@settings(max_examples=examples(200))
def test_in_flight_counts_each_task_from_its_start_up_to_but_without_its_end(spans: list[tuple[float, float]]) -> None:
    pairs = [(start, start + took) for start, took in spans]
    found = in_flight(successes(pairs))
    assert found["max"] == max((sum(s <= at < e for s, e in pairs) for at, _ in pairs), default=0)
    ticks = np.arange(0, 101, 1 / 8)  # nothing changes between ticks
    first, last = min((s for s, _ in pairs), default=0), max((e for _, e in pairs), default=0)
    running = [sum(s <= tick < e for s, e in pairs) for tick in ticks if first <= tick < last]
    assert found["mean"] == pytest.approx(sum(running) / len(running) if running else 0)


@given(st.lists(st.tuples(eighths, eighths, st.booleans()), max_size=25))
@settings(max_examples=examples(200))
def test_the_steady_rate_counts_completions_between_the_first_and_last_tenth(
    spans: list[tuple[float, float, bool]],
) -> None:
    rows = Rows.from_columns([s for s, _, _ in spans], [s + t for s, t, _ in spans], [good for *_, good in spans])
    begin, end = min((s for s, _, _ in spans), default=0), max((s + t for s, t, _ in spans), default=0)
    low, high = begin + (end - begin) * 0.1, end - (end - begin) * 0.1
    done = sum(low < s + t <= high for s, t, good in spans if good)
    assert steady_tps(rows) == (round(done / (high - low), 2) if high > low else 0)
