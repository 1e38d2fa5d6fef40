"""The same as naps.py, as coroutines."""

from __future__ import annotations

import asyncio
from time import perf_counter

from benchmarks.naps import Record


async def async_nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


async def timed_async_nap(seconds: float) -> Record:
    start = perf_counter()
    await asyncio.sleep(seconds)
    return seconds, start, perf_counter()
