"""Tasks that burn a given time of CPU, and how well the cores were used. Light to load, as workers load it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from time import perf_counter, thread_time

WORKERS = 4


def burn(seconds: float) -> float:
    """Use the CPU for this long, by the thread's own clock: being preempted does not count as work done."""
    end = thread_time() + seconds
    while thread_time() < end:
        pass
    return seconds


def timed_burn(seconds: float) -> tuple[float, float, float]:
    start = perf_counter()
    return burn(seconds), start, perf_counter()


def check(items: Sequence[float], results: Sequence[float]) -> None:
    assert list(results) == list(items)


def figures(items: Sequence[float], seconds: float) -> dict[str, float]:
    """efficiency: the time that the cores of WORKERS workers need if nothing is lost, over the time taken."""
    cores = min(WORKERS, len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else WORKERS
    return {"efficiency": sum(items) / cores / seconds}
