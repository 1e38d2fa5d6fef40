"""What there is to see of a run while it runs: how far it is, how fast, how it goes. Read from its records."""

from __future__ import annotations

import math
from collections import deque
from typing import TypeAlias

from worker_dispatcher.dispatch.load import Load
from worker_dispatcher.dispatch.plan import Plan
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.records import CANCELLED, CRASHED, DROPPED, ERROR, NOT_RUN, OK, PENDING, TIMEOUT, Records
from worker_dispatcher.reports.verdict import Tally, successes
from worker_dispatcher.units import achieved_text, clock_text, short_seconds_text, speed_text

_SECONDS, _TASKS = 10.0, 20  # a pace is that of the last seconds, and of not many fewer tasks than these
_RECENT = 10.0  # seconds that percentiles look back
_RECENT_MOST = 10_000  # tasks they look at: sorting more would take milliseconds
_SHARES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


class View(NamedTuple):
    """One look at a run. done of total: tasks or seconds, total None if unknown; elapsed: seconds.

    parts: (rank, text), in the order they are shown; where there is little room, the highest rank goes first.
    """

    done: float
    total: float | None
    elapsed: float
    parts: tuple[tuple[int, str], ...]

    def within(self, width: float, gap: str = "  ") -> str:
        """The parts on one line; what does not fit into so many columns is left out whole."""
        parts = list(self.parts)
        while len(text := gap.join(part for _, part in parts)) > width:
            parts.remove(max(parts, key=lambda part: part[0]))
        return text


class Pace:
    """Tasks per second of late.

    Older ones weigh less and less, but only as others come: with tasks of minutes the pace is that of the last twenty,
    not that of the last ten seconds.
    """

    def __init__(self, at: float, count: int) -> None:
        self._at, self._seen = at, count
        self._count = self._seconds = self._pause = 0.0

    def take(self, at: float, count: int) -> None:
        """count: of all so far."""
        fresh, self._seen = count - self._seen, count
        self._pause += at - self._at
        self._at = at
        if fresh:
            keep = math.exp(-min(self._pause / _SECONDS, fresh / _TASKS))
            self._count = self._count * keep + fresh
            self._seconds = self._seconds * keep + self._pause
            self._pause = 0.0

    @property
    def rate(self) -> float:
        seconds = self._seconds + self._pause
        return self._count / seconds if seconds else 0.0


class WorkStats:
    """Of a run with fixed workers. total: tasks, None if unknown. Used by the driver's thread, as LoadStats."""

    def __init__(self, records: Records, total: int | None, began: float) -> None:
        self._records, self._total, self._began = records, total, began
        self._pace, self._tally, self._without = Pace(began, records.completed), Tally(records), 0

    def take(self, at: float, overdue: int, *, asking: bool = True) -> None:
        """Read the records. at: now (monotonic); of a load: overdue: tasks that are due, and not taken; asking: some
        are still to be taken."""
        self._pace.take(at, _done(self._records))
        self._without = self._tally.count()

    def view(self, at: float, left: int | None = None) -> View:
        """What has been seen. left: the run was stopped, and so many of its tasks were never drawn."""
        done, total, rate = _done(self._records), self._total, self._pace.rate
        elapsed = at - self._began
        parts = [(0, f"{done:,} done" if total is None else f"{done:,}/{total:,}")]
        if rate:
            parts.append((2, speed_text(rate)))
        if total is None or done >= total or left is not None:
            parts.append((3, clock_text(elapsed)))
        elif rate:
            parts.append((3, f"{clock_text((total - done) / rate)} left"))
        return View(done, total, elapsed, (*parts, *_outcomes(self._records, self._without, left, ok=1, others=1)))


