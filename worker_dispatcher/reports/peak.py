"""The best window between whole seconds, found exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.reports.rate import steepest
from worker_dispatcher.reports.rows import Rows

Ints = NDArray[np.int64]

_LEAF = 64  # starts that are solved as one table; 32 to 128 measure alike
_SAFE = 2**61  # largest product that leaves int64 room for the sums below


@dataclass(frozen=True, slots=True)
class Peak:
    """`count` successes fit into [started_at, started_at + length], whole seconds."""

    started_at: int
    length: int
    count: int

    @property
    def rate(self) -> float:
        return self.count / self.length


def find_peak(rows: Rows, threshold: float = 0.0) -> Peak | None:
    """The window [w, w + k] with the highest rate of successes that lie in it as a whole, if over `threshold`.

    w: the whole second at or before the start of a success; k: 1, 2, ... seconds. A success lies in a window if its
    start, rounded down, and its end, rounded up, do. Ties go to the earliest, then the shortest window.
    Exact: tests compare with all windows. Cost: O(n log n) a sweep, a few sweeps; 1e6 rows take 0.2 s over 1 000 s,
    0.5 s over a day, 4 s in the worst case known (one task a second for 11 days).
    """
    if not rows.ok.any():
        return None
    peak = _Search(*_whole_seconds(rows)).best()
    return peak if peak.rate > threshold else None


class Scan(NamedTuple):
    """What a line of debug output tells: a start with `begun` successes, the rate to beat, the windows that beat it."""

    started_at: int
    begun: int
    threshold: float
    found: tuple[Peak, ...]


def scan_peaks(rows: Rows, threshold: float) -> Iterator[Scan]:
    """The plain way to the same peak, start by start, for who wants to watch it. Cost: starts * distinct ends."""
    if not rows.ok.any():
        return
    search = _Search(*_whole_seconds(rows))
    for index in range(len(search.starts)):
        if search.most[index] <= threshold:  # see _Search.most; a tie with an earlier start is no peak either
            continue
        windows = search.windows(index)
        rates = windows.counts / windows.lengths
        record = np.maximum.accumulate(np.concatenate([[threshold], rates]))
        better = np.flatnonzero(np.diff(record) > 0)
        found = tuple(windows.peak(int(position)) for position in better)
        yield Scan(int(search.starts[index]), int(search.begun[index]), threshold, found)
        threshold = float(record[-1])


def _whole_seconds(rows: Rows) -> tuple[Ints, Ints]:
    return np.floor(rows.starts[rows.ok]).astype(np.int64), np.ceil(rows.ends[rows.ok]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Windows:
    """Every window worth a look from one start: the counts grow with the lengths."""

    started_at: int
    lengths: Ints
    counts: Ints

    def peak(self, position: int) -> Peak:
        return Peak(self.started_at, int(self.lengths[position]), int(self.counts[position]))

    def best(self) -> Peak:
        return self.peak(int(np.argmax(self.counts / self.lengths)))


class _Search:
    """n(w, e) = successes with a >= w and b <= e; wanted is the largest n(w, e) / (e - w) with e >= w + 1.

    starts: the distinct a; ends: the distinct b and a + 1 (between these n does not change, and shorter is better).
    most: n(w, w + 1) at most, and what decides which starts can win: cut [w, e] behind its first second, and its rate
    is a mean, weighted by lengths, of at most most(w) and of a window that starts later. So a start whose `most` is
    below a rate that is reached somewhere cannot start the best window.
    """

    def __init__(self, a: Ints, b: Ints) -> None:
        self.starts, self.begun = np.unique(a, return_counts=True)
        self.ends = np.unique(np.concatenate([b, self.starts + 1]))
        points, next_second = np.sort(a[a == b]), self.starts + 1
        lasting = np.searchsorted(points, next_second, "right") - np.searchsorted(points, next_second, "left")
        self.most = self.begun + lasting
        order = np.argsort(a, kind="stable")
        self.a, self.b = a[order], b[order]
        self.place = np.searchsorted(self.ends, self.b)

    def windows(self, index: int) -> _Windows:
        """The windows from one start. O(n)."""
        start = int(self.starts[index])
        later = self.place[np.searchsorted(self.a, start) :]
        first = int(np.searchsorted(self.ends, start + 1))
        counts = np.cumsum(np.bincount(later, minlength=len(self.ends)))[first:]
        return _Windows(start, self.ends[first:] - start, counts)

    def best(self) -> Peak:
        """Dinkelbach's way (see rate.steepest), each trial exact in whole numbers: for a rate n/k that is reached,
        find the largest k * n(w, e) - n * (e - w); while it is over 0, its window is the next trial."""
        peak = self._guess()
        while True:
            found = self.windows(_sweep(self, peak)).best()
            if found.rate <= peak.rate:
                return max(found, peak, key=lambda window: window.rate)  # of equals the sweep's: it is the earliest
            peak = found

    def _guess(self) -> Peak:
        """A good window to begin with: the best of those with n(w, e) = H(e) - G(w), which holds where no task spans
        the window, and counts too few elsewhere; H: ends up to e, G: starts before w."""
        low = np.searchsorted(self.a, self.starts).astype(np.float64)
        high = np.searchsorted(np.sort(self.b), self.ends, "right").astype(np.float64)
        allowed = np.searchsorted(self.starts, self.ends - 1, "right")
        busiest = self.windows(int(np.argmax(self.most))).best()
        chord = steepest(self.starts.astype(np.float64), low, self.ends.astype(np.float64), high, allowed, busiest.rate)
        return busiest if chord is None else max(busiest, self.windows(chord[0]).best(), key=lambda peak: peak.rate)


class _Node(NamedTuple):
    """A stretch of starts, and the ends cut into segments between which none of its rows tells.

    first, last: starts[first:last]; ends: each segment's first end; top: the largest gain * n(w, e) - price * e in the
    segment, counting only the rows of later starts; row, place, weight: the stretch's own rows (which start, from
    which segment on they count, gain * how many).
    """

    first: int
    last: int
    ends: Ints
    top: NDArray[Any]
    row: NDArray[np.intp]
    place: NDArray[np.intp]
    weight: NDArray[Any]


def _sweep(search: _Search, trial: Peak) -> int:
    """Index of the earliest start with the largest length * n(w, e) - count * (e - w) over all windows.

    Divide and conquer over the starts, last ones first: a row counts for every end from its own on, so a stretch of
    starts can tell apart only as many ends as it has rows, and is given the others as segments with their maximum.
    Each level handles every row once: O(n log n).
    """
    starts, base = search.starts, int(search.starts[0])
    shrink = math.gcd(trial.count, trial.length)
    gain, price = trial.length // shrink, trial.count // shrink
    # Beyond what fits (times that are no seconds), the sums are floats, and ties may go to another window.
    exact = len(search.a) * int(search.ends[-1] - base) < _SAFE
    kind: type = np.int64 if exact else np.float64
    kept = np.flatnonzero(search.most >= trial.rate)
    lines = _Lines(starts[kept] - base, price, kind)
    row, place, weight = _merge_rows(np.searchsorted(starts[kept], search.a, "right") - 1, search.place)
    ends = search.ends - base
    lines.visit(_Node(0, len(kept), ends, -price * ends.astype(kind), row, place, gain * weight.astype(kind)))
    return int(kept[lines.at])


def _merge_rows(row: NDArray[np.intp], place: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp], Ints]:
    """Equal (row, place) pairs as one with its count, sorted by row; rows before the first start are of no window."""
    wide = int(place.max()) + 1
    keys, weight = np.unique(row[row >= 0] * wide + place[row >= 0], return_counts=True)
    return keys // wide, keys % wide, weight


class _Lines:
    """The largest gain * n - price * (e - w) seen so far, and the index of the earliest start that has it."""

    def __init__(self, starts: Ints, price: int, kind: type) -> None:
        self.starts, self.price, self.kind = starts, price, kind
        self.value: float | None = None
        self.at = 0

    def visit(self, node: _Node) -> None:
        bound = node.top.max() + node.weight.sum() + self.price * self.starts[node.last - 1]
        if self.value is not None and bound < self.value:
            return
        if node.last - node.first <= _LEAF:
            self._solve(node)
            return
        middle = (node.first + node.last) // 2
        cut = int(np.searchsorted(node.row, middle))
        self.visit(self._part(node, middle, node.last, slice(cut, None)))
        later: NDArray[Any] = np.zeros(len(node.ends), self.kind)
        np.add.at(later, node.place[cut:], node.weight[cut:])
        self.visit(self._part(node._replace(top=node.top + np.cumsum(later)), node.first, middle, slice(cut)))

    def _part(self, node: _Node, first: int, last: int, rows: slice) -> _Node:
        """The node of starts[first:last]: ends that none of them reaches go, those that all treat alike merge."""
        begin = int(np.searchsorted(node.ends, self.starts[first] + 1))
        apart = int(np.searchsorted(node.ends, self.starts[last - 1] + 1, "right"))
        keep = np.zeros(len(node.ends), np.bool_)
        keep[node.place[rows]] = True
        keep[:begin] = False
        keep[begin:apart] = True  # windows of some of these starts only
        cuts, rank = np.flatnonzero(keep), np.cumsum(keep) - 1
        place = np.maximum(rank[node.place[rows]], 0)
        top = np.maximum.reduceat(node.top, cuts)
        return _Node(first, last, node.ends[cuts], top, node.row[rows], place, node.weight[rows])

    def _solve(self, node: _Node) -> None:
        """All windows of a short stretch, as a table of starts by segments."""
        starts = self.starts[node.first : node.last]
        table: NDArray[Any] = np.zeros((len(starts), len(node.ends)), self.kind)
        np.add.at(table, (node.row - node.first, node.place), node.weight)
        table = np.cumsum(np.cumsum(table, axis=1)[::-1], axis=0)[::-1] + node.top
        lowest = np.iinfo(np.int64).min // 2 if self.kind is np.int64 else -np.inf
        table[node.ends <= starts[:, None]] = lowest
        values = table.max(axis=1) + self.price * starts
        best = int(np.argmax(values))
        if self.value is None or values[best] >= self.value:  # stretches come last first: equal is earlier
            self.value, self.at = values[best], node.first + best
