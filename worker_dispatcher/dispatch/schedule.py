"""When tasks may start. Fixed workers know one answer, and it is here; those of a load are in load.py."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Protocol


class Schedule(Protocol):
    @property
    def timed(self) -> bool:
        """False: everything may start at once, and `ticks` has nothing to say."""

    def ticks(self) -> Iterator[tuple[int, array[float]]]:
        """For each interval that has tasks: its number, from 0, and when they are due, in seconds since the run
        began. Never decreasing. Made as it is asked for: an interval of many tasks comes in several pieces."""


class AllAtOnce:
    """Fixed workers: every task may start as soon as a worker is free."""

    timed = False

    def ticks(self) -> Iterator[tuple[int, array[float]]]:
        return iter(())
