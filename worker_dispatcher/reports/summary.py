"""The numbers of one window of time: F(S, E) of the contract, and of the whole run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from worker_dispatcher.reports.rows import Floats, Rows

__all__ = ["Span", "rate_of", "render_summary", "summary_of_run", "summary_of_window"]


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds that tasks took. All 0 where there is none; the average sums in row order, so that it is repeatable."""

    average: float = 0
    longest: float = 0
    shortest: float = 0

    @staticmethod
    def of(times: Floats) -> Span:
        if not len(times):
            return Span()
        total = np.bincount(np.zeros(len(times), np.intp), weights=times)[0]
        return Span(float(total) / len(times), float(times.max()), float(times.min()))

    def render(self) -> dict[str, float]:
        return {"avg": self.average, "max": self.longest, "min": self.shortest}


def rate_of(success: int, duration: float) -> float:
    """Successes per second, rounded to two places; 0 for a window without length."""
    return round(success / duration, 2) if duration > 0 else 0


def render_summary(
    started_at: float, ended_at: float, every: Span, good: Span, *, success: int, total: int, start: int, end: int
) -> dict[str, Any]:
    """A summary as plain data, its keys in the order of the contract."""
    duration = ended_at - started_at
    return {
        "tps": rate_of(success, duration),
        "started_at": started_at,
        "ended_at": ended_at,
        "duration": duration,
        "metrics": {"execution_time": every.render(), "success_execution_time": good.render()},
        "count": {"success": success, "total": total, "start": start, "end": end},
    }


def summary_of_window(rows: Rows, started_at: float, ended_at: float) -> dict[str, Any]:
    """Rows that fit into [started_at, ended_at] as a whole; `start` and `end` count what began and ended in it.

    A task that starts at the very end, or ends at the very beginning, belongs to the neighbouring window.
    """
    inside = (rows.starts >= started_at) & (rows.ends <= ended_at)
    good = inside & rows.ok
    return render_summary(
        started_at,
        ended_at,
        Span.of(rows.times[inside]),
        Span.of(rows.times[good]),
        success=int(np.count_nonzero(good)),
        total=int(np.count_nonzero(inside)),
        start=int(np.count_nonzero((rows.starts >= started_at) & (rows.starts < ended_at))),
        end=int(np.count_nonzero((rows.ends > started_at) & (rows.ends <= ended_at))),
    )


def summary_of_run(rows: Rows) -> dict[str, Any]:
    """The whole run, which Rows.span bounds, every row inside, malformed rows counted."""
    total = len(rows)
    summary = render_summary(
        *rows.span,
        Span.of(rows.times),
        Span.of(rows.times[rows.ok]),
        success=int(np.count_nonzero(rows.ok)),
        total=total,
        start=total,
        end=total,
    )
    summary["count"]["invalidity"] = rows.invalidity
    return summary
