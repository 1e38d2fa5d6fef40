"""The task that does nothing, in a module that takes long to import. Here alone: see trivial.py."""

from __future__ import annotations

from time import perf_counter

import numpy
import pandas

LIBRARIES = numpy, pandas


def noop(item: int) -> int:
    return item


def timed_noop(item: int) -> tuple[int, float, float]:
    start = perf_counter()
    return item, start, perf_counter()
