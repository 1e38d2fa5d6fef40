"""The run cut into intervals of one length: all summaries in one pass over the rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker_dispatcher.reports.rows import Floats, Rows
from worker_dispatcher.reports.window_numbers import Span, rate_of, render_summary

__tracebackhide__ = True  # see tracebacks

_MOST = 10_000_000  # intervals; more are a mistyped length, and would only exhaust the memory


def checked_interval(interval: object) -> float:
    """The length asked for in seconds, or 0 for "choose one" (anything falsy). ValueError for what is no length."""
    if not interval:
        return 0
    if isinstance(interval, Real) and not isinstance(interval, bool):
        length = int(interval) if isinstance(interval, Integral) else float(interval)
        if length > 0:
            return length
    raise ValueError(f"interval must be a number of seconds > 0, or 0 to choose one, got {interval!r}")


def default_interval(duration: float, average: float) -> float:
    """Three average tasks, at least a second; but about a hundred intervals where that would make more of them.

    duration: of the run; average: time of a task; both in seconds.
    """
    wanted = 3 * average
    step = max(1, round(wanted, 2))
    if (
        wanted and duration / wanted <= 100 and duration / step <= _MOST
    ):  # an average below 0 would ask for one a second
        return step
    return math.ceil(duration / 100) if duration / 100 >= 1 else 1


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """One entry per interval in each column, ascending in time; `newest_first` says in which order to list them.

    Neighbours share their boundary: a task of no length there fits into both. Where a boundary falls exactly on the
    end of the run (reversed: on its start), one interval without length follows.
    """

    lows: Floats
    highs: Floats
    newest_first: bool
    total: NDArray[np.intp]
    success: NDArray[np.intp]
    start: NDArray[np.intp]
    end: NDArray[np.intp]
    every: tuple[Floats, Floats, Floats]  # average, longest, shortest time; 0 where there is no task
    good: tuple[Floats, Floats, Floats]

    @classmethod
    def of(
        cls,
        rows: Rows,
        started_at: float,
        ended_at: float,
        step: float,
        *,
        newest_first: bool = False,
        whole: bool = False,
    ) -> Intervals:
        """Cut [started_at, ended_at]. ValueError if `step` (seconds, > 0) makes more than ten million intervals.

        whole: a rest of less than half an interval at the end goes to the one before it. On its own, one task in its
        10 ms would be a hundred a second.

        Cost: O(n log m) for n rows and m intervals.
        """
        if newest_first:
            bounds = _boundaries(ended_at, started_at, -step)[::-1]
            lows, highs = np.maximum(bounds[:-1], started_at), bounds[1:]
        else:
            bounds = _boundaries(started_at, ended_at, step)
            lows, highs = bounds[:-1], np.minimum(bounds[1:], ended_at)
            if whole and len(lows) > 1 and ended_at - lows[-1] < step / 2:
                lows, highs = lows[:-1], np.append(highs[:-2], ended_at)
        return cls.between(rows, lows, highs, newest_first)

    @classmethod
    def between(cls, rows: Rows, lows: Floats, highs: Floats, newest_first: bool = False) -> Intervals:
        """Those of given bounds."""
        row, place = _places(rows, lows, highs)
        good = rows.ok[row]
        return cls(
            lows,
            highs,
            newest_first,
            np.bincount(place, minlength=len(lows)),
            np.bincount(place[good], minlength=len(lows)),
            *_starts_and_ends(rows, lows, highs),
            _spans(place, rows.times[row], len(lows)),
            _spans(place[good], rows.times[row[good]], len(lows)),
        )

    def __len__(self) -> int:
        return len(self.lows)

    def order(self) -> range:
        """Positions in the order in which intervals are listed."""
        return range(len(self))[::-1] if self.newest_first else range(len(self))

    def summary(self, position: int) -> dict[str, Any]:
        """Rows that fit into the interval as a whole; `start` and `end` count what began and ended in it.

        A task that starts at the very end, or ends at the very beginning, belongs to the neighbouring interval.
        """
        return render_summary(
            self.lows[position].item(),
            self.highs[position].item(),
            _span(self.every, position, self.total),
            _span(self.good, position, self.success),
            success=int(self.success[position]),
            total=int(self.total[position]),
            start=int(self.start[position]),
            end=int(self.end[position]),
        )

    def rate(self, position: int) -> float:
        return rate_of(int(self.success[position]), float(self.highs[position]) - float(self.lows[position]))

    def peaks(self, threshold: float) -> Iterator[tuple[int, float]]:
        """(position, rate) of each interval that has more successes than any listed before it, and a rate over
        `threshold` and over those given before."""
        order = self.order()
        success = self.success[::-1] if self.newest_first else self.success
        record = np.maximum.accumulate(success)
        for index in np.flatnonzero(np.diff(record, prepend=0)):
            rate = self.rate(order[index])
            if rate > threshold:
                threshold = rate
                yield order[index], rate


def _boundaries(first: float, last: float, step: float) -> Floats:
    """first, first + step, ... as a running sum, up to the first one beyond `last`.

    The sum runs, because the contract's does: first + i * step differs from it in the last digits.
    """
    expected = (last - first) / step
    pieces, count, bound, beyond = [np.array([first])], 1, first, False
    while not beyond and expected <= _MOST and count <= _MOST:
        chunk = np.full(int(expected) + 16, step, np.float64)
        chunk[0] += bound
        chunk = np.add.accumulate(chunk)
        if chunk[-1] == bound:  # so short that adding it changes nothing
            break
        passed = np.flatnonzero(chunk > last if step > 0 else chunk < last)
        beyond = len(passed) > 0
        pieces.append(chunk[: passed[0] + 1] if beyond else chunk)
        count, bound = count + len(pieces[-1]), float(chunk[-1])
    if not beyond:
        raise ValueError(f"an interval of {abs(step)!r} s is too short for a run of {abs(last - first)!r} s")
    return np.concatenate(pieces)


def _places(rows: Rows, lows: Floats, highs: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(row index, interval) of every row that fits into an interval, in row order.

    A row fits into those from the first that ends at or after its end to the last that starts at or before its start:
    none where a boundary cuts it, two where it has no length and lies on one.
    """
    lowest = np.searchsorted(highs, rows.ends, "left")
    highest = np.searchsorted(lows, rows.starts, "right") - 1
    row = np.flatnonzero(lowest <= highest)
    twice = row[lowest[row] < highest[row]]
    if not len(twice):
        return row, lowest[row]
    both = np.concatenate([row, twice])
    order = np.argsort(both, kind="stable")  # sums must run in row order, as everywhere
    return both[order], np.concatenate([lowest[row], highest[twice]])[order]


def _starts_and_ends(rows: Rows, lows: Floats, highs: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """How many rows start and end in each interval. Rows may lie outside of all: a file's window is what it says."""
    begun = np.searchsorted(lows, rows.starts, "right") - 1
    begun = begun[(begun >= 0) & (rows.starts < highs[begun])]
    ended = np.searchsorted(highs, rows.ends, "left")
    within = ended < len(lows)
    ended = ended[within & (rows.ends > lows[np.where(within, ended, 0)])]
    return np.bincount(begun, minlength=len(lows)), np.bincount(ended, minlength=len(lows))


def _spans(place: NDArray[np.intp], times: Floats, count: int) -> tuple[Floats, Floats, Floats]:
    tasks = np.bincount(place, minlength=count)
    average = np.bincount(place, weights=times, minlength=count) / np.maximum(tasks, 1)
    longest, shortest = np.full(count, -math.inf), np.full(count, math.inf)
    np.maximum.at(longest, place, times)
    np.minimum.at(shortest, place, times)
    return average, longest, shortest


def _span(columns: tuple[Floats, Floats, Floats], position: int, tasks: NDArray[np.intp]) -> Span:
    return Span(*(float(column[position]) for column in columns)) if tasks[position] else Span()
