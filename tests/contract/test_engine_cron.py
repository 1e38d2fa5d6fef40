"""Jobs that submit others, on time: with a clock of the tests' own, and a few with that of the system."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from worker_dispatcher import ConfigError, current_task
from worker_dispatcher.engine import CronJob, Engine, EngineSetting, Job, LocalJob, SentinelJob, ThreadJob, board
from worker_dispatcher.engine.board import Board
from worker_dispatcher.engine.conditions import (
    AfterAnother,
    AfterClock,
    AfterTimepoint,
    AllSatisfied,
    AnySatisfied,
    Condition,
    EveryPeriod,
)
from worker_dispatcher.engine.crontab import Crontab
from worker_dispatcher.engine.events import Fire, Returned, Submitted, Ticked
from worker_dispatcher.engine.sentinel import (
    after_clock,
    before_clock,
    between_clock,
    between_timepoint,
    between_weekday,
    daily,
    every,
    hourly,
    weekly,
)

BERLIN = ZoneInfo("Europe/Berlin")


def nothing() -> None:
    """What is submitted."""


def linger() -> None:
    task = current_task()
    assert task is not None
    task.sleep(60)


@pytest.fixture
def _in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    monkeypatch.setattr(board, "_WALL_STEP", 600.0)  # not so many looks as each half minute
    yield
    monkeypatch.undo()
    time.tzset()


LATE_BEATS = every("90m") & AfterClock("23:00")
in_berlin = pytest.mark.usefixtures("_in_berlin")


class Clock:
    """A board on which one job fires, with a clock that goes from one moment that the board names to the next."""

    def __init__(self, condition: Condition | str, begin: datetime, **said: Any) -> None:
        self.wall = begin.astimezone(BERLIN).timestamp() if begin.tzinfo is None else begin.timestamp()
        self.board = Board({"job": 1})
        made = CronJob if isinstance(condition, str) else SentinelJob
        self.job = made(nothing, condition, "thread", **said)  # type: ignore[arg-type]
        self.at = self.looks = 0
        self.fired: list[datetime] = []
        self._tell(Submitted([self.job.prepare(Engine(), 0.0)], 0.0, self.wall))

    def _tell(self, event: Any) -> None:
        for command in self.board.feed(event):
            if isinstance(command, Fire):
                self.fired.append(datetime.fromtimestamp(self.wall, BERLIN))

    def until(self, end: datetime, late: float = 0.0) -> list[str]:
        """Let time pass; when it fired. late: seconds by which the board is told late."""
        stop = end.replace(tzinfo=BERLIN).timestamp()
        while (due := self.board.next_due()) + self.wall - self.at <= stop:
            passes = max(0.0, due + late - self.at)
            self.at, self.wall, self.looks = self.at + passes, self.wall + passes, self.looks + 1
            self._tell(Ticked(self.at, self.wall))
        return [f"{when:%m-%d %H:%M %Z}" for when in self.fired]


def berlin(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=BERLIN)  # type: ignore[arg-type, misc]


@in_berlin
def test_a_crontab_keeps_its_times_for_a_year_though_the_clock_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "_WALL_STEP", 1e9)  # from one time to the next
    nightly = Clock("30 2 * * *", berlin(2026, 1, 1))
    times = nightly.until(datetime(2027, 1, 1))
    assert len(times) == 365
    assert [one for one in times if not one.endswith(("02:30 CET", "02:30 CEST"))] == ["03-29 03:00 CEST"]
    assert [one for one in times if one.startswith("10-25")] == ["10-25 02:30 CEST"]
    assert nightly.looks < 2 * 365 + 10
    each_hour = Clock("0 * * * *", berlin(2026, 1, 1))
    assert len(each_hour.until(datetime(2027, 1, 1))) == 365 * 24
    stamps = [when.timestamp() for when in each_hour.fired]
    assert {after - before for before, after in pairwise(stamps)} == {3600.0}


@in_berlin
@pytest.mark.parametrize(
    ("condition", "around_spring", "around_autumn"),
    [
        # Days keep the time of day, hours the time that passes.
        (daily, ["03-29 00:30 CET", "03-30 00:30 CEST"], ["10-25 00:30 CEST", "10-26 00:30 CET"]),
        (every("12h"), ["03-29 00:30 CET", "03-29 13:30 CEST"], ["10-25 00:30 CEST", "10-25 11:30 CET"]),
        (AfterClock("02:30"), ["03-29 03:00 CEST", "03-30 02:30 CEST"], ["10-25 02:30 CEST", "10-26 02:30 CET"]),
        (
            LATE_BEATS,
            ["03-28 23:00 CET", "03-29 23:00 CEST"],
            ["10-24 23:00 CEST", "10-25 23:00 CET"],
        ),
        (Crontab("*/30 2 * * *"), ["03-30 02:00 CEST", "03-30 02:30 CEST"], None),
    ],
)
def test_conditions_of_time_hold_when_the_clock_is_changed(
    condition: Condition, around_spring: list[str] | None, around_autumn: list[str] | None
) -> None:
    spring = Clock(condition, berlin(2026, 3, 28, 0, 30)).until(datetime(2026, 3, 30, 12))
    autumn = Clock(condition, berlin(2026, 10, 24, 0, 30)).until(datetime(2026, 10, 26, 12))
    for found, expected in ((spring, around_spring), (autumn, around_autumn)):
        assert expected is None or set(expected) <= set(found)
        assert len(found) == len(set(found))


@in_berlin
def test_an_hour_that_comes_twice_is_looked_at_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "_WALL_STEP", 30.0)
    clock = Clock(AfterClock("02:45"), berlin(2026, 10, 25, 1, 0))
    assert clock.until(datetime(2026, 10, 25, 4)) == ["10-25 02:45 CEST"]
    assert clock.looks < 4 * 3600 / 30 + 10, "it is told the time each half minute, in case somebody sets the clock"


@in_berlin
def test_a_time_of_day_comes_once_a_day_and_a_period_on_the_beat() -> None:
    once = Clock(AfterClock("12:00"), berlin(2026, 5, 1))
    assert once.until(datetime(2026, 5, 4)) == [f"05-0{day} 12:00 CEST" for day in (1, 2, 3)]
    beat = Clock(EveryPeriod("20s", immediate=True), berlin(2026, 5, 1))
    beat.until(datetime(2026, 5, 1, 0, 1, 50), late=3.0)
    assert [when.second for when in beat.fired] == [0, 23, 43, 3, 23, 43]
    between = Clock(every("4h") & between_clock("9:00", "17:00"), berlin(2026, 5, 1))
    assert between.until(datetime(2026, 5, 2)) == ["05-01 09:00 CEST", "05-01 12:00 CEST", "05-01 16:00 CEST"]


@in_berlin
@pytest.mark.parametrize("condition", [every("10m"), "*/10 * * * *"])
def test_times_that_were_missed_are_one_or_come_one_by_one(condition: Condition | str) -> None:
    one = Clock(condition, berlin(2026, 5, 1))
    assert one.until(datetime(2026, 5, 1, 0, 25), late=35 * 60.0) == ["05-01 00:45 CEST"]
    assert one.until(datetime(2026, 5, 1, 0, 55))[1:] == ["05-01 00:50 CEST"]
    all_of_them = Clock(condition, berlin(2026, 5, 1), coalesce=False)
    assert all_of_them.until(datetime(2026, 5, 1, 0, 25), late=35 * 60.0) == ["05-01 00:45 CEST"] * 4
    assert all_of_them.until(datetime(2026, 5, 1, 0, 55))[4:] == ["05-01 00:50 CEST"]


def test_a_sentinel_hears_of_other_jobs() -> None:
    jobs = Board({"job": 2, "thread": 2})
    first = ThreadJob(nothing)
    engine = Engine()
    sentinel = SentinelJob(nothing, AfterAnother(first.id), "thread")
    timed = SentinelJob(nothing, AllSatisfied([AfterAnother(first.id), every("1s")]), "thread")
    late = SentinelJob(nothing, AfterAnother(first.id), "thread")
    jobs.feed(Submitted([job.prepare(engine, 0.0) for job in (first, sentinel, timed)], 0.0, 0.0))
    assert not [one for one in jobs.feed(Ticked(5.0, 5.0)) if isinstance(one, Fire)]
    jobs.feed(Returned(first.entry, 1, None))
    assert jobs.next_due() <= 5.0
    fired = [one.entry.job for one in jobs.feed(Ticked(5.0, 5.0)) if isinstance(one, Fire)]
    assert fired == [sentinel, timed]
    fired = [one.entry.job for one in jobs.feed(Ticked(6.5, 6.5)) if isinstance(one, Fire)]
    assert fired == [timed], "on the beat"
    jobs.feed(Submitted([late.prepare(engine, 7.0)], 7.0, 7.0))
    fired = [one.entry.job for one in jobs.feed(Ticked(7.0, 7.0)) if isinstance(one, Fire)]
    assert late in fired, "what is so already counts"


def test_bad_crontabs_are_refused_and_those_of_a_word_known() -> None:
    for bad in ("* * * *", "61 * * * *", "", "0 0 31 2 *"):
        with pytest.raises(ValueError, match="crontab"):
            CronJob(nothing, bad)
    assert Crontab("@daily").next_after(datetime(2026, 5, 1, 10)) == datetime(2026, 5, 2)


def test_a_cron_job_submits_jobs_until_it_is_cancelled(wait_until: Callable[..., None]) -> None:
    with Engine() as engine:
        job = CronJob(lambda text: text, every("0.02s"), "thread", args=("hi",))
        engine.submit(job)
        assert (job.status, job.name) == ("running", "cron-sentinel-<lambda>")
        wait_until(lambda: len(engine.jobs.done) >= 3)
        assert engine.resource.n_job >= 19, "it takes no slot itself"
        assert {done.result() for done in engine.jobs.done.values()} == {"hi"}
        engine.cancel(job)
        engine.wait()
        number = job.fired
        time.sleep(0.06)
        assert job.fired == number == len(engine.jobs.done)


def test_the_end_of_the_block_cancels_what_would_go_on_for_ever() -> None:
    with Engine() as engine:
        job = SentinelJob(nothing, every("1h"), LocalJob, sentinel_attrs={"name": "mine"})
        engine.submit(job)
    assert (job.status, job.name) == ("cancelled", "mine")


def test_a_condition_of_ones_own_is_asked_now_and_then_and_each_yes_counts(wait_until: Callable[..., None]) -> None:
    class Asked(Condition):
        times = 0

        def satisfy(self, engine: Engine) -> bool:
            self.times += 1
            return self.times % 2 == 0

    condition = Asked()
    with Engine() as engine:
        job = SentinelJob(nothing, condition, "local", time_delta=0.02)
        engine.submit(job)
        wait_until(lambda: job.fired >= 3)
        engine.cancel(job)
        assert condition.times >= 6
    assert job.name == "sentinel-nothing"


def test_no_more_jobs_than_may_be_at_once(wait_until: Callable[..., None]) -> None:
    with Engine(EngineSetting(max_jobs=1)) as engine:
        job = CronJob(linger, every("0.01s"), "thread", max_instances=2)
        engine.submit(job)
        wait_until(lambda: job.skipped > 3)
        assert (len(engine.jobs.running), len(engine.jobs.pending)) == (2, 1), "the sentinel is one that runs"
        engine.cancel_all()


def test_a_sentinel_that_cannot_submit_says_so_and_goes_on(
    wait_until: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    made: list[int] = []

    def kind(func: Any, **attrs: Any) -> Job:
        made.append(1)
        if len(made) == 2:
            raise OSError("not now")
        return ThreadJob(func)

    with Engine() as engine:
        job = SentinelJob(nothing, every("0.01s"), kind)  # type: ignore[arg-type]
        engine.submit(job)
        wait_until(lambda: job.fired >= 2)
    assert "could not submit a job" in caplog.text


def test_all_that_is_wrong_with_a_sentinel_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"condition(.|\n)*job_type(.|\n)*max_instances(.|\n)*id"):
        SentinelJob(nothing, 1, "proces", max_instances=0, id="x")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="timeout"):
        SentinelJob(nothing, every("1s"), timeout=-1)
    with pytest.raises(ConfigError, match="time_condition"):
        CronJob(nothing, AfterAnother("x"))


def test_the_helpers_are_conditions() -> None:
    assert (hourly, weekly) == (EveryPeriod("1h"), EveryPeriod("7d"))
    when = datetime(2026, 5, 1, 12)  # a Friday
    for condition, holds in (
        (between_weekday("mon", "thu"), False),
        (between_weekday("wed", "sun"), True),
        (between_weekday("fri", "wed"), True),
        (between_weekday("sat", "mon"), False),
        (between_timepoint(when - timedelta(1), when + timedelta(1)), True),
        (between_clock("9:00", "12:00"), False),
        (between_clock("22:00", "06:00"), False),
        (between_clock("22:00", "18:00"), True),
        (AllSatisfied([before_clock("12:01"), after_clock("12:00")]), True),
    ):
        some = any if isinstance(condition, AnySatisfied) else all
        assert some(part.holds(when, when) for part in condition.conditions) is holds, condition  # type: ignore[attr-defined]


def test_jobs_that_wait_for_their_time_cost_none_of_the_processor() -> None:
    far = datetime.now() + timedelta(days=1)
    with Engine() as engine:
        waiting = [ThreadJob(nothing, condition=AfterTimepoint(far)) for _ in range(1000)]
        engine.submit(*waiting, CronJob(nothing, daily), SentinelJob(nothing, AfterTimepoint(far)))
        time.sleep(0.05)
        before = time.process_time()
        time.sleep(0.5)
        used = time.process_time() - before
        engine.cancel_all()
    assert used < 0.05
