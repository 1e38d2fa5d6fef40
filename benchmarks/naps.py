"""Tasks that only wait, as those of a network do. Light to load, as workers load it."""

from __future__ import annotations

import asyncio
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


async def async_nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


async def timed_async_nap(seconds: float) -> Record:
    start = perf_counter()
    await asyncio.sleep(seconds)
    return seconds, start, perf_counter()
