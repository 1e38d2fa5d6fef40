"""What a job may wait for: values that say it, and how the board watches each.

A condition of one's own is a subclass with `satisfy`: it is asked every `wait_time_delta` seconds of its job, and
whenever a job has ended. Those of this file are never asked: see watches.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from worker_dispatcher.engine.status import FINAL
from worker_dispatcher.engine.watches import OfAnswer, OfJob, OfTime, Some, Watch

if TYPE_CHECKING:
    from worker_dispatcher.engine.engine import Engine

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
        return AnySatisfied(conditions=[*_parts(self, AnySatisfied), other])

    def __and__(self, other: Condition) -> AllSatisfied:
        return AllSatisfied(conditions=[*_parts(self, AllSatisfied), other])


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


# Other jobs


@dataclass(frozen=True)
class AfterAnother(Condition):
    """After another job has one of some statuses. A job that the engine does not know has none."""

    job_id: str
    statuses: Collection[str] = _ENDS

    def satisfy(self, engine: Engine) -> bool:
        return engine.status_of(self.job_id) in self.statuses


@dataclass(frozen=True)
class AfterOthers(Condition):
    """After other jobs, all of them or any, have one of some statuses."""

    job_ids: Sequence[str]
    statuses: Collection[str] = _ENDS
    mode: Literal["all", "any"] = "all"

    def __post_init__(self) -> None:
        if self.mode not in ("all", "any"):
            raise ValueError(f"mode: expected 'all' or 'any', got {self.mode!r}")

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

    def satisfy(self, engine: Engine) -> bool:
        return all(condition.satisfy(engine) for condition in self.conditions)


@dataclass(frozen=True)
class AnySatisfied(Combination):
    """Any of them."""

    conditions: Sequence[Condition]

    def satisfy(self, engine: Engine) -> bool:
        return any(condition.satisfy(engine) for condition in self.conditions)


# Time: immutable; what a job has of its own, such as when it was last begun, is with the job


class TimeCondition(Condition):
    """Base of those that a clock decides. Times are local, as the clock on the wall shows them."""

    def holds(self, when: datetime, since: datetime) -> bool:
        """True at a moment, for a job that was submitted, or last begun, at another."""
        raise NotImplementedError

    def changes(self, when: datetime, since: datetime) -> datetime | None:
        """The next moment after `when` at which `holds` may change; None if it never will."""
        raise NotImplementedError

    def begins(self, when: datetime) -> datetime:
        """`since` of a job that is submitted at a moment."""
        return when

    def fired(self, when: datetime, since: datetime) -> datetime:
        """`since` of a job of which another was begun at a moment."""
        return when

    def satisfy(self, engine: Engine) -> bool:
        when = datetime.now()
        return self.holds(when, when)


@dataclass(frozen=True)
class EveryPeriod(TimeCondition):
    """So long after the submit, or after the last time in a CronJob. period_str: '1d', '1.5h', '10m' or '30s'.

    last_submitted_at: count from there. immediate: the first time at once. Times that were missed are one time.
    """

    period_str: str
    last_submitted_at: datetime | None = None
    immediate: bool = False

    def __post_init__(self) -> None:
        _period(self.period_str)

    def begins(self, when: datetime) -> datetime:
        return self.last_submitted_at or (when - _period(self.period_str) if self.immediate else when)

    def holds(self, when: datetime, since: datetime) -> bool:
        return when - since >= _period(self.period_str)

    def changes(self, when: datetime, since: datetime) -> datetime | None:
        due = since + _period(self.period_str)
        return due if due > when else None

    def fired(self, when: datetime, since: datetime) -> datetime:
        """On the beat, however late it was."""
        period = _period(self.period_str)
        return since + (when - since) // period * period


@dataclass(frozen=True)
class AfterClock(TimeCondition):
    """From a time of day on, until midnight. time_str: '12:00' or '12:00:30'."""

    time_str: str

    def __post_init__(self) -> None:
        _clock(self.time_str)

    def holds(self, when: datetime, since: datetime) -> bool:
        return when.time() >= _clock(self.time_str)

    def changes(self, when: datetime, since: datetime) -> datetime | None:
        return _next_time(when, _clock(self.time_str), time())


@dataclass(frozen=True)
class BeforeClock(TimeCondition):
    """From midnight on, until a time of day. time_str: '12:00' or '12:00:30'."""

    time_str: str

    def __post_init__(self) -> None:
        _clock(self.time_str)

    def holds(self, when: datetime, since: datetime) -> bool:
        return when.time() < _clock(self.time_str)

    def changes(self, when: datetime, since: datetime) -> datetime | None:
        return _next_time(when, _clock(self.time_str), time())


@dataclass(frozen=True)
class AfterWeekday(TimeCondition):
    """From a day of the week on, until Sunday. weekday_str: 'mon' or 'monday', to 'sun' or 'sunday'."""

    weekday_str: str

    def __post_init__(self) -> None:
        _weekday(self.weekday_str)

    def holds(self, when: datetime, since: datetime) -> bool:
        return when.weekday() >= _weekday(self.weekday_str)

    def changes(self, when: datetime, since: datetime) -> datetime | None:
        return _next_time(when, time())


@dataclass(frozen=True)
class BeforeWeekday(TimeCondition):
    """From Monday on, until a day of the week has passed. weekday_str: 'mon' or 'monday', to 'sun' or 'sunday'."""

    weekday_str: str

    def __post_init__(self) -> None:
        _weekday(self.weekday_str)

    def holds(self, when: datetime, since: datetime) -> bool:
        return when.weekday() <= _weekday(self.weekday_str)

    def changes(self, when: datetime, since: datetime) -> datetime | None:
        return _next_time(when, time())


@dataclass(frozen=True)
class AfterTimepoint(TimeCondition):
    """From a moment on. timepoint: a datetime, local if it has no zone."""

    timepoint: datetime

    def __post_init__(self) -> None:
        _moment(self.timepoint)

    def holds(self, when: datetime, since: datetime) -> bool:
        return when >= _moment(self.timepoint)

    def changes(self, when: datetime, since: datetime) -> datetime | None:
        return moment if (moment := _moment(self.timepoint)) > when else None


@dataclass(frozen=True)
class BeforeTimepoint(TimeCondition):
    """Until a moment. timepoint: a datetime, local if it has no zone."""

    timepoint: datetime

    def __post_init__(self) -> None:
        _moment(self.timepoint)

    def holds(self, when: datetime, since: datetime) -> bool:
        return when < _moment(self.timepoint)

    def changes(self, when: datetime, since: datetime) -> datetime | None:
        return moment if (moment := _moment(self.timepoint)) > when else None


def _moment(given: Any) -> datetime:
    if not isinstance(given, datetime):
        raise ValueError(f"timepoint: expected a datetime, got {given!r}")
    return given if given.tzinfo is None else given.astimezone().replace(tzinfo=None)


def _next_time(when: datetime, *times: time) -> datetime:
    """The next moment at which the clock shows one of some times."""
    today = [datetime.combine(when.date(), at) for at in times]
    return min(at if at > when else at + _DAY for at in today)


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
def _clock(text: str) -> time:
    try:
        parts = [int(part) for part in text.split(":")]
        hour, minute, second = [*parts, 0, 0][: max(3, len(parts))]
        return time(hour, minute, second)
    except (ValueError, TypeError, AttributeError):
        raise ValueError(f"Invalid clock string: expected such as '12:00' or '12:00:30', got {text!r}") from None


@cache
def _weekday(text: str) -> int:
    name = text.lower() if isinstance(text, str) else ""
    found = [number for number, day in enumerate(_WEEKDAYS) if name in (day, day[:3])]
    if not found:
        raise ValueError(f"Invalid weekday string: expected such as 'mon' or 'monday', got {text!r}")
    return found[0]
