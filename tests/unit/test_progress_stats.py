"""What progress says of a run, from its records alone."""

from __future__ import annotations

import io
import math
from array import array
from types import SimpleNamespace

import pytest

from worker_dispatcher.clock import Anchor
from worker_dispatcher.dispatch.load import Load
from worker_dispatcher.dispatch.progress_display import PlainLines, Progress
from worker_dispatcher.dispatch.progress_stats import LoadStats, Pace, View, WorkStats
from worker_dispatcher.records import CANCELLED, CRASHED, DROPPED, ERROR, NOT_RUN, OK, TIMEOUT, Outcome, Records

LOAD = Load(duration=60.0, drops=False, warmup=0.0, cooldown=0.0, abort_on=())


@pytest.fixture
def records():
    return Records(Anchor(wall=1000.0, monotonic=100.0))


def text(stats, at, width=200):
    return stats.view(at).within(width)


def test_work_is_counted_with_its_pace_and_what_is_left(records):
    stats = WorkStats(records, 1200, began=100.0)
    records.draw(1200)
    assert text(stats, 100.0) == "0/1,200"
    records.complete_run(1, [100.0] * 97, [101.0] * 97, [None] * 97, 1)
    for task_id, status in ((98, ERROR), (99, TIMEOUT), (100, CRASHED)):
        records.complete(Outcome(task_id, status, 100.0, 101.0))
    stats.take(110.0, 0)

    assert text(stats, 110.0) == "100/1,200  10/s  1:50 left  ok 97  failed 3"


def test_an_unknown_number_of_tasks_shows_the_time_so_far(records):
    stats = WorkStats(records, None, began=100.0)
    records.draw(3)
    records.complete_run(1, [100.0] * 3, [101.0] * 3, [1, 2, 3], 1)
    stats.take(3765.0, 0)

    assert text(stats, 3765.0) == "3 done  2.9/h  1:01:05  ok 3"
    assert stats.view(3765.0).total is None


def test_what_was_settled_before_the_run_began_is_not_its_pace(records):
    records.draw(1000)
    records.complete_run(1, [90.0] * 900, [91.0] * 900, [None] * 900, 1)
    stats = WorkStats(records, 1000, began=100.0)
    records.complete_run(901, [101.0] * 20, [102.0] * 20, [None] * 20, 1)
    stats.take(110.0, 0)

    assert text(stats, 110.0) == "920/1,000  2.0/s  0:40 left  ok 920"


def test_a_run_that_stopped_early_says_what_did_not_run(records):
    stats = WorkStats(records, 4, began=100.0)
    records.draw(4)
    records.complete(Outcome(1, OK, 100.0, 101.0))
    for task_id in (2, 3, 4):
        records.complete(Outcome(task_id, NOT_RUN, 0.0, 0.0))
    stats.take(102.0, 0)

    assert text(stats, 102.0).endswith("ok 1  not run 3")


def test_what_is_no_success_is_not_counted_as_ok_whenever_it_ends(records):
    stats = WorkStats(records, 8, began=100.0)
    records.draw(8)
    records.complete_run(3, [100.0] * 2, [101.0] * 2, [False, 0], 1)
    stats.take(101.0, 0)
    assert text(stats, 101.0).endswith("ok 1  no success 1")
    records.complete_run(1, [100.0] * 2, [102.0] * 2, [None, False], 1)
    records.complete(Outcome(6, ERROR, 100.0, 102.0))
    stats.take(102.0, 0)
    stats.take(102.5, 0)
    assert text(stats, 102.5).endswith("ok 2  no success 2  failed 1")
    records.complete_run(7, [100.0] * 2, [103.0] * 2, [False, False], 1)
    records.complete(Outcome(5, OK, 100.0, 103.0, result=False))
    stats.take(103.0, 0)
    assert text(stats, 103.0).endswith("ok 2  no success 5  failed 1")


def test_a_load_that_is_refused_everything_reaches_nothing(records):
    stats = LoadStats(records, LOAD, None, began=100.0)
    records.draw(100, array("d", [100.0 + at / 10 for at in range(100)]))
    for task_id in range(1, 101):
        records.complete(
            Outcome(task_id, OK, records.due[task_id - 1], records.due[task_id - 1] + 0.01, result=task_id % 5 == 0)
        )
    stats.take(110.0, 0)

    assert "2.0 of 10/s" in text(stats, 110.0)
    assert text(stats, 110.0).endswith("ok 20  no success 80")


def test_the_pace_follows_a_change_within_seconds():
    pace = Pace(0.0, 0)
    count = 0
    for tenth in range(1, 1001):
        count += 10
        pace.take(tenth / 10, count)
    assert pace.rate == pytest.approx(100)
    for tenth in range(1001, 1301):  # thirty seconds at half the rate
        count += 5
        pace.take(tenth / 10, count)
    assert pace.rate == pytest.approx(50, rel=0.06)


def test_the_pace_of_long_tasks_is_no_flicker():
    pace = Pace(0.0, 0)
    rates = []
    for minute in range(1, 121):
        for second in range(60):
            pace.take(minute * 60 + second, minute)
            rates.append(pace.rate * 60)
    assert 0.9 < min(rates[1800:]) < max(rates[1800:]) < 1.1


def test_a_pause_slows_the_pace_at_once_and_does_not_end_it():
    pace = Pace(0.0, 0)
    pace.take(10.0, 100)
    pace.take(20.0, 100)
    assert pace.rate == pytest.approx(5)


