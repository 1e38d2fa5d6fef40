"""SentinelJob and CronJob: jobs that submit others, each time that a condition becomes true."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from worker_dispatcher.engine.conditions import (
    AfterClock,
    AfterTimepoint,
    AfterWeekday,
    AllSatisfied,
    AnySatisfied,
    BeforeClock,
    BeforeTimepoint,
    BeforeWeekday,
    Combination,
    Condition,
    EveryPeriod,
    TimeCondition,
    clock_of,
    weekday_of,
)
from worker_dispatcher.engine.crontab import Crontab
from worker_dispatcher.engine.events import Entry
from worker_dispatcher.engine.job import Job
from worker_dispatcher.engine.kinds import LocalJob, ProcessJob, ThreadJob
from worker_dispatcher.engine.log import logger
from worker_dispatcher.engine.naming import name_of
from worker_dispatcher.engine.status import FINAL
from worker_dispatcher.errors import ConfigError
from worker_dispatcher.workpool.settings import whole

if TYPE_CHECKING:
    from worker_dispatcher.engine.engine import Engine

_KINDS: Mapping[str, type[Job]] = {"process": ProcessJob, "thread": ThreadJob, "local": LocalJob}


class SentinelJob(Job):
    """Submits a job that runs func each time that sentinel_condition becomes true; a condition of your own: each time
    that it says so. It takes no slot, and is running until it is cancelled: `engine.wait()` waits for that, the end of
    a `with` block cancels it.

    job_type: 'process', 'thread', 'local' or a class of jobs. time_delta: seconds between two questions to a condition
    of your own. sentinel_attrs: what is said of this job, such as its name; attrs: what is said of each job that it
    submits, such as args, timeout or retries. coalesce: times that were missed, while the computer slept, count as one.
    max_instances: no further job is submitted while so many have not ended; `skipped` counts these times.
    """

    endless, unkept = True, ("_live",)
    uses = ()
    prefix = "sentinel"

    def __init__(
        self,
        func: Callable[..., Any],
        sentinel_condition: Condition,
        job_type: str | type[Job] = "process",
        time_delta: float = 0.01,
        sentinel_attrs: Mapping[str, Any] | None = None,
        *,
        coalesce: bool = True,
        max_instances: int | None = None,
        **attrs: Any,
    ) -> None:
        kind = _KINDS.get(job_type) if isinstance(job_type, str) else job_type
        problems: list[tuple[str, str]] = []
        if not isinstance(sentinel_condition, Condition):
            problems.append(("sentinel_condition", f"expected a Condition, got {sentinel_condition!r}"))
        if kind is None or not callable(kind):
            problems.append(("job_type", f"expected {', '.join(_KINDS)} or a class of jobs, got {job_type!r}"))
        if max_instances is not None and (text := whole(max_instances, 1)) is not None:
            problems.append(("max_instances", text))
        if "id" in attrs:
            problems.append(("id", "each job that is submitted has its own; that of this one goes into sentinel_attrs"))
        if problems:
            raise ConfigError(problems, f"{type(self).__name__}()")
        assert kind is not None
        self.job_type, self.coalesce, self.max_instances = kind, coalesce, max_instances
        self._of_each = attrs
        said = {"name": f"{self.prefix}-{name_of(func)}", **(sentinel_attrs or {})}
        super().__init__(func, condition=sentinel_condition, wait_time_delta=time_delta, **said)
        self._next()  # what is wrong with it is told now

    def _begin_life(self, priority: int, uses: tuple[str, ...]) -> None:
        super()._begin_life(priority, uses)
        self.fired = self.skipped = 0
        self._live: list[Job] = []

    def _next(self) -> Job:
        return self.job_type(self.func, **self._of_each)

    def prepare(self, engine: Engine, at: float) -> Entry:
        entry = super().prepare(engine, at)
        entry.fires, entry.fires_each = True, not self.coalesce
        return entry

    def fire(self, engine: Engine) -> None:
        """Submit a job now."""
        self._live = [job for job in self._live if job.status not in FINAL]
        if self.max_instances is not None and len(self._live) >= self.max_instances:
            self.skipped += 1
            logger.info("%s: no further job while %d have not ended", self.name, len(self._live))
            return
        job = self._next()
        self._live.append(job)
        self.fired += 1
        engine.take([job])


class CronJob(SentinelJob):
    """A SentinelJob on time: CronJob(func, every("10m")), CronJob(func, hourly & between_clock("9:00", "17:00")), or
    with a crontab, CronJob(func, "*/5 * * * *"), which needs the package cronsim.

    A time at which it is due comes once, however long it goes on: AfterClock alone is once a day.
    """

    prefix = "cron-sentinel"

    def __init__(
        self,
        func: Callable[..., Any],
        time_condition: Condition | str,
        job_type: str | type[Job] = "process",
        time_delta: float = 0.01,
        sentinel_attrs: Mapping[str, Any] | None = None,
        *,
        coalesce: bool = True,
        max_instances: int | None = None,
        **attrs: Any,
    ) -> None:
        condition = Crontab(time_condition) if isinstance(time_condition, str) else time_condition
        if not isinstance(condition, (TimeCondition, Combination)):
            text = f"expected a condition of time, such as every('10m'), or a crontab, got {time_condition!r}"
            raise ConfigError([("time_condition", text)], "CronJob()")
        super().__init__(
            func,
            condition,
            job_type,
            time_delta,
            sentinel_attrs,
            coalesce=coalesce,
            max_instances=max_instances,
            **attrs,
        )


every = EveryPeriod
hourly, daily, weekly = EveryPeriod("1h"), EveryPeriod("1d"), EveryPeriod("7d")
before_clock, after_clock = BeforeClock, AfterClock
before_weekday, after_weekday = BeforeWeekday, AfterWeekday
before_timepoint, after_timepoint = BeforeTimepoint, AfterTimepoint


def between_clock(start: str, end: str) -> Combination:
    """From one time of day until another: over midnight, where that is the earlier one."""
    return _between(AfterClock(start), BeforeClock(end), round_the_end=clock_of(end) < clock_of(start))


def between_weekday(start: str, end: str) -> Combination:
    """From one day of the week to another, both included: over Sunday, where that is the earlier one."""
    return _between(AfterWeekday(start), BeforeWeekday(end), round_the_end=weekday_of(end) < weekday_of(start))


def _between(after: Condition, before: Condition, *, round_the_end: bool) -> Combination:
    return AnySatisfied([before, after]) if round_the_end else AllSatisfied([before, after])


def between_timepoint(start: datetime, end: datetime) -> AllSatisfied:
    """From one moment until another."""
    return AllSatisfied([BeforeTimepoint(end), AfterTimepoint(start)])
