"""Who did what when: a bar per task in its worker's row, or, where those are too many, how busy each worker was."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker_dispatcher.reports.facts import Facts
from worker_dispatcher.reports.rows import Floats
from worker_dispatcher.reports.timeline import round_step

__all__ = ["MOST_BARS", "Busy", "Tails", "busy_shares", "idle_tails"]

MOST_BARS = 2000  # tasks drawn one by one; a browser stays quick, and more cannot be told apart
_MOST_ROWS = 64
_MOST_BINS = 240


@dataclass(frozen=True, slots=True, eq=False)
class Busy:
    """shares: a row per worker (or per group of neighbours), a column per bin; 1 is busy all the time."""

    names: list[str]
    edges: Floats
    shares: NDArray[np.float64]


def busy_shares(facts: Facts) -> Busy:
    """How busy each worker was over time. More than 64 workers are shown in groups. Cost: O(n + rows * bins)."""
    codes, names = facts.workers
    named = np.flatnonzero(codes >= 0)
    group = max(1, math.ceil(len(names) / _MOST_ROWS))
    rows = math.ceil(len(names) / group)
    step = round_step(facts.ended - facts.began, _MOST_BINS)
    bins = max(1, math.ceil((facts.ended - facts.began) / step * (1 - 1e-9)))
    worked = np.zeros((rows, bins + 1))
    lane = codes[named] // group
    _add_until(worked, lane, facts.rows.ends[named] - facts.began, step, 1.0)
    _add_until(worked, lane, facts.rows.starts[named] - facts.began, step, -1.0)
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


def idle_tails(facts: Facts) -> Tails | None:
    """What waiting for stragglers cost; None with fewer than two workers or no time."""
    codes, names = facts.workers
    named = np.flatnonzero(codes >= 0)
    length = facts.ended - facts.began
    if len(names) < 2 or not length > 0 or not len(named):
        return None
    lasts = np.full(len(names), -math.inf)
    np.maximum.at(lasts, codes[named], facts.rows.ends[named])
    slow = int(np.argmax(lasts))
    row = int(named[np.argmax(np.where(codes[named] == slow, facts.rows.ends[named], -math.inf))])
    others = float(np.delete(lasts, slow).max())
    idle = float((facts.ended - lasts).sum()) / (length * len(names))
    return Tails(idle, names[slow], row, float(lasts[slow]) - others)
