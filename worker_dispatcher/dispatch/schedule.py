"""When tasks may start: pure data, no clock, no thread.

A schedule is a curve (how many tasks are due by when) and a pacing (how the tasks of one interval lie in it):

    Growing   `number` tasks an interval, and so many more with each      'burst'    all at its start
    Steady    a rate                                                      'even'     at equal distances
    Stages    ramps and steps of a rate, then the end                     'random'   anywhere, the number is exact
                                                                          'poisson'  independently of each other

`AllAtOnce` is the schedule of fixed workers; `Trace` replays given offsets.
"""

from __future__ import annotations

import bisect
import itertools
import math
from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from random import Random

__all__ = ["AllAtOnce", "Curve", "Growing", "Paced", "Schedule", "Stage", "Stages", "Steady", "Trace"]

_ROUNDING = 1e-9  # tasks: what a count may lack through floating point and still be whole


class Schedule(Protocol):
    @property
    def timed(self) -> bool:
        """False: everything may start at once, and `ticks` has nothing to say."""

    def ticks(self) -> Iterator[tuple[int, array[float]]]:
        """For each interval that has tasks: its number, from 0, and when they are due, in seconds since the run
        began. Never decreasing."""


class AllAtOnce:
    """Fixed workers: every task may start as soon as a worker is free."""

    timed = False

    def ticks(self) -> Iterator[tuple[int, array[float]]]:
        return iter(())


class Curve(Protocol):
    """How many tasks are due by when: a count that never falls."""

    def intervals(self, length: float) -> Iterator[tuple[float, float]]:
        """(count at the start, count at the end) of interval 0, 1, ... of so many seconds."""

    def when(self, tick: int, length: float, count: float) -> float:
        """The moment, in seconds, at which the count is reached; it lies in interval `tick`."""


class Growing(NamedTuple):
    """`number` tasks in the first interval, then as many more each time as `accumulated` says (rounded down, may be
    negative; never fewer than one task)."""

    number: int
    accumulated: float = 0

    def intervals(self, length: float) -> Iterator[tuple[float, float]]:
        low, step = 0, math.floor(self.accumulated)
        for tick in itertools.count():
            high = low + self.size(tick, step)
            yield low, high
            low = high

    def size(self, tick: int, step: int | None = None) -> int:
        """How many tasks interval `tick` has."""
        return max(1, self.number + tick * (math.floor(self.accumulated) if step is None else step))

    def when(self, tick: int, length: float, count: float) -> float:
        # A multiple, not a running sum: the thousandth interval begins as exactly as the first.
        return (tick + count / self.size(tick)) * length

    def largest(self, tasks: int) -> int:
        """The most tasks of one interval, for a run of so many tasks."""
        most, left = 0, tasks
        for tick in itertools.count():
            count = self.size(tick)
            most, left = max(most, min(left, count)), left - count
            if left <= 0 or (self.accumulated < 1 and most >= min(tasks, self.number)):
                return most
        raise AssertionError("an endless loop has ended")


class Steady(NamedTuple):
    """`rate` tasks a second."""

    rate: float

    def intervals(self, length: float) -> Iterator[tuple[float, float]]:
        for tick in itertools.count():
            yield self.rate * (tick * length), self.rate * ((tick + 1) * length)

    def when(self, tick: int, length: float, count: float) -> float:
        return (self.rate * (tick * length) + count) / self.rate


class Stage(NamedTuple):
    """From one rate to another (tasks a second), evenly, within `duration` seconds."""

    duration: float
    start: float
    end: float

    def tasks(self, seconds: float) -> float:
        """How many tasks are due within the first seconds of it."""
        return self.start * seconds + (self.end - self.start) * seconds * seconds / (2 * self.duration)

    def seconds(self, count: float) -> float:
        """When so many are due: the inverse of `tasks`."""
        slope = (self.end - self.start) / self.duration
        # The root of slope/2 t^2 + start t - count, in the form that does not cancel when the slope is small.
        root = math.sqrt(max(0.0, self.start * self.start + 2 * slope * count))
        return min(self.duration, 2 * count / (self.start + root)) if self.start + root else 0.0


