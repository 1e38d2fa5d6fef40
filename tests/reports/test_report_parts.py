"""What the charts and tables are made of, against slow definitions that say the same."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_logs import ALL_FAILED, BEGAN, MIXED, ONE, TRACEBACK, due, failed, log

from worker_dispatcher.reports.failure_groups import place_of
from worker_dispatcher.reports.health import generator_health
from worker_dispatcher.reports.run_data import RunData
from worker_dispatcher.reports.safe_text import printable, sparkline
from worker_dispatcher.reports.timeline import (
    bins_of,
    busy_shares,
    histogram,
    idle_tails,
    in_flight_over_time,
    percentiles_over_time,
    round_lengths,
    round_step,
)
from worker_dispatcher.units import rate_text, round_seconds_text, seconds_text, share_text

moments = st.floats(0, 50).map(lambda value: round(value, 3))
runs = st.lists(st.tuples(moments, st.floats(0, 9).map(lambda value: round(value, 3)), st.booleans()), min_size=1)


def facts(run: list[tuple[float, float, bool]]) -> RunData:
    return RunData([log(n, start, took, result=ok, worker=n % 5) for n, (start, took, ok) in enumerate(run)])


@given(runs)
def test_bins_hold_every_task_once_where_it_ended(run: list[tuple[float, float, bool]]) -> None:
    made = facts(run)
    bins = bins_of(made)
    assert int(bins.offered.sum()) == len(run)
    assert int(bins.succeeded.sum()) == sum(ok for _, _, ok in run)
    assert int(bins.failed.sum()) == sum(not ok for _, _, ok in run)
    assert len(bins.edges) == len(bins) + 1
    ends = [start + took for start, took, _ in run]
    first = min(start for start, _, _ in run)
    for at in range(len(bins) - 1):  # the last bin has the rest
        low, high = bins.edges[at] - 2e-6, bins.edges[at + 1] + 2e-6
        held = int(bins.succeeded[at] + bins.failed[at])
        assert held <= sum(low <= end - first <= high for end in ends)


@given(runs)
def test_tasks_in_flight_are_those_that_have_begun_and_not_ended(run: list[tuple[float, float, bool]]) -> None:
    made = facts(run)
    bins = bins_of(made)
    mean, most = in_flight_over_time(made, bins)
    first = min(start for start, _, _ in run)
    inside = [(max(0.0, start - first), start + took - first) for start, took, _ in run]
    end = float(bins.edges[-1])
    worked = sum(min(high, end) - min(low, end) for low, high in inside)
    assert float(mean.sum() * bins.step) == pytest.approx(worked, abs=1e-3)
    assert int(most.max()) >= max(sum(a <= low < b for a, b in inside) for low, _ in inside)
    assert (most >= np.floor(mean - 1e-6)).all()


def test_percentiles_over_time_are_observed_values_of_their_bin() -> None:
    made = RunData(MIXED)
    bins = bins_of(made)
    lines = percentiles_over_time(made, made.rows.times, bins, (50, 99, 100))
    place = np.clip(((made.rows.ends - made.began + 1e-6) / bins.step).astype(int), 0, len(bins) - 1)
    for at in range(len(bins)):
        values = sorted(made.rows.times[place == at].tolist())
        for percent, line in zip((50, 99, 100), lines, strict=True):
            if values:
                assert line[at] == values[math.ceil(percent * len(values) / 100) - 1]
            else:
                assert math.isnan(line[at])


@given(runs)
def test_a_worker_is_as_busy_as_its_tasks_are_long(run: list[tuple[float, float, bool]]) -> None:
    made = facts(run)
    busy = busy_shares(made)
    step = float(busy.edges[1] - busy.edges[0])
    numbers = sorted({n % 5 for n in range(len(run))})
    assert busy.names == [str(number) for number in numbers]
    for row, number in zip(busy.shares, numbers, strict=True):
        took = sum(took for n, (_, took, _) in enumerate(run) if n % 5 == number)
        assert float(row.sum()) * step == pytest.approx(took, abs=1e-3)
        assert row.min() > -1e-6


def test_many_workers_are_shown_in_groups_of_neighbours() -> None:
    busy = busy_shares(RunData([log(n, 0, 1, worker=n) for n in range(1, 151)]))
    assert len(busy.names) == 50
    assert (busy.names[0], busy.names[-1]) == ("1 to 3", "148 to 150")
    assert busy.shares == pytest.approx(np.ones_like(busy.shares))


def test_a_straggler_is_named_with_what_it_cost() -> None:
    logs = [log(n, 0.0, 1.0, worker=n) for n in range(1, 5)] + [log(9, 1.0, 3.0, worker=2)]
    tails = idle_tails(RunData(logs))
    assert tails is not None
    assert (tails.last, tails.row, tails.alone) == ("2", 4, pytest.approx(3.0))
    assert tails.idle == pytest.approx(9 / 16)
    assert idle_tails(RunData(ONE)) is None


@given(st.lists(st.floats(0, 1e6), min_size=1), st.lists(st.floats(0, 1e6)))
def test_the_histogram_holds_every_value(first: list[float], second: list[float]) -> None:
    found = histogram(np.array(first), np.array(second, np.float64))
    assert [int(counts.sum()) for counts in found.counts] == [len(first), len(second)]
    assert (np.diff(found.edges) > 0).all()


@pytest.mark.parametrize("length", [1e-5, 0.3, 1.0, 7.0, 99.0, 12345.0])
def test_steps_are_round_and_few(length: float) -> None:
    step = round_step(length, 100)
    assert f"{step:.0e}"[0] in "125"
    assert math.ceil(length / step - 1e-6) <= 100


@pytest.mark.parametrize(("low", "high"), [(0.21, 0.3), (1e-6, 1e3), (0.004, 0.6), (2.0, 2.1)])
def test_there_are_always_a_few_round_lengths(low: float, high: float) -> None:
    lengths = round_lengths(low, high)
    assert 2 <= len(lengths) <= 10
    assert lengths == sorted(lengths)


def test_bursts_are_the_bins_of_a_run_in_bursts() -> None:
    logs = [due(log(n, n // 20 * 0.3 + 0.01, 0.02), n // 20 * 0.3) for n in range(400)]
    bins = bins_of(RunData(logs))
    assert bins.step == 0.3
    assert set(bins.offered.tolist()) == {20}


def test_failures_are_grouped_by_type_and_line() -> None:
    other = TRACEBACK.replace("line 12", "line 40")
    error = {"type": "ValueError", "message": "late", "traceback": other}
    logs = [
        *ALL_FAILED,
        log(77, 0, 1, status="error", error=error),
        log(78, 0, 1, result=False),
        log(79, 0, 1, result=False),
    ]
    groups = RunData([*logs, log(80, 0, 1, status="timeout", result=None)]).failures
    assert [(one.type, one.place, one.count) for one in groups] == [
        ("ValueError", "orders.py:12", 20),
        ("returned False", "", 2),
        ("ValueError", "orders.py:40", 1),
        ("timeout", "", 1),
    ]
    assert groups[0].task_ids == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("traceback", "place"),
    [
        ("", ""),
        ("no frames here", ""),
        (TRACEBACK, "orders.py:12"),
        ('  File "/usr/lib/python3.12/json/decoder.py", line 5, in decode\n', "decoder.py:5"),
        ('  File "C:\\work\\shop.py", line 8, in f\n', "shop.py:8"),
        (TRACEBACK + "\nDuring handling\n\n" + TRACEBACK.replace("orders", "other"), "other.py:12"),
        ('  File "a.py", line 1, in f\n    say(\'  File "b.py", line 2\')\n', "a.py:1"),
    ],
)
def test_the_place_is_the_last_line_of_the_users_own_code(traceback: str, place: str) -> None:
    assert place_of(traceback) == place


def load_test(late: float) -> RunData:
    """200 tasks that start `late` seconds after they are due, one at a time."""
    return RunData([due(log(n, n / 10 + late, 0.01), n / 10) for n in range(200)])


def capped(logs: Any, most: int | None, **more: Any) -> RunData:
    return RunData(logs, {"load": {"max_workers": most, **more}})


@pytest.mark.parametrize(("late", "ok"), [(0.0005, True), (0.009, True), (0.05, False), (3.0, False)])
def test_a_generator_is_healthy_if_it_releases_on_time(late: float, ok: bool) -> None:
    health = generator_health(capped(load_test(late).logs, 10))
    assert health is not None
    assert health.ok is ok
    assert health.cause == ("" if ok else "generator")
    assert (health.judged, health.late) == (200, 0 if ok else 200)


def test_tasks_that_are_due_and_not_begun_do_not_count_as_running() -> None:
    logs = [due(log(n, 1 + n / 1000, 0.0005, worker=1 + n % 8), n / 1000) for n in range(1000)]  # 1 s late, all of them
    for most in (8, None):
        health = generator_health(capped(logs, most))
        assert health is not None
        assert (health.ok, health.cause, health.judged, health.late) == (False, "generator", 1000, 1000)
    unsaid = generator_health(RunData(logs))
    assert unsaid is not None
    assert unsaid.cause == "generator"


def test_what_waits_while_all_workers_are_busy_is_not_the_generators_doing() -> None:
    logs = [
        due(log(n, 0.2 * (n // 2), 0.2), n / 40) for n in range(100)
    ]  # two workers, 200 ms a task, 40 tasks a second
    found = generator_health(capped(logs, 2))
    assert found is not None
    assert (found.ok, found.cause, found.late) == (True, "workers", 0)
    assert found.sentence.startswith("All 2 workers were busy for 10.0 s, and 98 of 100 tasks waited for one, up to 7.")
    assert found.sentence.endswith(": 40.0/s asked, 10.0/s reached. Raise max_workers.")
    unlimited = generator_health(capped(logs, None))
    assert unlimited is not None
    assert (unlimited.ok, unlimited.cause) == (False, "generator")


def test_a_little_lateness_beside_much_waiting_for_workers_is_not_the_cause() -> None:
    logs = [due(log(n, 0.3 + 0.2 * n, 0.2, worker=1), n / 100) for n in range(10)]  # until the second has started
    logs += [due(log(n, 2.3 + 0.2 * (n // 2), 0.2, worker=1 + n % 2), n / 100) for n in range(10, 110)]
    found = generator_health(capped(logs, 2))
    assert found is not None
    assert (found.ok, found.cause) == (True, "workers")
    assert found.late >= 10


def test_a_task_late_after_a_pause_is_judged_from_the_end_of_the_pause() -> None:
    logs = [due(log(1, 0.0, 5.0), 0.0), *(due(log(n, 5.004 + n / 1000, 0.0001), 1.0) for n in range(2, 22))]
    found = generator_health(capped(logs, 1))
    assert found is not None
    assert (found.ok, found.cause, found.late) == (True, "service", 0)
    assert found.sentence.startswith(
        "The only worker was busy for 5.00 s while calls stood still (as a rule 100 us, the "
    )
    rested = [logs[0], *(due(log(n, 8 + n / 1000, 0.5), 1.0) for n in range(2, 22))]  # all at once, 3 s after it
    found = generator_health(capped(rested, 100))
    assert found is not None
    assert (found.cause, found.late) == ("generator", 20)


def test_warm_up_tasks_keep_workers_busy_and_retried_ones_are_not_judged() -> None:
    logs = [due(log(1, 0.0, 5.0), 0.0) | {"phase": "warmup"}]
    logs += [due(log(n, 5.0 + n / 1000, 0.0001), 1.0) for n in range(2, 22)]
    found = generator_health(capped(logs, 1))
    assert found is not None
    assert found.ok
    again = [one | {"attempts": 2} for one in load_test(3.0).logs]
    found = generator_health(capped(again, 10))
    assert found is not None
    assert (found.ok, found.judged) == (True, 0)


def test_what_is_dropped_beside_idle_workers_is_the_generators_doing() -> None:
    logs = [due(log(n, n / 10, 0.05), n / 10) for n in range(20)]
    idle = [{"scheduled_at": BEGAN + n / 10 + 0.07, "phase": "main"} for n in range(19)]
    busy = [{"scheduled_at": BEGAN + n / 10 + 0.02, "phase": "main"} for n in range(20)]
    found = {}
    for name, dropped in (("generator", idle), ("workers", busy)):
        health = generator_health(RunData(logs, {"load": {"max_workers": 1}}, dropped=dropped))
        assert health is not None
        found[name] = health
        assert health.cause == name
    assert "20 of 40 tasks were dropped" in found["workers"].sentence
    assert generator_health(RunData(ALL_FAILED)) is None


def test_the_sentence_never_contradicts_its_own_figures() -> None:
    logs = [due(log(n, n / 10 + (0.2 if n % 50 == 0 else 0), 0.01), n / 10) for n in range(200)]
    found = generator_health(capped(logs, 10))
    assert found is not None
    assert found.ok
    assert found.sentence.startswith("The load generator kept up but for 4 of 200 tasks, which started over 10 ms late")


def test_the_slowest_come_first_by_the_time_from_when_they_were_due() -> None:
    logs: list[dict[str, Any]] = [due(log(n, 1.0 + n, 0.1 * n), 1.0) for n in range(30)]
    assert RunData(logs).slowest(3) == [29, 28, 27]
    assert RunData([failed(n, 0, n % 7) for n in range(30)]).slowest(2) == [6, 13]


def test_other_columns_are_read_beside_the_rows_that_are_left() -> None:
    logs = [{"task_id": 0}, log(1, 0, 1, worker=7), log(2, 0, math.nan, worker=8), log(3, 0, 1, worker=9)]
    made = RunData(logs)
    assert [made.log(row)["task_id"] for row in range(len(made.rows))] == [1, 3]
    assert made.workers[1] == ["7", "9"]
    assert made.workers[0].tolist() == [0, 1]
    assert made.began == BEGAN


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (None, "-"),
        (math.nan, "-"),
        (0.0000123, "12.3 us"),
        (0.18, "180 ms"),
        (1.1, "1.10 s"),
        (99.96, "1 min 40 s"),
        (120, "2 min"),
        (7300, "2 h 1 min"),
        (-0.002, "-2.00 ms"),
    ],
)
def test_lengths_of_time_are_short(seconds: float | None, text: str) -> None:
    assert seconds_text(seconds) == text


def test_other_numbers_are_short() -> None:
    assert [rate_text(rate) for rate in (0, 0.5, 37.72, 1234.5)] == ["0/s", "0.50/s", "37.7/s", "1,234/s"]
    assert [share_text(part, 10_000) for part in (0, 1, 5_000, 9_999, 10_000)] == [
        *("0.0 %", "< 0.1 %", "50.0 %", "> 99.9 %", "100.0 %")
    ]
    assert share_text(0, 0) == "-"
    assert [round_seconds_text(length) for length in (10, 0.1, 0.02, 2.5, 120)] == [
        *("10 s", "100 ms", "20 ms", "2.5 s", "2 min")
    ]


def test_a_sparkline_has_a_bar_for_each_value() -> None:
    assert sparkline([0, 1, 4, 8]) == "▁▁▄█"
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([]) == ""
    assert sparkline([1, 8], ascii_only=True).isascii()


def test_cut_text_says_so() -> None:
    assert printable("abcdef", 4) == "abc…"
    assert printable("a\nb\x1b[2J") == "a\\nb\\x1b[2J"


def test_a_run_without_bursts_has_bins_of_a_round_length() -> None:
    steady = [log(n, n / 10, 0.1) for n in range(400)]
    assert (bins_of(RunData(steady)).step, len(bins_of(RunData(steady)))) == (0.5, 80)
    uneven = [due(log(n, n / 10 + n % 3 / 50, 0.1), n / 10 + n % 3 / 50) for n in range(400)]
    assert bins_of(RunData(uneven)).step == 0.5
    jittered = [due(log(n, n // 9 + n // 9 % 2 / 5, 0.1), n // 9 + n // 9 % 2 / 5) for n in range(400)]
    assert bins_of(RunData(jittered)).step == 0.5
    assert bins_of(RunData(ONE)).step == 0.05


def test_a_rest_too_short_for_a_bin_is_in_the_last_one() -> None:
    logs = [log(n, n / 10, 0.1) for n in range(400)]
    assert len(bins_of(RunData([*logs, log(400, 39.9, 0.12)]))) == 80
    assert len(bins_of(RunData([*logs, log(400, 39.9, 0.2)]))) == 81


def test_the_last_group_of_workers_may_be_smaller() -> None:
    busy = busy_shares(RunData([log(n, 0, 1, worker=n) for n in range(1, 131)]))
    assert busy.names[-1] == "130"
    assert busy.shares == pytest.approx(np.ones_like(busy.shares))


def test_workers_are_listed_by_number_then_by_name() -> None:
    assert RunData([log(1, 0, 1, worker=name) for name in ("b", 10, None, "a", 9)]).workers[1] == ["9", "10", "a", "b"]


def test_a_task_of_unknown_due_time_was_due_when_it_started() -> None:
    made = RunData([due(log(1, 1.0, 1), 0.5), log(2, 3.0, 1), due(log(3, 5.0, 1), 4.0) | {"queue_delay": 1e300}])
    assert (made.dues - BEGAN).tolist() == [0.5, 3.0, 5.0]
    assert (made.began, made.ended) == (BEGAN + 0.5, BEGAN + 6.0)
    assert (RunData([]).began, RunData([]).ended) == (0.0, 0.0)


def test_the_verdict_on_the_generator_names_its_lateness() -> None:
    health = generator_health(load_test(0.004))
    assert health is not None
    assert health.sentence == "The load generator kept up: p99 of its lateness was 4.00 ms."
