"""A report of a worker process as its pool reads it; reporting.py writes it."""

from __future__ import annotations

import marshal
import pickle
from array import array
from collections.abc import Callable
from typing import Any

from worker_dispatcher.execute import catch, describe
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.osproc.channel import Frame
from worker_dispatcher.pools.base import AttemptDone, BatchDone, Event
from worker_dispatcher.pools.in_flight import InFlight
from worker_dispatcher.records import Failure
from worker_dispatcher.wire import from_parts, unpack

__all__ = ["Report", "one_ended"]


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

    def settle(self, held: InFlight) -> tuple[list[Event], dict[int, AttemptDone]]:
        """(what has ended, the failed tasks whose exception objects come in frames of their own, by seq), out of what
        the worker holds."""
        runs, failures = self.runs, self.failures
        if not failures and len(runs) > 1 and (taken := held.take_ids(runs)) is not None:
            ids, call = taken
            notes = {ids[at]: found for at, found in self.metadata.items() if found}
            columns = self.starts, self.ends, self.results
            return [BatchDone(ids[0], *columns, notes, self.numbers, ids, call)], {}
        events: list[Event] = []
        failed: dict[int, AttemptDone] = {}
        low = 0
        for seq, count in runs:
            if failures and any(at in failures for at in range(low, low + count)):
                for at in range(low, low + count):
                    events += self._one(held, seq + at - low, at, failed)
            else:
                events += self._run(held, seq, low, count)
            low += count
        return events, failed

    def _one(self, held: InFlight, seq: int, at: int, failed: dict[int, AttemptDone]) -> list[Event]:
        """The task of a seq, which stands at a place in the columns."""
        failure, follows = None, False  # follows: its exception object, in a frame of its own
        if at in self.failures:
            failure = Failure(*self.failures[at])
            failure, follows = failure._replace(exception=None), bool(failure.exception)
        events: list[Event] = []
        for piece in held.take(seq, seq + 1):
            number = self.numbers if isinstance(self.numbers, int) else self.numbers[at]
            times, notes = (self.starts[at], self.ends[at]), self.metadata.get(at)
            ended = AttemptDone(piece.tasks(), *times, self.results[at], failure, notes, number)
            if follows:
                failed[seq] = ended
            else:
                events.append(ended)
        return events

    def _run(self, held: InFlight, seq: int, low: int, count: int) -> list[Event]:
        """`count` tasks from a seq on, which stand from a place on in the columns; all ended ok."""
        events: list[Event] = []
        for piece in held.take(seq, seq + count):
            a, b = low + piece.seq - seq, low + piece.end - seq
            notes = {
                piece.first_id + at - a: self.metadata[at]
                for at in (range(a, b) if self.metadata else ())
                if self.metadata.get(at)
            }
            starts, ends, results = self.starts, self.ends, self.results
            if a or b < len(results):
                starts, ends, results = starts[a:b], ends[a:b], results[a:b]
            numbers = self.numbers if isinstance(self.numbers, int) else self.numbers[a:b]
            events.append(BatchDone(piece.first_id, starts, ends, results, notes, numbers, None, piece.batch.call))
        return events

    def _load(self, at: int, load: Callable[..., Any], *packed: Any) -> None:
        """Put what load(*packed) gives, a result and its metadata, in their place; or the failure to load them."""
        value, error = catch(load, *packed)
        if error is None:
            self.results[at], self.metadata[at] = value
            return
        self.results[at] = None
        if at not in self.failures:
            type_name, message, traceback = describe(error)
            text = f"the result cannot be loaded in the parent process: {message}"
            self.failures[at] = (type_name, text, traceback)
        del error  # it holds this frame, and would hold itself


def one_ended(frame: Frame, held: InFlight, number: int) -> list[Event]:
    """What an ENDED frame tells. number: of the worker's first slot."""
    seq, slot, started, ended, result = marshal.loads(frame.parts[0])
    task = held.take_one(seq)
    if task is None:
        return []
    return [BatchDone(task.first, (started,), (ended,), [result], {}, number + slot, None, task.call)]


def _unpacked(parts: list[memoryview], fds: list[int]) -> Any:
    return unpack(*from_parts(parts, fds))
