"""Rates over windows of any bounds, and how many tasks were in flight."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from worker_dispatcher.reports.rows import Floats, Rows

__tracebackhide__ = True  # see tracebacks

_EDGE = 0.1  # share of the span left out at each end of a steady rate: ramp-up and stragglers


def peak_rate(rows: Rows, window: float = 1.0) -> dict[str, Any]:
    """The highest rate of successful completions over any window of at least `window` seconds, wherever it lies.

    {tps (not rounded), count, started_at, ended_at, duration, window}; {} without a success. A window begins with a
    completion and is half open: two a second, evenly, are two in any second, not three. It is (a) `window` long, or (b)
    longer, and then ends where the next completion comes, which is not in it. It is shorter than 2 * window (one half
    of a longer one is no worse), and may end after the run where the run is shorter. Of equal windows any one is given.
    ValueError unless 0 < window < inf.

    (a) is counted, (b) is the steepest chord of the counting curve. Cost: a sort and some passes, about 0.2 s for 1e6
    rows; tests compare with all pairs of completions.
    """
    if not 0 < window < math.inf:
        raise ValueError(f"window must be a number of seconds > 0, got {window!r}")
    moments = np.sort(rows.ends[rows.ok])
    if not len(moments):
        return {}
    since = moments - moments[0]  # small numbers: adding a window to them rounds less
    before = np.arange(len(since), dtype=np.float64)
    # Never none: a window below the clock's resolution has at least its own completion in it.
    fitting = np.maximum(np.searchsorted(since, since + window, "left"), np.searchsorted(since, since, "right"))
    begin = int(np.argmax(fitting - before))
    count, length = int(fitting[begin]) - begin, float(window)
    # Strictly earlier ones only: such a window must not make chords without a run either.
    first = np.searchsorted(since, since, "left")
    allowed = np.minimum(np.searchsorted(since + window, since, "right"), first)
    chord = steepest(since, before, since, first.astype(np.float64), allowed, count / window)
    if chord is not None:
        begin, count, length = chord[0], int(first[chord[1]]) - chord[0], float(since[chord[1]] - since[chord[0]])
    return {
        "tps": count / length,
        "count": count,
        "started_at": float(moments[begin]),
        "ended_at": float(moments[begin]) + length,
        "duration": length,
        "window": window,
    }


def notable_peak(peak: dict[str, Any], tps: float, duration: float, planned: bool) -> dict[str, Any] | None:
    """A `peak_rate` that is worth telling; None without a success, and of a run that is shorter than its window: there
    the rate of the run itself is higher. None for a load, too, where the best stretch has but one task more than the
    others: a task that came some microseconds early.

    tps, duration: of the whole run; planned: it is a load with a planned window.
    """
    if not peak or peak["duration"] > duration:
        return None
    return None if planned and peak["count"] - 1 <= tps * peak["duration"] else dict(peak)


def steepest(
    left: Floats, low: Floats, right: Floats, high: Floats, allowed: np.ndarray[Any, np.dtype[np.intp]], slope: float
) -> tuple[int, int] | None:
    """The chord (i, j) with the largest (high[j] - low[i]) / (right[j] - left[i]) over `slope`; None if none is.

    left, right: ascending; allowed[j]: chords to j may begin at left[:allowed[j]], all of them before right[j].

    A fractional program: for a trial slope the best chord maximises rise - slope * run, which prefix minima give in
    one pass; its own slope is the next trial (Dinkelbach 1967, Management Science 13: superlinear, each trial
    larger). Rounding: relative error about 1e-16 * (span / run) in the choice; the chord given is what it is.
    """
    ends = np.flatnonzero(allowed)
    if not len(ends):
        return None
    left, right, best = left - left[0], right - left[0], None
    while True:
        bottom = low - slope * left
        lift = high[ends] - slope * right[ends] - np.minimum.accumulate(bottom)[allowed[ends] - 1]
        j = int(ends[np.argmax(lift)])
        i = int(np.argmin(bottom[: allowed[j]]))
        trial = float((high[j] - low[i]) / (right[j] - left[i]))
        if not trial > slope:
            return best
        slope, best = trial, (i, j)


def steady_tps(rows: Rows) -> float:
    """Successful completions per second between the first and the last tenth of the run, rounded to two places.

    The ends of a run are not its speed: workers are still starting, or only stragglers are left. A completion counts
    where it happens, so tasks as long as the middle part count as well. 0 for a run without length.
    """
    if not len(rows):
        return 0
    began, ended = rows.span
    margin = (ended - began) * _EDGE
    begin, end = began + margin, ended - margin
    if not end > begin:
        return 0
    count = int(np.count_nonzero(rows.ok & (rows.ends > begin) & (rows.ends <= end)))
    return round(count / (end - begin), 2)


def in_flight(rows: Rows) -> dict[str, float]:
    """{max, mean} of tasks running at a moment, each from its start up to but without its end.

    mean: over time, from the first start to the last end. Both 0 without a task that lasted. One that waits for another
    attempt does not run.
    """
    if not len(rows):
        return {"max": 0, "mean": 0}
    starts, ends = map(np.sort, rows.attempts)
    # The number only rises at a start; what ended at that very moment is no longer running.
    running = np.searchsorted(starts, starts, "right") - np.searchsorted(ends, starts, "right")
    span = float(ends[-1] - starts[0])
    return {"max": int(running.max()), "mean": float((ends - starts).sum()) / span if span > 0 else 0}
