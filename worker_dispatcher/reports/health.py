"""Whether the load generator itself was what a load test measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from worker_dispatcher.reports.facts import Facts
from worker_dispatcher.reports.percentiles import percentiles_of
from worker_dispatcher.reports.rows import Floats
from worker_dispatcher.reports.wording import seconds_text, share_text

__all__ = ["Health", "generator_health"]

_LATE = 0.010  # seconds after its due time; a release on a busy but sufficient machine stays well below
_MANY = 0.05  # share of the releases judged that must be late
_FEW = 5  # late releases that prove nothing, whatever their share
_FULL = 0.95  # share of the usable processors in use
_SPARE = 0.8  # share of the workers in use up to which one was surely free


@dataclass(frozen=True, slots=True)
class Health:
    """ok: the numbers describe what was called, not the caller; sentence: the verdict, one line.

    judged, late: tasks released while workers were free, and those of them over 10 ms late; p99: of their lateness.
    """

    ok: bool
    sentence: str
    judged: int
    late: int
    p99: float


def generator_health(facts: Facts) -> Health | None:
    """Judge a run whose logs say when each task was due; None for any other: nothing is late without a due time.

    A task that waits because all workers are busy is late by the fault of what it calls, so only tasks that came due
    while workers were free are judged. Free is told from max_workers, or from the most that ever ran at a time.
    info['cpu'], where it is known: share of the usable processors that the run used, 0 to 1.
    """
    waits = facts.rows.queue_delays
    if waits is None:
        return None
    with_wait = np.flatnonzero(np.isfinite(waits) & (_running(facts, waits) <= _free_below(facts, waits)))
    lateness = waits[with_wait]
    late = int(np.count_nonzero(lateness > _LATE))
    p99 = percentiles_of(lateness, [99]).get("p99", 0.0)
    cpu = facts.info.get("cpu")
    full = isinstance(cpu, float) and cpu >= _FULL
    ok = (late <= _MANY * len(lateness) or late < _FEW) and not full
    return Health(ok, _sentence(ok, full, late, len(lateness), p99), len(lateness), late, p99)


def _sentence(ok: bool, full: bool, late: int, judged: int, p99: float) -> str:
    if ok and not judged:
        return "Workers were never free when a task was due, so what was late is not the load generator's doing."
    if ok:
        return f"The load generator kept up: p99 of its lateness was {seconds_text(max(p99, 0.0))}."
    if full:
        return "The load generator was the bottleneck: it used all processors, so these numbers are its own."
    return (
        f"The load generator was the bottleneck: with workers free, {share_text(late, judged)} of the tasks started "
        f"over {seconds_text(_LATE)} late (p99 {seconds_text(p99)}). Use processes, a lower rate, or more machines."
    )


def _running(facts: Facts, waits: Floats) -> np.ndarray[Any, np.dtype[np.intp]]:
    """How many tasks ran at the moment each was due, or were waiting to. Not as each began: after a pause of the
    service the workers are free again, and what piled up meanwhile is still late by its fault."""
    starts, ends = np.sort(facts.rows.starts), np.sort(facts.rows.ends)
    due = facts.rows.starts - np.where(np.isfinite(waits), waits, 0.0)
    before = np.searchsorted(np.sort(due), due, "left")  # due earlier, begun or not
    begun = np.maximum(np.searchsorted(starts, due, "right"), before)
    return begun - np.searchsorted(ends, due, "right")


def _free_below(facts: Facts, waits: Floats) -> float:
    """As long as no more than this many tasks run, a worker is free."""
    worker = facts.config.get("worker")
    mode = worker.get("frequency_mode") if isinstance(worker, dict) else None
    if isinstance(mode, dict):
        most = mode.get("max_workers")
        return float("inf") if most is None else _SPARE * most  # None: there is always another worker
    return _SPARE * int(_running(facts, waits).max()) if len(facts.rows) else 0.0
