"""What frequency mode makes of a run: when its tasks are due, and what else a load has. Pure data, no clock, no thread.

A schedule of load is a curve (how many tasks are due by when) and a pacing (how the tasks of one interval lie in it):

    Growing   `number` tasks an interval, and so many more with each      'burst'    all at its start
    Steady    a rate                                                      'even'     at equal distances
    Stages    ramps and steps of a rate, then the end                     'random'   anywhere, the number is exact
                                                                          'poisson'  independently of each other

`Trace` replays given offsets.
"""

from __future__ import annotations

import bisect
import itertools
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from worker_dispatcher.dispatch.schedule import Schedule
from worker_dispatcher.named_tuple import NamedTuple

if TYPE_CHECKING:
    from random import Random

    from worker_dispatcher.config.options import FrequencyMode

NO_CAP = 10_000  # workers where the user sets no cap: more than a machine of today gives
_SHORTEST_INTERVAL = 1e-6  # seconds: no task starts more exactly than that, and intervals can be counted for 31 years

_ROUNDING = 1e-9  # tasks: what a count may lack through floating point and still be whole
_PIECE = 4096  # dues worked out at a time: the driver, who waits for them, hears nothing meanwhile
_LAST_TICK = 1e15  # the number of an interval that a float can still hold


class Growing(NamedTuple):
    """`number` tasks in the first interval, then as many more each time as `accumulated` says (rounded down, may be
    negative; never fewer than one task)."""

    number: int
    accumulated: float = 0

    def span(self, tick: int, length: float) -> tuple[int, int]:
        """(count at the start, count at the end) of interval `tick` of so many seconds; None after the last one."""
        step = math.floor(self.accumulated)
        falling = tick if step >= 0 else min(tick, -(-(self.number - 1) // -step))  # intervals of more than one task
        low = falling * self.number + step * (falling * (falling - 1) // 2) + tick - falling
        return low, low + self.size(tick)

    def moment(self, count: float) -> float:
        """The moment at which the count is reached, give or take an interval; infinite if it never is."""
        return 0.0  # no interval is without a task

    def end(self, count: int, length: float) -> float:
        """The moment up to which a list of so many tasks reaches, in intervals of so many seconds: when the next one
        would be due, or its interval would begin; infinite if the curve has fewer."""
        tick = 0
        while count > 0:
            count, tick = count - self.size(tick), tick + 1
        return tick * length

    def size(self, tick: int) -> int:
        """How many tasks interval `tick` has."""
        return max(1, self.number + tick * math.floor(self.accumulated))

    def when(self, tick: int, length: float, count: float) -> float:
        """The moment, in seconds, at which the count is reached; it lies in interval `tick`."""
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

    def span(self, tick: int, length: float) -> tuple[float, float]:
        return self.rate * (tick * length), self.rate * ((tick + 1) * length)

    def moment(self, count: float) -> float:
        return (count + _ROUNDING) / self.rate

    def end(self, count: int, length: float) -> float:
        return count / self.rate

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


class Stages:
    """One stage after the other; then no task is due any more."""

    def __init__(self, stages: tuple[Stage, ...]) -> None:
        self.stages = stages
        lengths, counts = (s.duration for s in stages), (s.tasks(s.duration) for s in stages)
        self._times = tuple(itertools.accumulate(lengths, initial=0.0))  # when each begins, and when the last ends
        self._counts = tuple(itertools.accumulate(counts, initial=0.0))  # how many tasks are due before that

    @property
    def duration(self) -> float:
        return self._times[-1]

    def span(self, tick: int, length: float) -> tuple[float, float] | None:
        if tick >= math.ceil(self.duration / length - _ROUNDING):
            return None
        return self._count(tick * length), self._count((tick + 1) * length)

    def moment(self, count: float) -> float:
        # A count that is reached but for rounding is that of the next stage that has tasks.
        return self._when(count + _ROUNDING) if count + _ROUNDING < self._counts[-1] else math.inf

    def end(self, count: int, length: float) -> float:
        return self.moment(count)

    def _count(self, seconds: float) -> float:
        at = min(bisect.bisect_right(self._times, seconds), len(self.stages)) - 1
        stage = self.stages[at]
        return self._counts[at] + stage.tasks(min(seconds - self._times[at], stage.duration))

    def when(self, tick: int, length: float, count: float) -> float:
        return self._when(self._count(tick * length) + count)

    def _when(self, due: float) -> float:
        at = min(bisect.bisect_right(self._counts, due), len(self.stages)) - 1
        return self._times[at] + self.stages[at].seconds(due - self._counts[at])


Curve: TypeAlias = Growing | Steady | Stages
"""How many tasks are due by when: a count that never falls. The methods are told of where they come first."""


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
        end = math.inf if self.duration is None else self.duration
        tick = counted = 0
        while tick * self.interval < end and (span := self.curve.span(tick, self.interval)) is not None:
            low, high = span
            whole = range(counted, max(counted, math.ceil(high - _ROUNDING)))
            counted = whole.stop
            counts: Iterator[float] = iter(whole)
            if self.pacing == "poisson":
                counts = arrivals.until(high)
            elif self.pacing == "random":
                counts = _scattered(low, high, whole.stop - whole.start, chance)
            empty = True
            while piece := list(itertools.islice(counts, _PIECE)):
                due = self._dues(tick, low, piece)
                cut = bisect.bisect_left(due, end)
                if cut:
                    yield tick, due[:cut]
                if cut < len(due):
                    return
                empty = False
            tick += 1
            if empty:  # and it may be the first of many
                soon = self.curve.moment(arrivals.next if self.pacing == "poisson" else counted)
                if soon / self.interval > _LAST_TICK:
                    return  # never, or in 31 years at the least
                tick = max(tick, int(soon / self.interval) - 1)

    def _dues(self, tick: int, low: float, counts: Sequence[float]) -> array[float]:
        # The interval's own start is exact; what floating point makes of its end must not reach into the next one.
        begin = tick * self.interval
        if self.pacing == "burst":
            return array("d", [begin]) * len(counts)
        end, interval, when = begin + self.interval, self.interval, self.curve.when
        return array(
            "d", (min(max(begin, when(tick, interval, count - low)), end) if count > low else begin for count in counts)
        )


def _scattered(low: float, high: float, number: int, chance: Random) -> Iterator[float]:
    """So many numbers anywhere between two others, in order."""
    if number <= _PIECE:
        yield from sorted(chance.uniform(low, high) for _ in range(number))
        return
    above = 1.0  # the share of the interval that is left
    for left in range(number, 0, -1):
        above *= chance.random() ** (1 / left)
        yield high - above * (high - low)


class _Arrivals:
    """A Poisson process of rate 1. Through a curve's inverse it becomes one of that curve's rate (time change)."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self.next = chance.expovariate(1.0)

    def until(self, count: float) -> Iterator[float]:
        while self.next < count:
            yield self.next
            self.next += self._chance.expovariate(1.0)


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
            # Not one by one: a trace may have long gaps.
            tick = int(min(self.offsets[low] / self.interval, _LAST_TICK))
            high = max(low + 1, min(end, low + _PIECE, bisect.bisect_left(self.offsets, (tick + 1) * self.interval)))
            yield tick, array("d", self.offsets[low:high])
            low = high


class Remaining(NamedTuple):
    """What is left of a schedule after its first `done` due times, from the next one on."""

    whole: Schedule
    done: int

    @property
    def timed(self) -> bool:
        return True

    def ticks(self) -> Iterator[tuple[int, array[float]]]:
        began: float | None = None
        for tick, offsets in self._left():
            began = offsets[0] if began is None else began
            yield tick, array("d", [offset - began for offset in offsets])

    def gone(self) -> float:
        """Seconds of the whole schedule that are over; infinite where nothing is left of it."""
        return next((offsets[0] for _, offsets in self._left()), math.inf)

    def _left(self) -> Iterator[tuple[int, array[float]]]:
        skip = self.done
        for tick, offsets in self.whole.ticks():
            if skip < len(offsets):
                yield tick, offsets[skip:]
            skip = max(0, skip - len(offsets))


class Load(NamedTuple):
    """What frequency mode adds to a run. duration: seconds from its first due time to its end, None if unknown;
    planned: the same, told from the number of tasks where there is no duration.

    drops: a task that finds all workers busy is not run. warmup, cooldown: seconds left out of the statistics.
    """

    duration: float | None
    drops: bool
    warmup: float
    cooldown: float
    abort_on: tuple[str, ...]
    planned: float | None = None


def load_of(frequency: FrequencyMode, schedule: Schedule, tasks: int | None) -> Load:
    """tasks: how many there are, None if unknown."""
    duration = frequency.duration
    if frequency.stages is not None:
        whole = _stages(frequency.stages).duration
        duration = whole if duration is None else min(whole, duration)
    planned = math.inf if duration is None else duration
    if tasks is not None and isinstance(schedule, Paced):
        planned = min(planned, schedule.curve.end(tasks, schedule.interval))
    return Load(
        duration,
        frequency.on_saturation == "drop",
        frequency.warmup,
        frequency.cooldown,
        frequency.abort_on,
        None if planned == math.inf else planned,
    )


def timed_schedule(frequency: FrequencyMode, number: int) -> tuple[Schedule, int]:
    """The schedule of a load, and how many workers there may be. number: worker.number."""
    interval, duration = max(frequency.interval, _SHORTEST_INTERVAL), frequency.duration
    most = frequency.max_workers or NO_CAP
    if isinstance(frequency.pacing, tuple):
        return Trace(frequency.pacing, interval, duration), most
    curve: Curve = Growing(number, frequency.accumulated_workers)
    if frequency.rate is not None:
        curve = Steady(frequency.rate)
    elif frequency.stages is not None:
        curve = _stages(frequency.stages)
    pacing = frequency.pacing or ("burst" if isinstance(curve, Growing) else "even")
    return Paced(curve, pacing, interval, duration, frequency.seed), most


def _stages(given: Iterable[tuple[float, float, bool]]) -> Stages:
    stages, before = [], 0.0
    for duration, rate, step in given:
        if duration:  # else it is an instant change
            stages.append(Stage(duration, rate if step else before, rate))
        before = rate
    return Stages(tuple(stages))
