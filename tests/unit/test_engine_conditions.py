"""Conditions as values: what they say of a moment, and when that may change."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, dataclass
from datetime import UTC, datetime, timedelta

import pytest

from worker_dispatcher.engine.board import Board
from worker_dispatcher.engine.conditions import (
    AfterAnother,
    AfterClock,
    AfterOthers,
    AfterTimepoint,
    AfterWeekday,
    AllSatisfied,
    AnySatisfied,
    BeforeClock,
    BeforeTimepoint,
    BeforeWeekday,
    Condition,
    EveryPeriod,
    TimeCondition,
    watch_of,
)
from worker_dispatcher.engine.events import Entry, Submitted, Ticked

WEDNESDAY = datetime(2026, 7, 1, 12, 30)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The clock on the wall is Berlin's."""
    old = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    if old is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = old
    time.tzset()


@pytest.mark.parametrize(
    ("condition", "holds", "changes"),
    [
        (AfterClock("12:00"), True, datetime(2026, 7, 2)),
        (AfterClock("12:31"), False, datetime(2026, 7, 1, 12, 31)),
        (AfterClock("13:00"), False, datetime(2026, 7, 1, 13)),
        (AfterClock("11:45:30"), True, datetime(2026, 7, 2)),
        (BeforeClock("12:00"), False, datetime(2026, 7, 2)),
        (BeforeClock("13:15"), True, datetime(2026, 7, 1, 13, 15)),
        (AfterWeekday("wed"), True, datetime(2026, 7, 2)),
        (AfterWeekday("thursday"), False, datetime(2026, 7, 2)),
        (BeforeWeekday("Wed"), True, datetime(2026, 7, 2)),
        (BeforeWeekday("tue"), False, datetime(2026, 7, 2)),
        (AfterTimepoint(datetime(2026, 7, 1, 12)), True, None),
        (AfterTimepoint(datetime(2026, 7, 3)), False, datetime(2026, 7, 3)),
        (BeforeTimepoint(datetime(2026, 7, 3)), True, datetime(2026, 7, 3)),
        (BeforeTimepoint(WEDNESDAY), False, None),
        (EveryPeriod("1h"), False, WEDNESDAY + timedelta(minutes=30)),
        (EveryPeriod("30m"), True, None),
        (EveryPeriod("0.5h"), True, None),
    ],
    ids=repr,
)
def test_what_a_condition_says_of_a_moment_and_when_that_may_change(
    condition: TimeCondition, holds: bool, changes: datetime | None
) -> None:
    since = WEDNESDAY - timedelta(minutes=30)
    assert condition.holds(WEDNESDAY, since) is holds
    assert condition.changes(WEDNESDAY, since) == changes


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (EveryPeriod, "10"),
        (EveryPeriod, "h"),
        (EveryPeriod, "-1h"),
        (EveryPeriod, "soon"),
        (AfterClock, "25:00"),
        (AfterClock, "noon"),
        (BeforeClock, "12:00:00:00"),
        (AfterWeekday, "someday"),
        (BeforeWeekday, "m"),
    ],
)
def test_a_text_that_says_nothing_is_refused_when_it_is_said(kind: type[EveryPeriod], text: str) -> None:
    with pytest.raises(ValueError, match=f"Invalid .* expected such as .* got '{text}'"):
        kind(text)


def test_other_mistakes_are_refused_too() -> None:
    with pytest.raises(ValueError, match="expected a datetime"):
        AfterTimepoint("12:00")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mode"):
        AfterOthers(["a"], mode="some")  # type: ignore[arg-type]


def test_conditions_are_values() -> None:
    assert AfterClock("12:00") == AfterClock("12:00")
    assert hash(EveryPeriod("1h")) == hash(EveryPeriod("1h"))
    with pytest.raises(FrozenInstanceError):
        AfterClock("12:00").time_str = "13:00"  # type: ignore[misc]


def test_a_condition_of_ones_own_may_be_a_dataclass_that_changes() -> None:
    @dataclass
    class Counted(Condition):
        left: int = 2

    mine = Counted()
    mine.left -= 1
    assert (mine & AfterAnother("a")) == AllSatisfied([mine, AfterAnother("a")])
    assert (mine | AfterAnother("a") | AfterAnother("b")) == AnySatisfied([mine, AfterAnother("a"), AfterAnother("b")])


def test_a_moment_with_a_zone_is_that_moment(zone: None) -> None:
    noon = AfterTimepoint(datetime(2026, 7, 1, 10, tzinfo=UTC))
    assert not noon.holds(datetime(2026, 7, 1, 11, 59), WEDNESDAY)
    assert noon.holds(datetime(2026, 7, 1, 12), WEDNESDAY)


def begun_at(condition: Condition, submitted: datetime, until: timedelta) -> datetime | None:
    """When a job with a condition begins, by a clock that jumps to what the board waits for."""
    board = Board({"job": 1})
    entry = Entry("a", None, ("job",))
    entry.root = watch_of(condition, 1.0)
    start, at = submitted.timestamp(), 0.0
    board.feed(Submitted([entry], 0.0, start))
    while entry.status == "pending" and board.next_due() <= until.total_seconds():
        at = board.next_due()
        board.feed(Ticked(at, start + at))
    return datetime.fromtimestamp(start + at) if entry.status == "running" else None


def test_a_job_begins_at_its_time_of_day_over_a_change_of_the_clock(zone: None) -> None:
    day = timedelta(days=1)
    # On 2026-03-29 the clock goes from 2 to 3, on 2026-10-25 from 3 to 2.
    assert begun_at(AfterClock("06:00"), datetime(2026, 3, 28, 20), day) == datetime(2026, 3, 28, 20)
    late = AfterClock("06:00") & BeforeClock("12:00")
    assert begun_at(late, datetime(2026, 3, 28, 20), day) == datetime(2026, 3, 29, 6)
    assert begun_at(late, datetime(2026, 10, 24, 20), day) == datetime(2026, 10, 25, 6)
    assert begun_at(AfterWeekday("sun"), datetime(2026, 3, 28, 20), day) == datetime(2026, 3, 29)


def test_a_clock_that_is_set_is_noticed_within_half_a_minute() -> None:
    board, start = Board({"job": 1}), WEDNESDAY.timestamp()
    entry = Entry("a", None, ("job",))
    entry.root = watch_of(AfterTimepoint(WEDNESDAY + timedelta(hours=5)), 1.0)
    board.feed(Submitted([entry], 0.0, start))
    assert board.next_due() <= 30
    board.feed(Ticked(board.next_due(), start + 6 * 3600))
    assert entry.status == "running"
