"""What a job may wait for: values that say it, and how the board watches each.

A condition of one's own is a subclass with `satisfy`: it is asked every `wait_time_delta` seconds of its job, and
whenever a job has ended. Those of this file are never asked: see watches.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from worker_dispatcher.engine.slips import check_parts, check_statuses, id_of, ids_of, is_condition
from worker_dispatcher.engine.status import FINAL
from worker_dispatcher.engine.watches import OfAnswer, OfJob, OfTime, Some, Watch

if TYPE_CHECKING:
    from worker_dispatcher.engine.engine import Engine

# Not `time`, `datetime` and what else stands in this file: a star import would put them in the place of the user's.
__all__ = [
    "AfterAnother", "AfterClock", "AfterOthers", "AfterTimepoint", "AfterWeekday", "AllSatisfied", "AnySatisfied",
    "Beats", "BeforeClock", "BeforeTimepoint", "BeforeWeekday", "Combination", "Condition", "EveryPeriod",
    "TimeCondition", "clock_of", "watch_of", "weekday_of",
]  # fmt: skip

_ENDS = ("done", "failed", "cancelled")
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_DAY = timedelta(days=1)


class Condition:
    """Base of all. `a & b` and `a | b` combine them."""

    def satisfy(self, engine: Engine) -> bool:
        """True if the job may begin, as far as this is concerned. Called in the engine's thread; what it raises counts
        as False and is logged."""
        return True

    def __or__(self, other: Condition) -> AnySatisfied:
        return AnySatisfied([*_parts(self, AnySatisfied), other]) if is_condition(other) else NotImplemented

    def __and__(self, other: Condition) -> AllSatisfied:
        return AllSatisfied([*_parts(self, AllSatisfied), other]) if is_condition(other) else NotImplemented


def _parts(condition: Condition, kind: type[Combination]) -> Sequence[Condition]:
    return condition.conditions if isinstance(condition, kind) and type(condition) is kind else [condition]


def watch_of(condition: Condition, every: float) -> Watch:
    """A condition as the board keeps it. every: seconds between two questions to one of the user's own."""
    kind = type(condition)
    if isinstance(condition, AfterAnother) and kind is AfterAnother:
        return OfJob(condition.job_id, _statuses(condition.statuses))
    if isinstance(condition, AfterOthers) and kind is AfterOthers:
        statuses = _statuses(condition.statuses)
        parts: list[Watch] = [OfJob(job_id, statuses) for job_id in condition.job_ids]
        return Some(parts, len(parts) if condition.mode == "all" else 1)
    if isinstance(condition, Combination) and kind in (AllSatisfied, AnySatisfied):
        parts = [watch_of(part, every) for part in condition.conditions]
        return Some(parts, len(parts) if kind is AllSatisfied else 1)
    if isinstance(condition, TimeCondition) and kind.satisfy is TimeCondition.satisfy:
        return OfTime(condition)
    return OfAnswer(condition, every)


def _statuses(given: Collection[str]) -> Collection[str]:
    return FINAL if given is _ENDS else frozenset(given)


# Other jobs. Jobs and their futures stand for their ids.


@dataclass(frozen=True)
class AfterAnother(Condition):
    """After another job has one of some statuses. A job that the engine does not know has none. job_id: or the job."""

    job_id: str
    statuses: Collection[str] = _ENDS

    def __post_init__(self) -> None:
        object.__setattr__(self, "job_id", id_of(self.job_id))
        if self.statuses is not _ENDS:
            check_statuses(self.statuses)

    def satisfy(self, engine: Engine) -> bool:
        return engine.status_of(self.job_id) in self.statuses


@dataclass(frozen=True)
class AfterOthers(Condition):
    """After other jobs, all of them or any, have one of some statuses. job_ids: or the jobs."""

    job_ids: Sequence[str]
    statuses: Collection[str] = _ENDS
    mode: Literal["all", "any"] = "all"

    def __post_init__(self) -> None:
        if self.mode not in ("all", "any"):
            raise ValueError(f"mode: expected 'all' or 'any', got {self.mode!r}")
        object.__setattr__(self, "job_ids", ids_of(self.job_ids))
        if self.statuses is not _ENDS:
            check_statuses(self.statuses)

    def satisfy(self, engine: Engine) -> bool:
        some = all if self.mode == "all" else any
        return some(engine.status_of(job_id) in self.statuses for job_id in self.job_ids)


class Combination(Condition):
    """Base of what is made of other conditions."""

    conditions: Sequence[Condition]


