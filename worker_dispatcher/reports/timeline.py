"""What happened when: the run in bins of one round length, for charts and sparklines. All in one pass per column."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker_dispatcher.reports.rows import Floats
from worker_dispatcher.reports.run_data import RunData

_MOST_BINS = 120
_FEWEST_BINS = 12
_TASKS_A_BIN = 4
_STUB = 0.05  # share of a bin; a rest so short at the end is counted with the last bin instead of a bin of its own
_LEAST_STEP = 1e-3  # seconds; finer than that is the clock's business, not the run's
_SHORTEST = 1e-6  # seconds; a histogram over powers has no place for 0


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """edges: seconds since the run began, one more than there are bins; step: seconds.

    offered: due in the bin; succeeded, failed: ended in it. Counts; divide by `step` for rates.
    """

    step: float
    edges: Floats
    offered: NDArray[np.intp]
    succeeded: NDArray[np.intp]
    failed: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.offered)


def round_step(length: float, most: int) -> float:
    """The least of 1, 2 or 5 times a power of ten that cuts `length` seconds into at most `most` pieces."""
    least = max(length / most, _LEAST_STEP)
    power = 10.0 ** math.floor(math.log10(least))
    # A hair of tolerance: 0.3 / 3 is 0.09999999999999999 or 0.1, and both mean 0.1.
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def bins_of(run: RunData, most: int = _MOST_BINS) -> Bins:
    """The run cut from its beginning, in bursts if it was released in bursts: other bins would show a beat that is
    not there. Few tasks make few bins, so that a bar is more than one task or none."""
    length = run.ended - run.began
    wanted = min(most, max(_FEWEST_BINS, len(run.rows) // _TASKS_A_BIN))
    step = _burst_step(run, wanted) or round_step(length, wanted)
    count = max(1, math.ceil(length / step - _STUB))
    edges = np.arange(count + 1, dtype=np.float64) * step
    ended, ok = _bin(run.rows.ends - run.began, step, count), run.rows.ok
    return Bins(
        step,
        edges,
        np.bincount(_bin(run.offered - run.began, step, count), minlength=count),
        np.bincount(ended[ok], minlength=count),
        np.bincount(ended[~ok], minlength=count),
    )


def _burst_step(run: RunData, most: int) -> float:
    """The time from burst to burst, or as many times that as it takes to stay below `most` bins; 0 without bursts."""
    if run.rows.queue_delays is None:
        return 0.0
    bursts = np.unique(np.round(run.offered - run.began, 6))
    if not 3 <= len(bursts) <= len(run.rows) / 2:
        return 0.0
    gaps = np.diff(bursts)
    gap = float(np.median(gaps))
    if gap < _LEAST_STEP or np.abs(gaps - gap).max() > gap / 100:
        return 0.0
    return float(np.round(gap, 6)) * max(1, math.ceil((run.ended - run.began) / gap / most - 1e-6))


def _bin(offsets: Floats, step: float, count: int) -> NDArray[np.intp]:
    """The bin of each moment; what lies on an edge begins the next bin, but the end of the run ends the last."""
    # A microsecond later: Unix times round to a quarter of one, and a burst that is due on an edge belongs after it.
    return np.clip(((offsets + 1e-6) / step).astype(np.intp), 0, count - 1)


def percentiles_over_time(run: RunData, values: Floats, bins: Bins, percents: tuple[int, ...]) -> list[Floats]:
    """One row per percentile, a value per bin, NaN for an empty one: nearest rank of the tasks that ended there.

    values: a column in row order; NaN entries are left out.
    """
    there = np.flatnonzero(np.isfinite(values))
    place = _bin(run.rows.ends[there] - run.began, bins.step, len(bins))
    ordered = values[there][np.lexsort((values[there], place))]
    sizes = np.bincount(place, minlength=len(bins))
    firsts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    filled = sizes > 0
    found = []
    for percent in percents:
        line = np.full(len(bins), np.nan)
        rank = -(-percent * sizes // 100)  # rounded up, from 1
        line[filled] = ordered[(firsts + rank - 1)[filled]]
        found.append(line)
    return found


def in_flight_over_time(run: RunData, bins: Bins) -> tuple[Floats, NDArray[np.intp]]:
    """(mean, largest) number of tasks that run at a time, per bin."""
    starts, ends = (np.sort(moments - run.began) for moments in run.rows.attempts)
    worked = _seconds_since(starts, bins.edges) - _seconds_since(ends, bins.edges)
    mean = np.maximum(np.diff(worked) / bins.step, 0)
    lows = bins.edges[:-1]
    most = np.searchsorted(starts, lows, "right") - np.searchsorted(ends, lows, "right")
    # Within a bin the number rises only at a start.
    after = np.arange(1, len(starts) + 1) - np.searchsorted(ends, starts, "right")
    np.maximum.at(most, _bin(starts, bins.step, len(bins)), after)
    return mean, most


def _seconds_since(moments: Floats, edges: Floats) -> Floats:
    """At each edge: the sum over all earlier moments of the time that has passed since. moments: ascending."""
    before = np.searchsorted(moments, edges, "right")
    sums = np.concatenate([[0.0], np.cumsum(moments)])
    since: Floats = before * edges - sums[before]
    return since


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """edges: seconds, growing by one factor; counts: one array for each column of values given."""

    edges: Floats
    counts: tuple[NDArray[np.intp], ...]


def histogram(*columns: Floats, most: int = 60) -> Histogram:
    """Columns of seconds over common bins that grow by a factor, since latencies spread over powers of ten."""
    known = [column[np.isfinite(column)] for column in columns]
    together = np.concatenate([np.empty(0), *known])
    if not len(together):
        return Histogram(np.array([_SHORTEST, 2 * _SHORTEST]), tuple(np.zeros(1, np.intp) for _ in columns))
    low, high = max(float(together.min()), _SHORTEST), max(float(together.max()), _SHORTEST)
    if high < low * 1.05:  # all about the same: one bar with room on both sides
        low, high = low / 1.2, high * 1.2
    edges = np.geomspace(low, high, most + 1)
    edges[0], edges[-1] = low, high  # as computed they may miss the extremes by a rounding
    return Histogram(edges, tuple(np.histogram(np.clip(column, low, high), edges)[0] for column in known))


def round_lengths(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two lengths; only the powers where that would be more than nine, and
    both ends and the middle where it would be none or one."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    inside = [length for length in every if low <= length <= high]
    if len(inside) < 2:
        return [float(f"{length:.2g}") for length in (low, math.sqrt(low * high), high)]
    return inside if len(inside) <= 9 else [length for length in inside if f"{length:e}".startswith("1.")]


# Who did what when: a bar per task in its worker's row, or, where those are too many, how busy each worker was.

MOST_BARS = 2000  # tasks drawn one by one; a browser stays quick, and more cannot be told apart
_MOST_ROWS = 64
_MOST_BUSY_BINS = 240


@dataclass(frozen=True, slots=True, eq=False)
class Busy:
    """shares: a row per worker (or per group of neighbours), a column per bin; 1 is busy all the time."""

    names: list[str]
    edges: Floats
    shares: NDArray[np.float64]


def busy_shares(run: RunData) -> Busy:
    """How busy each worker was over time. More than 64 workers are shown in groups. Cost: O(n + rows * bins)."""
    codes, names = run.workers
    named = np.flatnonzero(codes >= 0)
    group = max(1, math.ceil(len(names) / _MOST_ROWS))
    rows = math.ceil(len(names) / group)
    step = round_step(run.ended - run.began, _MOST_BUSY_BINS)
    bins = max(1, math.ceil((run.ended - run.began) / step * (1 - 1e-9)))
    worked = np.zeros((rows, bins + 1))
    lane = codes[named] // group
    _add_until(worked, lane, run.rows.ends[named] - run.began, step, 1.0)
    _add_until(worked, lane, run.rows.starts[named] - run.began, step, -1.0)
    sizes = np.minimum(group, len(names) - group * np.arange(rows))
    labels = [_label(names[low : low + group]) for low in range(0, len(names), group)]
    return Busy(labels, np.arange(bins + 1, dtype=np.float64) * step, worked[:, :bins] / step / sizes[:, None])


def _add_until(worked: Floats, lane: NDArray[np.intp], moments: Floats, step: float, sign: float) -> None:
    """Add, to every bin of each moment's lane, the seconds of the bin that lie before the moment."""
    bins = worked.shape[1] - 1
    place = np.clip((moments / step).astype(np.intp), 0, bins)
    part = np.zeros_like(worked)
    np.add.at(part, (lane, place), moments - place * step)
    whole = np.zeros_like(worked)
    np.add.at(whole, (lane, place), step)
    worked += sign * (part + whole[:, ::-1].cumsum(1)[:, ::-1] - whole)


def _label(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


@dataclass(frozen=True, slots=True)
class Tails:
    """The end of a run. idle: share of all worker seconds that passed between a worker's last task and the end;
    last: name of the worker that ended last; row: its last task; alone: seconds it ran after all others had ended."""

    idle: float
    last: str
    row: int
    alone: float


def idle_tails(run: RunData) -> Tails | None:
    """What waiting for stragglers cost, in the last session; None with fewer than two workers or no time."""
    codes, names = run.workers
    began = run.began if run.sessions is None else run.sessions.last_began
    named = np.flatnonzero((codes >= 0) & (run.rows.starts >= began))
    length = run.ended - began
    who, lane = np.unique(codes[named], return_inverse=True)
    if len(who) < 2 or not length > 0:
        return None
    lasts = np.full(len(who), -math.inf)
    np.maximum.at(lasts, lane, run.rows.ends[named])
    slow = int(np.argmax(lasts))
    row = int(named[np.argmax(np.where(lane == slow, run.rows.ends[named], -math.inf))])
    others = float(np.delete(lasts, slow).max())
    idle = float((run.ended - lasts).sum()) / (length * len(who))
    return Tails(idle, names[who[slow]], row, float(lasts[slow]) - others)
