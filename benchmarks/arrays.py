"""Tasks that take and make arrays. Light to load, as workers load it."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

MB = 1_000_000
Array = np.ndarray[Any, np.dtype[np.float64]]
Record = tuple[Array, float, float]


def plus_one(array: Array) -> Array:
    return array + 1.0


def timed_plus_one(array: Array) -> Record:
    start = perf_counter()
    return array + 1.0, start, perf_counter()


def ten(value: int) -> Array:
    return np.full(10 * MB // 8, float(value))


def hundred(value: int) -> Array:
    return np.full(100 * MB // 8, float(value))


def timed_ten(value: int) -> Record:
    start = perf_counter()
    return ten(value), start, perf_counter()


def timed_hundred(value: int) -> Record:
    start = perf_counter()
    return hundred(value), start, perf_counter()
