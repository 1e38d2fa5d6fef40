"""Rates over windows of any bounds, and how many tasks were in flight."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from worker_dispatcher.reports.rows import Floats, Rows

__all__ = ["in_flight", "peak_rate", "steady_tps", "steepest"]

_EDGE = 0.1  # share of the span left out at each end of a steady rate: ramp-up and stragglers


def peak_rate(rows: Rows, window: float = 1.0) -> dict[str, Any]:
    """The highest rate of successful completions over any window of at least `window` seconds, wherever it lies.

    {tps (not rounded), count, started_at, ended_at, duration, window}; {} without a success. A window begins with a
    completion, is shorter than 2 * window (one half of a longer one is no worse), and may end after the run where the
    run is shorter. Of equal windows any one is given.
    ValueError unless 0 < window < inf.

    Between the first and last completion in it, or longer by as much as `window` asks, a window is at its best; so
    it is one of (a) length `window` from a completion, (b) longer, from a completion to a completion. (a) is counted,
    (b) is the steepest chord of the counting curve. Cost: a sort and some passes, about 0.2 s for 1e6 rows; tests
    compare with all pairs of completions.
    """
    if not 0 < window < math.inf:
        raise ValueError(f"window must be a number of seconds > 0, got {window!r}")
    moments = np.sort(rows.ends[rows.ok])
    if not len(moments):
        return {}
    since = moments - moments[0]  # small numbers: adding a window to them rounds less
    before = np.arange(len(since), dtype=np.float64)
    fitting = np.searchsorted(since, since + window, "right")
    begin = int(np.argmax(fitting - before))
    last = int(fitting[begin]) - 1
    # Strictly earlier ones only: a window below the clock's resolution must not make chords without a run.
    allowed = np.minimum(np.searchsorted(since + window, since, "right"), np.searchsorted(since, since, "left"))
    chord = steepest(since, before, since, before + 1, allowed, (last + 1 - begin) / window)
    begin, last = chord or (begin, last)
    length = max(float(window), float(since[last] - since[begin]))
    return {
        "tps": (last + 1 - begin) / length,
        "count": last + 1 - begin,
        "started_at": float(moments[begin]),
        "ended_at": max(float(moments[last]), float(moments[begin]) + window),
        "duration": length,
        "window": window,
    }


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
    began, ended = float(rows.starts.min()), float(rows.ends.max())
    margin = (ended - began) * _EDGE
    begin, end = began + margin, ended - margin
    if not end > begin:
        return 0
    count = int(np.count_nonzero(rows.ok & (rows.ends > begin) & (rows.ends <= end)))
    return round(count / (end - begin), 2)


def in_flight(rows: Rows) -> dict[str, float]:
    """{max, mean} of tasks running at a moment, each from its start up to but without its end.

    mean: over time, from the first start to the last end. Both 0 without a task that lasted.
    """
    if not len(rows):
        return {"max": 0, "mean": 0}
    starts, ends = np.sort(rows.starts), np.sort(rows.ends)
    # The number only rises at a start; what ended at that very moment is no longer running.
    running = np.searchsorted(starts, starts, "right") - np.searchsorted(ends, starts, "right")
    span = float(ends[-1] - starts[0])
    return {"max": int(running.max()), "mean": float((rows.ends - rows.starts).sum()) / span if span > 0 else 0}