@dataclass(frozen=True)
class AllSatisfied(Combination):
    """All of them."""

    conditions: Sequence[Condition]

    def __post_init__(self) -> None:
        check_parts(self.conditions)

    def satisfy(self, engine: Engine) -> bool:
        return all(condition.satisfy(engine) for condition in self.conditions)


@dataclass(frozen=True)
class AnySatisfied(Combination):
    """Any of them."""

    conditions: Sequence[Condition]

    def __post_init__(self) -> None:
        check_parts(self.conditions)

    def satisfy(self, engine: Engine) -> bool:
        return any(condition.satisfy(engine) for condition in self.conditions)


# Time: immutable; what a job has of its own, such as when it was last begun, is with the job


class TimeCondition(Condition):
    """Base of those that a clock decides. Times are local, as the clock on the wall shows them; of an hour that comes
    twice, `fold` says which it is, as in the module datetime."""

    beats: ClassVar[bool] = False  # after each time there comes another

    def holds(self, when: datetime, since: datetime) -> bool:
        """True at a moment, for a job that was submitted, or last begun, at another."""
        raise NotImplementedError

    def changes(self, when: datetime, since: datetime) -> datetime | None:
        """The next moment after `when` at which `holds` may change; None if it never will."""
        raise NotImplementedError

    def begins(self, when: datetime) -> datetime:
        """`since` of a job that is submitted at a moment."""
        return when

    def fired(self, when: datetime, since: datetime, each: bool = False) -> datetime:
        """`since` of a job of which another was begun at a moment. each: times that were missed come one by one."""
        return when

    def satisfy(self, engine: Engine) -> bool:
        when = datetime.now()
        return self.holds(when, when)


class Beats(TimeCondition):
    """Base of those that come again and again."""

    beats = True

    def next_after(self, since: datetime) -> datetime:
        """The next time after a moment."""
        raise NotImplementedError

    def holds(self, when: datetime, since: datetime) -> bool:
        return when.timestamp() >= self.next_after(since).timestamp()

    def changes(self, when: datetime, since: datetime) -> datetime | None:
        due = self.next_after(since)
        return due if due.timestamp() > when.timestamp() else None


@dataclass(frozen=True)
class EveryPeriod(Beats):
    """So long after the submit, or after the last time in a CronJob. period_str: '1d', '1.5h', '10m' or '30s'.

    Days are those of the calendar: 'd' keeps the time of day. last_submitted_at: count from there. immediate: the first
    time at once. Times that were missed are one time.
    """

    period_str: str
    last_submitted_at: datetime | None = None
    immediate: bool = False

    def __post_init__(self) -> None:
        _period(self.period_str)

    def begins(self, when: datetime) -> datetime:
        if self.last_submitted_at is not None:
            return _moment(self.last_submitted_at)
        return self._beat(when, -1) if self.immediate else when

    def next_after(self, since: datetime) -> datetime:
        return self._beat(since, 1)

    def fired(self, when: datetime, since: datetime, each: bool = False) -> datetime:
        """On the beat, however late it was."""
        past = (when - since) / _period(self.period_str)
        if not self._by_calendar:
            past = (when.timestamp() - since.timestamp()) / _period(self.period_str).total_seconds()
        beat = self._beat(since, 1 if each else max(1, int(past)))
        while not each and self.holds(when, beat):  # what was rounded
            beat = self._beat(beat, 1)
        return beat

    @property
    def _by_calendar(self) -> bool:
        return self.period_str.endswith("d")

    def _beat(self, since: datetime, number: int) -> datetime:
        """So many periods after a moment."""
        period = number * _period(self.period_str)
        return since + period if self._by_calendar else _at(since.timestamp() + period.total_seconds())


@dataclass(frozen=True)
class AfterClock(TimeCondition):
    """From a time of day on, until midnight. time_str: '12:00' or '12:00:30'."""

    time_str: str

    def __post_init__(self) -> None:
        clock_of(self.time_str)

    def holds(self, when: datetime, since: datetime) -> bool:
        return _has_been(clock_of(self.time_str), when)

    def changes(self, when: datetime, since: datetime) -> datetime | None:
        return _next_time(when, clock_of(self.time_str), time())


@dataclass(frozen=True)
class BeforeClock(TimeCondition):
    """From midnight on, until a time of day. time_str: '12:00' or '12:00:30'."""

    time_str: str

    def __post_init__(self) -> None:
        clock_of(self.time_str)

    def holds(self, when: datetime, since: datetime) -> bool:
        return not _has_been(clock_of(self.time_str), when)

    def changes(self, when: datetime, since: datetime) -> datetime | None:
        return _next_time(when, clock_of(self.time_str), time())