class Stages(NamedTuple):
    """One stage after the other; then no task is due any more."""

    stages: tuple[Stage, ...]

    @property
    def duration(self) -> float:
        return sum(stage.duration for stage in self.stages)

    def _bounds(self) -> tuple[list[float], list[float]]:
        """When each stage begins, and how many tasks are due before it; each list ends with the end of the last."""
        times = list(itertools.accumulate((stage.duration for stage in self.stages), initial=0.0))
        counts = list(itertools.accumulate((s.tasks(s.duration) for s in self.stages), initial=0.0))
        return times, counts

    def intervals(self, length: float) -> Iterator[tuple[float, float]]:
        low = 0.0
        for tick in range(math.ceil(self.duration / length - _ROUNDING)):
            high = self._count((tick + 1) * length)
            yield low, high
            low = high

    def _count(self, seconds: float) -> float:
        times, counts = self._bounds()
        at = min(bisect.bisect_right(times, seconds), len(self.stages)) - 1
        return counts[at] + self.stages[at].tasks(min(seconds - times[at], self.stages[at].duration))

    def when(self, tick: int, length: float, count: float) -> float:
        times, counts = self._bounds()
        due = self._count(tick * length) + count
        at = min(bisect.bisect_right(counts, due), len(self.stages)) - 1
        return times[at] + self.stages[at].seconds(due - counts[at])


class Paced(NamedTuple):
    """The tasks of a curve, an interval (seconds) at a time. duration: nothing is due at or after it (seconds).

    Random pacings draw from one generator, in order: with a seed, the same schedule each time.
    """

    curve: Curve
    pacing: str
    interval: float
    duration: float | None = None
    seed: int | None = None

    @property
    def timed(self) -> bool:
        return True

    def ticks(self) -> Iterator[tuple[int, array[float]]]:
        from random import Random  # 3 ms, for load only

        chance = Random(self.seed)
        arrivals = _Arrivals(chance)
        for tick, (low, high) in enumerate(self.curve.intervals(self.interval)):
            if self.duration is not None and tick * self.interval >= self.duration:
                return
            counts = self._counts(low, high, chance, arrivals)
            due = array("d", (self._when(tick, count - low) for count in counts))
            while self.duration is not None and len(due) and due[-1] >= self.duration:
                due.pop()
            if due:
                yield tick, due

    def _when(self, tick: int, count: float) -> float:
        # The interval's own start is exact; what floating point makes of its end must not reach into the next one.
        begin = tick * self.interval
        if count <= 0 or self.pacing == "burst":
            return begin
        return min(max(begin, self.curve.when(tick, self.interval, count)), begin + self.interval)

    def _counts(self, low: float, high: float, chance: Random, arrivals: _Arrivals) -> Sequence[float]:
        """Where on the curve the tasks of one interval lie."""
        if self.pacing == "poisson":
            return arrivals.until(high)
        whole = range(math.ceil(low - _ROUNDING), math.ceil(high - _ROUNDING))
        if self.pacing == "random":
            return sorted(chance.uniform(low, high) for _ in whole)
        return whole


class _Arrivals:
    """A Poisson process of rate 1. Through a curve's inverse it becomes one of that curve's rate (time change)."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._next = chance.expovariate(1.0)

    def until(self, count: float) -> list[float]:
        found = []
        while self._next < count:
            found.append(self._next)
            self._next += self._chance.expovariate(1.0)
        return found


class Trace(NamedTuple):
    """Given offsets (seconds, sorted), replayed; intervals of so many seconds only number them."""

    offsets: tuple[float, ...]
    interval: float
    duration: float | None = None

    @property
    def timed(self) -> bool:
        return True

    def ticks(self) -> Iterator[tuple[int, array[float]]]:
        low, end = 0, bisect.bisect_left(self.offsets, math.inf if self.duration is None else self.duration)
        while low < end:
            tick = int(self.offsets[low] / self.interval)  # not one by one: a trace may have long gaps
            high = max(low + 1, min(end, bisect.bisect_left(self.offsets, (tick + 1) * self.interval)))
            yield tick, array("d", self.offsets[low:high])
            low = high
