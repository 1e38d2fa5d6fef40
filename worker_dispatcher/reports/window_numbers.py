"""The numbers of one window of time: F(S, E) of the contract, and of the whole run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from worker_dispatcher.reports.rows import Floats, Rows

__tracebackhide__ = True  # see tracebacks


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


# Percentiles, by nearest rank.

PERCENTILES: tuple[float, ...] = (50, 75, 90, 95, 99, 99.9)


def nearest_rank(percent: float, count: int) -> int:
    """The rank, from 1, of the smallest of `count` sorted values that has `percent` % of them at or below it.

    ValueError unless 0 < percent <= 100 and count >= 1. Exact for any decimal: 99.9 % of 1 000 values is rank 999,
    where binary floating point says 1 000.
    """
    if not 0 < percent <= 100:
        raise ValueError(f"a percentile must be over 0 and at most 100, got {percent!r}")
    if count < 1:
        raise ValueError("no value has no rank")
    return math.ceil(Fraction(str(percent)) * count / 100)


def percentile_name(percent: float) -> str:
    """'p50', 'p99.9': the key of a percentile in a report."""
    return f"p{percent:.12g}"


def percentiles_of(values: Floats, percents: Iterable[float] = PERCENTILES) -> dict[str, float]:
    """{'p50': value, ...} in the order asked; each an observed value, p100 the largest. {} without values.

    NaN entries are not values. Cost: one sort.
    """
    wanted = {percentile_name(percent): percent for percent in percents}
    ordered = np.sort(values[np.isfinite(values)])
    ranks = {name: nearest_rank(percent, max(1, len(ordered))) for name, percent in wanted.items()}
    return {name: float(ordered[rank - 1]) for name, rank in ranks.items()} if len(ordered) else {}


def percentile_tables(rows: Rows, percents: Iterable[float] = PERCENTILES) -> dict[str, dict[str, float]]:
    """Of all rows, failed ones too: execution_time and, where the logs have them, response_time and queue_delay; and
    task_time where tasks were retried."""
    asked = tuple(percents)
    columns = {
        "execution_time": rows.times,
        "response_time": rows.response_times,
        "queue_delay": rows.queue_delays,
        "task_time": rows.task_times,
    }
    return {name: percentiles_of(column, asked) for name, column in columns.items() if column is not None}
