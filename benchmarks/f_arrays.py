"""F. How fast do numpy arrays travel: 10 and 100 MB per task, in and out, and results only, 4 processes?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import floor, harness, rivals
from benchmarks.arrays import MB, Array, hundred, plus_one, ten, timed_hundred, timed_plus_one, timed_ten
from benchmarks.goals import Goal


def check_plus_one(items: Sequence[Array], results: Sequence[Array]) -> None:
    for index, array in enumerate(results):
        assert_all(array, index + 1.0, items[index].nbytes)


def check_made(size: int) -> Callable[[Sequence[int], Sequence[Array]], None]:
    def check(items: Sequence[int], results: Sequence[Array]) -> None:
        for value, array in zip(items, results, strict=True):
            assert_all(array, float(value), size)

    return check


def assert_all(array: Array, value: float, size_bytes: int) -> None:
    """Reads all of it: a page that was mapped but never touched has not arrived."""
    assert array.nbytes == size_bytes
    assert array.sum() == value * len(array)


def arrays_of(size: int) -> Callable[[int], list[Array]]:
    return lambda count: [np.full(size // 8, float(index)) for index in range(count)]


def in_and_out(items: Sequence[Array], seconds: float) -> dict[str, float]:
    return {"gb_per_second": 2 * sum(array.nbytes for array in items) / seconds / 1e9}


def out_only(size: int) -> Callable[[Sequence[int], float], dict[str, float]]:
    return lambda items, seconds: {"gb_per_second": size * len(items) / seconds / 1e9}


def goals(times: float) -> tuple[Goal, ...]:
    return (Goal(times=times, than="ProcessPoolExecutor (default)"), Goal(times=1, than="ray (default)"))


def in_place(case: harness.Case, items: Sequence[Any], chunk: int | None) -> list[harness.Record]:
    """The same tasks in threads: nothing travels."""
    return floor.run_in_threads(case.timed, items, case.workers, batch=1)


def moved(name: str, count: int, size: int) -> harness.Case:
    return harness.Case(
        name,
        count,
        plus_one,
        timed_plus_one,
        arrays_of(size),
        check_plus_one,
        in_and_out,
        "gb_per_second",
        higher_is_better=True,
        goals=goals(3),
    )


def made(name: str, count: int, size: int) -> harness.Case:
    return harness.Case(
        name,
        count,
        ten if size == 10 * MB else hundred,
        timed_ten if size == 10 * MB else timed_hundred,
        range,
        check_made(size),
        out_only(size),
        "gb_per_second",
        higher_is_better=True,
        goals=goals(5),
    )


# No tuned rivals: one array a message is the best there is, and the default of nearly everybody.
ROW = harness.Row(
    str(__doc__),
    (
        moved("40 x 10 MB in and out", 40, 10 * MB),
        moved("8 x 100 MB in and out", 8, 100 * MB),
        made("40 x 10 MB results only", 40, 10 * MB),
        made("8 x 100 MB results only", 8, 100 * MB),
    ),
    (rivals.OURS, harness.Contestant("floor", "floor", in_place), *rivals.DEFAULTS),
)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.f_arrays"))
