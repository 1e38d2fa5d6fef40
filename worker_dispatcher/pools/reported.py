"""A report of a worker process as its pool reads it; reporting.py writes it."""

from __future__ import annotations

import marshal
import pickle
from array import array
from collections.abc import Callable
from typing import Any

from worker_dispatcher.execute import describe, guarded
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.osproc.channel import Frame
from worker_dispatcher.wire import from_parts, unpack

__all__ = ["Report"]


class Report(NamedTuple):
    """The columns of a REPORT frame, in order of seq. runs: (seq, how many) of neighbours; failures, metadata: by
    place; numbers: of the worker of all, or of each."""

    runs: list[tuple[int, int]]
    starts: array[float]
    ends: array[float]
    results: list[Any]
    failures: dict[int, tuple[Any, ...]]
    metadata: dict[int, Any]
    numbers: int | list[int]

    @staticmethod
    def of(frame: Frame, number: int) -> Report:
        """number: of the worker's first slot. Runs user code: results are loaded."""
        runs, slots, *times, results, failures, heads, packed = marshal.loads(frame.parts[0])
        numbers = number + slots if isinstance(slots, int) else [number + slot for slot in slots]
        starts, ends = (array("d", column) for column in times)
        report = Report(runs, starts, ends, results, failures, {}, numbers)
        for at in heads:
            report._load(at, pickle.loads, results[at])
        for nth, at in enumerate(packed):
            report._load(at, _unpacked, frame.parts[1 + 3 * nth : 4 + 3 * nth], frame.fds)
        return report

    def _load(self, at: int, load: Callable[..., Any], *packed: Any) -> None:
        """Put what load(*packed) gives, a result and its metadata, in their place; or the failure to load them."""
        value, error = guarded(load, *packed)
        if error is None:
            self.results[at], self.metadata[at] = value
            return
        self.results[at] = None
        if at not in self.failures:
            type_name, message, traceback = describe(error)
            text = f"the result cannot be loaded in the parent process: {message}"
            self.failures[at] = (type_name, text, traceback)
        del error  # it holds this frame, and would hold itself


def _unpacked(parts: list[memoryview], fds: list[int]) -> Any:
    return unpack(*from_parts(parts, fds))
