"""The task that does nothing. Here alone, since a worker loads the module of its task: that must not be on the bill."""

from __future__ import annotations

from time import perf_counter


def noop(item: int) -> int:
    return item


def timed_noop(item: int) -> tuple[int, float, float]:
    start = perf_counter()
    return item, start, perf_counter()
