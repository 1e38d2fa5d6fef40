"""What a load test measured: the service, the load generator, or a lack of workers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.reports.rows import Floats
from worker_dispatcher.reports.run_data import RunData
from worker_dispatcher.reports.window_numbers import percentiles_of
from worker_dispatcher.units import count_text, rate_text, round_seconds_text, seconds_text, share_text

_LATE = 0.010  # seconds; a release on a busy but sufficient machine stays well below
_MANY = 0.05  # share of the tasks judged that must be late
_OWN_SHARE = (
    0.1  # of what tasks waited for workers; lateness that comes to so little beside it is not what held them up
)
_FEW = 5  # late tasks that prove nothing, whatever their share
_DROP_AFTER = 0.005  # seconds that a task looks for a free worker before it is dropped, as the driver has it
_STOOD_STILL = 10  # times its usual length: a call that took longer stood still


@dataclass(frozen=True, slots=True)
class Health:
    """ok: the load generator kept up, so the numbers are not its own; sentence: the verdict, one line.

    cause: of what was late: 'generator', 'workers' (all were busy, and there were too few for the rate), 'service' (all
    were busy because calls stood still), '' if nothing was.
    judged: tasks whose due time is known; late: those that started over 10 ms later than they could; p99: of that
    lateness, seconds. waited: tasks that waited over 10 ms, or were dropped, because all workers were busy.
    """

    ok: bool
    sentence: str
    cause: str
    judged: int
    late: int
    p99: float
    waited: int


def generator_health(run: RunData) -> Health | None:
    """Judge a run whose logs say when each task was due; None for any other: nothing is late without a due time.

    A task is late by its start less the later of two moments: its due time, and the last moment before its start at
    which all workers were busy. So what waits behind a slow service is not the load generator's doing, and what waits
    beside idle workers is. A task that was tried again is judged by its first attempt, where that is known.
    """
    waits = run.rows.queue_delays
    if waits is None:
        return None
    starts, busy = run.rows.begun, _Busy.of(run)
    due = starts - waits
    last = busy.last_before(starts)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(waits) & ((run.attempts == 1) | (starts < run.rows.starts))
        lateness = (starts - np.maximum(due, last))[known]
        waited = np.clip(last - due, 0.0, None)[known]
    found = _Found(lateness, waited, *_dropped(run, busy), busy)
    late, judged = found.late, found.judged
    stuck = int(np.count_nonzero(waited > _LATE)) + found.dropped
    lacked = stuck > _MANY * judged and stuck >= _FEW
    minor = float(lateness.sum()) <= _OWN_SHARE * float(waited.sum()) and not found.dropped_late
    ok = late <= _MANY * judged or late < _FEW or (lacked and minor)
    cause = "generator" if not ok else _why_busy(run, found) if lacked else ""
    sentence = {"generator": _too_slow, "workers": _too_few, "service": _stood_still, "": _kept_up}[cause]
    return Health(ok, sentence(run, found, stuck), cause, judged, late, found.p99, stuck)


class _Busy(NamedTuple):
    """When all workers were busy: from begins[i] to ends[i]; both ascending. workers: how many there may be."""

    begins: Floats
    ends: Floats
    workers: float

    @staticmethod
    def of(run: RunData) -> _Busy:
        starts, ends = map(np.sort, run.all_rows.attempts)
        moments = np.unique(np.concatenate([starts, ends]))
        # At a moment a task that ends then has ended, and one that starts then runs.
        running = np.searchsorted(starts, moments, "right") - np.searchsorted(ends, moments, "right")
        workers = run.max_workers
        if workers is None:
            workers = max(len(run.workers[1]), int(running.max(initial=0)))
        full = np.concatenate([[False], running >= workers, [False]])
        begin, end = np.flatnonzero(~full[:-1] & full[1:]), np.flatnonzero(full[:-1] & ~full[1:])
        return _Busy(moments[begin], moments[np.minimum(end, len(moments) - 1)], workers)

    def last_before(self, moments: Floats) -> Floats:
        """The last moment, before each of these, at which all were busy; -inf where there is none. What starts itself
        at a moment does not count."""
        place = np.searchsorted(self.begins, moments, "left") - 1
        found = np.full(len(moments), -np.inf)
        there = place >= 0
        found[there] = np.minimum(self.ends[place[there]], moments[there])
        return found

    @property
    def seconds(self) -> float:
        return float((self.ends - self.begins).sum())


class _Found(NamedTuple):
    """lateness, waited: seconds of each task judged; dropped: tasks that found all workers busy and never ran;
    dropped_late: those that were dropped beside idle workers, since nobody came to start them."""

    lateness: Floats
    waited: Floats
    dropped: int
    dropped_late: int
    busy: _Busy

    @property
    def judged(self) -> int:
        return len(self.lateness) + self.dropped + self.dropped_late

    @property
    def late(self) -> int:
        return int(np.count_nonzero(self.lateness > _LATE)) + self.dropped_late

    @property
    def p99(self) -> float:
        return max(0.0, percentiles_of(self.lateness, [99]).get("p99", 0.0))


def _dropped(run: RunData, busy: _Busy) -> tuple[int, int]:
    """How many tasks were dropped while all workers were busy, and beside idle ones."""
    due = run.dropped_dues
    full = int(np.count_nonzero(busy.last_before(due + _DROP_AFTER) >= due))
    return full, len(due) - full


def _why_busy(run: RunData, found: _Found) -> str:
    """'workers' if they are too few for calls of the usual length; 'service' if calls stood still."""
    usual = float(np.median(run.rows.times))
    enough = found.busy.workers >= 1.2 * _asked(run, found) * usual
    return "service" if enough and float(run.rows.times.max()) > _STOOD_STILL * usual else "workers"


def _asked(run: RunData, found: _Found) -> float:
    """Tasks a second that were due; without a window, between the first and the last. Infinite if all at once."""
    began, until = run.window or (float(run.dues.min()), run.last_due)
    return (found.judged - (run.window is None)) / (until - began) if until > began else math.inf


def _reached(run: RunData) -> float:
    """Tasks a second that ended, over the window and as long after it as tasks that were due in it took to end."""
    began, until = run.window or (run.began, run.ended)
    return len(run.rows) / max(max(until, run.ended) - began, 1e-9)


def _too_slow(run: RunData, found: _Found, stuck: int) -> str:
    share = share_text(found.late, found.judged)
    return (
        f"The load generator was the bottleneck: with workers free, {share} of the tasks started over "
        f"{round_seconds_text(_LATE)} late (p99 {seconds_text(found.p99)}). "
        "Use processes, a lower rate, or more machines."
    )


def _too_few(run: RunData, found: _Found, stuck: int) -> str:
    return f"{_all_busy(found)}, and {_stuck(found, stuck)}: {_rates(run, found)}. Raise max_workers."


def _stood_still(run: RunData, found: _Found, stuck: int) -> str:
    usual, longest = seconds_text(float(np.median(run.rows.times))), seconds_text(float(run.rows.times.max()))
    return (
        f"{_all_busy(found)} while calls stood still (as a rule {usual}, the longest {longest}), and "
        f"{_stuck(found, stuck)}: {_rates(run, found)}."
    )


def _all_busy(found: _Found) -> str:
    count = found.busy.workers
    who = "The only worker was" if count == 1 else f"All {count_text(count)} workers were"
    return f"{who} busy for {seconds_text(found.busy.seconds)}"


def _stuck(found: _Found, stuck: int) -> str:
    said = f"{count_text(stuck - found.dropped)} of {count_text(found.judged)} tasks waited for one, up to "
    said += seconds_text(float(found.waited.max(initial=0.0)))
    if not found.dropped:
        return said
    lost = f"{count_text(found.dropped)} of {count_text(found.judged)} tasks were dropped"
    return f"{said}, and {count_text(found.dropped)} were dropped" if stuck > found.dropped else lost


def _rates(run: RunData, found: _Found) -> str:
    asked = _asked(run, found)
    return f"{rate_text(asked) if asked < math.inf else 'all at once'} asked, {rate_text(_reached(run))} reached"


def _kept_up(run: RunData, found: _Found, stuck: int) -> str:
    if not found.late:
        return f"The load generator kept up: p99 of its lateness was {seconds_text(found.p99)}."
    late = f"{count_text(found.late)} of {count_text(found.judged)} tasks"
    return (
        f"The load generator kept up but for {late}, which started over "
        f"{round_seconds_text(_LATE)} late (p99 {seconds_text(found.p99)})."
    )
