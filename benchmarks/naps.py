"""Tasks that only wait, as those of a network do. Light to load, as workers load it: without asyncio, which takes 25 ms
in each of them."""

from __future__ import annotations

import time
from time import perf_counter

Record = tuple[float, float, float]


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def timed_nap(seconds: float) -> Record:
    start = perf_counter()
    time.sleep(seconds)
    return seconds, start, perf_counter()