def test_load_shows_rates_percentiles_and_what_is_in_flight(records):
    stats = LoadStats(records, LOAD, None, began=100.0)
    records.draw(500, array("d", [100.0 + at / 50 for at in range(500)]))
    for task_id in range(1, 401):
        due = records.due[task_id - 1]
        took = 0.02 if task_id <= 370 else 0.2 if task_id < 390 else 1.5
        records.complete(Outcome(task_id, OK if task_id > 3 else ERROR, due, due + took))
    stats.take(110.0, 37)

    view = stats.view(110.0)
    assert (view.done, view.total) == (10.0, 60.0)
    assert view.within(200) == (
        "0:50 left  40 of 54/s  p50 20ms p95 200ms p99 1.5s  in flight 100  late 37  ok 397  failed 3"
    )
    assert view.within(79) == "0:50 left  40 of 54/s  p50 20ms p95 200ms p99 1.5s  late 37  failed 3"


def test_percentiles_are_those_of_the_last_ten_seconds(records):
    stats = LoadStats(records, LOAD, None, began=100.0)
    records.draw(20, array("d", [100.0 + at for at in range(20)]))
    for task_id in range(1, 21):
        due = records.due[task_id - 1]
        records.complete(Outcome(task_id, OK, due, due + (0.5 if task_id <= 10 else 0.001)))
        stats.take(due + 0.9, 0)

    assert "p50 1.0ms p95 1.0ms p99 1.0ms" in text(stats, 120.0)


def test_a_slow_task_is_heard_of_when_it_ends(records):
    stats = LoadStats(records, LOAD, None, began=100.0)
    records.draw(2, array("d", [100.0, 101.0]))
    records.complete(Outcome(2, OK, 101.0, 101.5))
    stats.take(102.0, 0)
    assert "p99 500ms  in flight 1" in text(stats, 102.0)
    records.complete(Outcome(1, OK, 100.0, 130.0))
    stats.take(130.5, 0)

    assert "p50 30s p95 30s p99 30s  in flight 0" in text(stats, 130.5)


def test_dropped_tasks_are_counted_and_are_neither_late_nor_achieved(records):
    load = Load(duration=None, drops=True, warmup=0.0, cooldown=0.0, abort_on=())
    stats = LoadStats(records, load, 100, began=100.0)
    records.draw(100, array("d", [100.0 + at / 10 for at in range(100)]))
    for task_id in range(1, 101):
        records.complete(Outcome(task_id, DROPPED if task_id % 2 else OK, 0.0, records.due[task_id - 1] + 0.01))
    stats.take(110.0, 5)

    assert text(stats, 110.0) == ("100/100  5.0 of 10/s  p50 10ms p95 10ms p99 10ms  in flight 0  ok 50  dropped 50")


@pytest.mark.parametrize("width", range(0, 60))
def test_a_line_keeps_to_its_width_and_never_cuts_a_part(width):
    view = View(1, 2, 3.0, ((0, "count"), (2, "rate of it"), (3, "left over"), (1, "ok 97"), (1, "failed 3")))
    line = view.within(width)
    assert len(line) <= width
    assert set(line.split("  ")) <= {"count", "rate of it", "left over", "ok 97", "failed 3", ""}
    if width >= 5:
        assert line.startswith("count")


def test_plain_lines_come_every_ten_seconds():
    stream = io.StringIO()
    lines = PlainLines(stream)
    for tenths in range(0, 450, 5):
        lines.show(View(0, None, tenths / 10, ((0, "a"), (1, "b"))))

    assert stream.getvalue() == "".join(f"after {seconds} s: a, b\n" for seconds in (10, 20, 30, 40))


def test_tasks_of_an_earlier_run_are_neither_asked_for_nor_heard_of(records):
    records.draw(120, array("d", [math.nan] * 120))
    records.complete_resumed(1, [1.0] * 50, [2.0] * 50, [None] * 50)
    stats = LoadStats(records, LOAD, 120, began=100.0)
    records.complete_resumed(61, [1.0] * 10, [2.0] * 10, [None] * 10)
    records.set_dues(51, array("d", [101.0] * 10))
    records.set_dues(71, array("d", [102.0] * 20))
    for task_id in range(51, 61):
        records.complete(Outcome(task_id, OK, 101.0, 101.25))
    stats.take(110.0, 10)

    assert text(stats, 110.0) == (
        "0:50 left  1.0 of 4.0/s  p50 250ms p95 250ms p99 250ms  in flight 20  late 10  ok 70"
    )


class Shown:
    def close(self, view, *, keep):
        self.view = view


def test_what_a_run_that_was_stopped_has_left_is_not_done(records):
    stats = WorkStats(records, 1200, began=100.0)
    records.draw(110)
    records.complete_run(1, [100.0] * 100, [101.0] * 100, [None] * 100, 1)
    for task_id in range(101, 111):
        records.complete(Outcome(task_id, CANCELLED if task_id < 105 else NOT_RUN, 100.0, 101.0))
    stats.take(110.0, 0)

    view = stats.view(110.0, left=1090)
    assert view.within(200) == "100/1,200  10/s  0:10  ok 100  cancelled 4  not run 1,096"
    assert (view.done, view.total) == (100, 1200)
    shown = Shown()
    progress = Progress(SimpleNamespace(tasks=1200), None, records, keep=True)
    progress._screen, progress._stats = shown, stats
    progress.close(whole=False)
    assert shown.view.within(200).endswith("  ok 100  cancelled 4  not run 1,096")
