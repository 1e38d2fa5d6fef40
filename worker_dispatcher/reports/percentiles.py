"""Percentiles by nearest rank."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from worker_dispatcher.reports.rows import Floats, Rows

__all__ = ["PERCENTILES", "nearest_rank", "percentile_name", "percentile_tables", "percentiles_of"]

__tracebackhide__ = True  # see tracebacks

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
    """Of all rows, failed ones too: execution_time and, where the logs have them, response_time and queue_delay."""
    asked = tuple(percents)
    columns = {
        "execution_time": rows.times,
        "response_time": rows.response_times,
        "queue_delay": rows.queue_delays,
    }
    return {name: percentiles_of(column, asked) for name, column in columns.items() if column is not None}
