"""Tasks that take and make arrays. Light to load, as workers load it."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

MB = 1_000_000
PARTS = 40
Array = np.ndarray[Any, np.dtype[np.float64]]
Record = tuple[Array, float, float]
KEPT: list[Array] = []


def plus_one(array: Array) -> Array:
    return array + 1.0


def timed_plus_one(array: Array) -> Record:
    start = perf_counter()
    return array + 1.0, start, perf_counter()


def sum_of_part(config: Array, task: int) -> float:
    """The sum of the task's share of a large array: one of PARTS equal parts."""
    size = len(config) // PARTS
    return float(config[task * size : (task + 1) * size].sum())


def timed_sum_of_part(array: Array, number: int) -> tuple[float, float, float]:
    start = perf_counter()
    return sum_of_part(array, number), start, perf_counter()


def keep(array: Array) -> None:
    """Initializer of a process that gets the array once."""
    KEPT[:] = [array]


def timed_sum_of_kept(number: int) -> tuple[float, float, float]:
    return timed_sum_of_part(KEPT[0], number)


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