class LoadStats:
    """Of a run by the clock. total: tasks, None if unknown."""

    def __init__(self, records: Records, load: Load, total: int | None, began: float) -> None:
        self._records, self._load, self._total, self._began = records, load, total, began
        self._asked, self._reached_rate = Pace(began, 0), Pace(began, 0)
        self._tally, self._without = Tally(records), 0
        # What is completed already is of an earlier run. Tasks are taken in order: from the first that is not, on.
        self._reached = records.status.find(PENDING) if PENDING in records.status else len(records)
        self._open: list[int] = []  # places of tasks taken, and not completed when last looked at
        self._settled = self._succeeded = 0  # of this run
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT_MOST)  # (end, seconds from due to end)
        self._percentiles, self._sort_at = "", 0.0
        self._in_flight = self._overdue = 0

    def take(self, at: float, overdue: int, *, asking: bool = True) -> None:
        self._hear(at)
        self._overdue = overdue
        # After the last due time nothing is asked for any more: the rate asked stays what it was.
        if at <= self._end(asking):
            self._asked.take(at, self._settled + self._in_flight + overdue)
        self._reached_rate.take(at, self._succeeded)
        self._without = self._tally.count()

    def _end(self, asking: bool) -> float:
        """When the last task is due, as far as that is known by now (monotonic). asking: see `take`."""
        planned = math.inf if self._load.planned is None else self._began + self._load.planned
        return planned if asking or not self._records.due else min(planned, self._records.due[-1])

    def _hear(self, at: float) -> None:
        """Take in what has ended since; no more work than there are new tasks and tasks in flight."""
        status, dues, ended = self._records.status, self._records.due, self._records.ended
        while self._reached < len(status) and (status[self._reached] != PENDING or not math.isnan(dues[self._reached])):
            self._open.append(self._reached)
            self._reached += 1
        looked_at, self._open, self._in_flight = self._open, [], 0
        returned = []
        for place in looked_at:
            if status[place] == PENDING:
                self._open.append(place)
                self._in_flight += dues[place] <= at
            elif not math.isnan(dues[place]):  # else an earlier run had it
                self._settled += 1
                if status[place] not in (NOT_RUN, DROPPED):
                    self._recent.append((ended[place], ended[place] - dues[place]))
                if status[place] == OK:
                    returned.append(self._records.results[place])
        self._succeeded += successes(returned).count(True)
        if at >= self._sort_at:  # not at each look: sorting is the dear part, and nobody reads faster
            self._sort_at = at + 1.0
            while self._recent and self._recent[0][0] < at - _RECENT:
                self._recent.popleft()
            times = sorted(time for _, time in self._recent)
            at_share = (times[math.ceil(share * len(times)) - 1] for _, share in _SHARES) if times else ()
            self._percentiles = " ".join(
                f"{name} {short_seconds_text(time)}" for (name, _), time in zip(_SHARES, at_share, strict=False)
            )

    def view(self, at: float, left: int | None = None) -> View:
        elapsed, duration = max(0.0, at - self._began), self._load.duration
        done: float = _done(self._records)
        total: float | None = self._total
        if duration is not None:
            done, total = min(elapsed, duration), duration
            parts = [(4, f"{clock_text(total - done)} left" if left is None else clock_text(done))]
        else:
            parts = [(4, f"{done:,} done" if total is None else f"{done:,}/{total:,}")]
        parts.append((1, achieved_text(self._reached_rate.rate, self._asked.rate)))
        if self._percentiles:
            parts.append((2, self._percentiles))
        parts.append((5, f"in flight {self._in_flight:,}"))
        if self._overdue and not self._load.drops:  # else they are about to be dropped
            parts.append((3, f"late {self._overdue:,}"))
        return View(done, total, elapsed, (*parts, *_outcomes(self._records, self._without, left, ok=6, others=0)))


Stats: TypeAlias = WorkStats | LoadStats


def stats_of(plan: Plan, records: Records, began: float) -> Stats:
    """began: when the run began (monotonic)."""
    if plan.load is None or not records.keeps:  # where records pass by, it is not known which tasks run
        return WorkStats(records, plan.tasks, began)
    return LoadStats(records, plan.load, plan.tasks, began)


def _done(records: Records) -> int:
    """How many tasks are behind us: not those that were stopped, or kept from running, at the end of the run."""
    return records.completed - records.outcomes[NOT_RUN] - records.outcomes[CANCELLED]


def _outcomes(records: Records, without: int, left: int | None, *, ok: int, others: int) -> list[tuple[int, str]]:
    """How many tasks ended in which way, where any did. without: those that ended ok and are no success; left: those
    that were never drawn, and will not be; ok, others: the ranks of these parts."""
    ended = records.outcomes
    counts = (
        (ok, ended[OK] - without, "ok"),
        (others, without, "no success"),
        (others, ended[ERROR] + ended[TIMEOUT] + ended[CRASHED], "failed"),
        (others, ended[DROPPED], "dropped"),
        (others, ended[CANCELLED], "cancelled"),
        (others, ended[NOT_RUN] + (left or 0), "not run"),
    )
    return [(rank, f"{name} {count:,}") for rank, count, name in counts if count]
