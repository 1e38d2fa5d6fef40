"""When tasks may start: pure data, no clock. A schedule gives ticks: (seconds since the run began, how many tasks).

All at once is the schedule of fixed workers; bursts are frequency mode. Another pacing is another class here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

__all__ = ["AllAtOnce", "Bursts", "Schedule"]


class Schedule(Protocol):
    def ticks(self) -> Iterator[tuple[float, int | None]]:
        """(offset in seconds, tasks released), offsets never decreasing; None releases all there are."""


@dataclass(frozen=True, slots=True)
class AllAtOnce:
    """Fixed workers: every task may start as soon as a worker is free."""

    def ticks(self) -> Iterator[tuple[float, int | None]]:
        yield 0.0, None


@dataclass(frozen=True, slots=True)
class Bursts:
    """`number` tasks at each multiple of `interval` seconds, then as many more each time as `accumulated` says
    (rounded down, may be negative; never fewer than one task a tick)."""

    number: int
    interval: float
    accumulated: float = 0

    def ticks(self) -> Iterator[tuple[float, int | None]]:
        step = math.floor(self.accumulated)
        for tick in itertools.count():
            # A multiple, not a running sum: the thousandth tick is as exact as the first.
            yield tick * self.interval, max(1, self.number + tick * step)

    def largest(self, tasks: int) -> int:
        """The most tasks of one tick, for a run of so many tasks."""
        most, left = 0, tasks
        for _, count in self.ticks():
            most = max(most, min(left, count or 0))
            left -= count or 0
            if left <= 0 or (self.accumulated < 1 and most >= min(tasks, self.number)):
                return most
        return most