@dataclass(frozen=True)
class AfterWeekday(TimeCondition):
    """From a day of the week on, until Sunday. weekday_str: 'mon' or 'monday', to 'sun' or 'sunday'."""

    weekday_str: str

    def __post_init__(self) -> None:
        weekday_of(self.weekday_str)

    def holds(self, when: datetime, since: datetime) -> bool:
        return when.weekday() >= weekday_of(self.weekday_str)

    def changes(self, when: datetime, since: datetime) -> datetime | None:
        return _next_time(when, time())


@dataclass(frozen=True)
class BeforeWeekday(TimeCondition):
    """From Monday on, until a day of the week has passed. weekday_str: 'mon' or 'monday', to 'sun' or 'sunday'."""

    weekday_str: str

    def __post_init__(self) -> None:
        weekday_of(self.weekday_str)

    def holds(self, when: datetime, since: datetime) -> bool:
        return when.weekday() <= weekday_of(self.weekday_str)

    def changes(self, when: datetime, since: datetime) -> datetime | None:
        return _next_time(when, time())


@dataclass(frozen=True)
class AfterTimepoint(TimeCondition):
    """From a moment on. timepoint: a datetime, local if it has no zone."""

    timepoint: datetime

    def __post_init__(self) -> None:
        _moment(self.timepoint)

    def holds(self, when: datetime, since: datetime) -> bool:
        return when.timestamp() >= self.timepoint.timestamp()

    def changes(self, when: datetime, since: datetime) -> datetime | None:
        return _if_to_come(self.timepoint, when)


@dataclass(frozen=True)
class BeforeTimepoint(TimeCondition):
    """Until a moment. timepoint: a datetime, local if it has no zone."""

    timepoint: datetime

    def __post_init__(self) -> None:
        _moment(self.timepoint)

    def holds(self, when: datetime, since: datetime) -> bool:
        return when.timestamp() < self.timepoint.timestamp()

    def changes(self, when: datetime, since: datetime) -> datetime | None:
        return _if_to_come(self.timepoint, when)


# Moments are compared by their timestamps: the clock on the wall shows some hours twice, and some never.


def _moment(given: Any) -> datetime:
    if not isinstance(given, datetime):
        raise ValueError(f"expected a datetime, got {given!r}")
    return given if given.tzinfo is None else _at(given.timestamp())


_at = datetime.fromtimestamp


def _if_to_come(moment: datetime, when: datetime) -> datetime | None:
    return _moment(moment) if moment.timestamp() > when.timestamp() else None


def _has_been(clock: time, when: datetime) -> bool:
    """The clock has shown a time on the day of a moment."""
    if when.time() >= clock:
        return True
    return bool(when.fold) and when.timestamp() >= datetime.combine(when.date(), clock).timestamp()


def _next_time(when: datetime, *times: time) -> datetime:
    """The next moment at which the clock shows one of some times."""
    today = [datetime.combine(when.date(), at) for at in times]
    now = when.timestamp()
    return min(at if at.timestamp() > now else at + _DAY for at in today)


@cache
def _period(text: str) -> timedelta:
    try:
        period = timedelta(**{_UNITS[text[-1]]: float(text[:-1])})
    except (KeyError, ValueError, IndexError, TypeError, OverflowError):
        period = timedelta(0)
    if period <= timedelta(0):
        raise ValueError(f"Invalid period string: expected such as '1d', '1h', '1m' or '1s', got {text!r}")
    return period


@cache
def clock_of(text: str) -> time:
    """The time of day that a text says. Raises ValueError."""
    try:
        parts = [int(part) for part in text.split(":")]
        hour, minute, second = [*parts, 0, 0][: max(3, len(parts))]
        return time(hour, minute, second)
    except (ValueError, TypeError, AttributeError):
        raise ValueError(f"Invalid clock string: expected such as '12:00' or '12:00:30', got {text!r}") from None


@cache
def weekday_of(text: str) -> int:
    """The number, from 0 for Monday, of the day that a text says. Raises ValueError."""
    name = text.lower() if isinstance(text, str) else ""
    found = [number for number, day in enumerate(_WEEKDAYS) if name in (day, day[:3])]
    if not found:
        raise ValueError(f"Invalid weekday string: expected such as 'mon' or 'monday', got {text!r}")
    return found[0]
