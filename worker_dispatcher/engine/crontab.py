"""Crontab: times as a crontab says them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from worker_dispatcher.engine.conditions import Beats

_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


@dataclass(frozen=True)
class Crontab(Beats):
    """At the times of a crontab: Crontab("*/5 9-17 * * mon-fri"), five fields, or "@daily" and the like.

    Where the clock is changed, as cron of Debian does it: a time that is skipped comes right after, one that comes
    twice counts once; with a star in the minutes or the hours each hour counts as it passes.
    Needs the package cronsim: pip install "worker-dispatcher[cron]". ValueError on a bad string.
    """

    expression: str

    def __post_init__(self) -> None:
        _next(self.expression, 0.0, "")

    def next_after(self, since: datetime) -> datetime:
        return datetime.fromtimestamp(_next(self.expression, since.timestamp(), os.environ.get("TZ")))

    def fired(self, when: datetime, since: datetime, each: bool = False) -> datetime:
        return self.next_after(since) if each else when


@lru_cache(256)
def _next(expression: str, since: float, zone: str | None) -> float:
    """Unix time of the next time after another. zone: that it was reckoned in."""
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        text = 'a crontab needs the package cronsim: pip install "worker-dispatcher[cron]"'
        raise ImportError(text, name="cronsim") from None
    try:
        times = CronSim(_MACROS.get(expression, expression), datetime.fromtimestamp(since).replace(tzinfo=_Here()))
        found: datetime = next(times)
    except (CronSimError, StopIteration, AttributeError) as error:
        text = f"expected a crontab such as '*/5 * * * *', got {expression!r}: {error or 'there is no such time'}"
        raise ValueError(text) from None
    return found.timestamp()


class _Here(tzinfo):
    """The zone that the system goes by."""

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        return None if when is None else when.replace(tzinfo=None).astimezone().utcoffset()

    def dst(self, when: datetime | None) -> timedelta | None:
        return None

    def tzname(self, when: datetime | None) -> str | None:
        return None if when is None else when.replace(tzinfo=None).astimezone().tzname()

    def fromutc(self, when: datetime) -> datetime:
        return datetime.fromtimestamp(when.replace(tzinfo=UTC).timestamp()).replace(tzinfo=self)
