"""What is known of every task of a run, in columns; floor 1.

A million records cost a few dozen bytes each beyond the user's own results: times stand in arrays,
outcomes in one byte, and what few tasks have (failures, metadata, further attempts) in dicts by id.
Dicts as `get_logs()` gives them are made when somebody asks.
"""

from __future__ import annotations

import bisect
import itertools
import math
import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, TypeAlias

from worker_dispatcher.clock import Anchor
from worker_dispatcher.errors import BookingError, TaskFailure
from worker_dispatcher.named_tuple import NamedTuple

# One byte a task. PENDING: drawn from the list, and has not ended; the only one that may still change.
PENDING, OK, ERROR, TIMEOUT, CRASHED, CANCELLED, NOT_RUN, DROPPED = range(8)
STATUS_NAMES = ("pending", "ok", "error", "timeout", "crashed", "cancelled", "not_run", "dropped")
_WITHOUT_LOG = (PENDING, NOT_RUN, DROPPED)

RESUMED = -1  # in the column of workers: an earlier run had it

# Under these travels with a task's metadata what it printed, and what on_done has added to its log.
OUTPUT, ADDED = "worker_dispatcher.output", "worker_dispatcher.added"

ROUNDING = 1e-6  # seconds: what sums of monotonic times may lack of a due time
_NO_END = 1 << 62  # more tasks than any run will have


# Of a task that has ended ok at once, the rest to be filled in: a copy takes less time than a dict of so many keys.
_PLAIN_LOG: dict[str, Any] = {
    **{"task_id": 0, "started_at": 0.0, "ended_at": 0.0, "duration": 0.0, "result": None, "metadata": None},
    **{"status": STATUS_NAMES[OK], "error": None, "attempts": 1, "worker": None, "pid": None},
}


def unpacked_notes(metadata: dict[Any, Any]) -> tuple[dict[Any, Any], str | None, dict[Any, Any]]:
    """What the task itself noted; what it printed, None where that was not captured; what on_done has added."""
    if OUTPUT not in metadata and ADDED not in metadata:
        return metadata, None, {}
    notes = dict(metadata)
    return notes, notes.pop(OUTPUT, None), notes.pop(ADDED, {})


def phase_of(due: float, measured_from: float, measured_until: float) -> str:
    """Which part of a load a task belongs to, by its due time (monotonic): 'warmup', 'main' or 'cooldown'."""
    if due < measured_from - ROUNDING:
        return "warmup"
    return "cooldown" if due >= measured_until - ROUNDING else "main"


Times: TypeAlias = Sequence[float]
"""Monotonic seconds, one for each task."""

Workers: TypeAlias = int | Sequence[int]
"""The number of the worker that ran some tasks, or one for each task."""


Scheduled: TypeAlias = tuple[float, int] | None
"""Of a task: its due time (monotonic) and its interval; None with fixed workers."""


class Failure(NamedTuple):
    """Why an attempt failed. retry: retry_on allows another; exception: the object itself, where it was kept.
    status: ERROR, TIMEOUT or CRASHED. item: what the task was given; input: that as text, where it may be shown: both
    once the task has failed for good."""

    type: str
    message: str
    traceback: str = ""
    retry: bool = True
    exception: BaseException | None = None
    status: int = ERROR
    item: Any = None
    input: str = ""


class Outcome(NamedTuple):
    """How a task ended for good. started, ended: monotonic seconds, of the last attempt; attempts: how many were made.
    result: of one that is ok; of one that did not run, what it was given."""

    task_id: int
    status: int
    started: float = 0.0
    ended: float = 0.0
    result: Any = None
    failure: Failure | None = None
    worker: int = 0
    attempts: int = 1
    metadata: dict[Any, Any] | None = None


def doubles(values: Sequence[float]) -> array[float]:
    """array("d", values), in two fifths of the time: an array takes from a list one number at a time, and looks at each
    as it would at the arguments of a call."""
    return array("d", struct.pack(f"{len(values)}d", *values))


def attempts_before(started: float, earlier: Sequence[float]) -> list[tuple[float, float]]:
    """(start, end) of each attempt before the one that started then: a run that ends while a task waits for another
    attempt has the last one among the earlier ones, too. earlier: start, end, start, ... in order."""
    return [pair for pair in zip(earlier[::2], earlier[1::2], strict=True) if pair[0] < started]


class Records:
    """The records of one run, by task id. Written by the driving thread only; each task is completed once.

    Any thread may read them meanwhile: `status`, which says how many tasks there are, grows last, and each write is one
    step under the interpreter lock. keeps: what is completed stays readable here.
    """

    keeps = True

    def __init__(self, anchor: Anchor) -> None:
        self.anchor = anchor
        self.status = bytearray()
        self.started = array("d")  # monotonic seconds; of the last attempt
        self.ended = array("d")
        self.worker = array("l")  # number of the worker, from 1; 0 where none
        self.results: list[Any] = []
        self.failures: dict[int, Failure] = {}
        self.attempts: dict[int, int] = {}  # only where more than one
        self.earlier: dict[int, array[float]] = {}  # start, end, start, ... of attempts that failed and had another
        self.retried = self.retries = 0  # tasks of this run that were tried again, and how often all of them
        self.metadata: dict[int, dict[Any, Any]] = {}
        self.captures = False  # each log has an output
        self.pids: dict[int, int] = {}  # worker number -> process id
        self.addresses: Mapping[int, str] | None = None  # worker number -> where it is, of workers on a cluster
        self.completed = 0
        self.outcomes = [0] * len(STATUS_NAMES)  # how many tasks were completed with each status
        self.due = array("d")  # monotonic seconds, NaN where a task has none; empty with fixed workers
        self.resumed = 0  # tasks that ended ok in an earlier run
        self.without_success = 0  # of those that ended ok; counted here only where records are not kept
        self._interval_firsts = array("q")  # id of the first task of each interval that has any
        self._interval_numbers = array("q")
        self.measured_from, self.measured_until = -math.inf, math.inf  # due times that statistics are about
        self.planned_until = math.inf  # when the due times of the whole plan end

    def __len__(self) -> int:
        return len(self.status)

    def draw(self, count: int, dues: array[float] | None = None) -> int:
        """Make room for `count` more tasks; the id of the first. dues: when each is meant to start (monotonic)."""
        first = len(self.status) + 1
        blank = array("d", bytes(8 * count))
        self.started.extend(blank)
        self.ended.extend(blank)
        self.worker.extend(array("l", bytes(array("l").itemsize * count)))
        self.results.extend([None] * count)
        if dues is not None:
            self.due.extend(dues)
        # Last: it says how many there are, and a handler of signals may raise between any two of these lines.
        self.status.extend(bytes(count))
        return first

    def expect_kept(self) -> None:
        """Raises RunError where records are not kept."""

    def room(self) -> int:
        """How many more tasks may be drawn now."""
        return _NO_END

    def complete_run(self, first: int, starts: Times, ends: Times, results: list[Any], worker: Workers) -> None:
        """Complete tasks first, first + 1, ... as ok, a column at a time: no work per task in Python."""
        low, high = first - 1, first - 1 + len(results)
        self._expect_pending(low, high)
        self.started[low:high] = starts if isinstance(starts, array) else doubles(starts)
        self.ended[low:high] = ends if isinstance(ends, array) else doubles(ends)
        workers = array("l", [worker]) * (high - low) if isinstance(worker, int) else array("l", worker)
        self.worker[low:high] = workers
        self.results[low:high] = results
        self.status[low:high] = bytes([OK]) * (high - low)  # last: who reads meanwhile finds what it tells of
        self.completed += high - low
        self.outcomes[OK] += high - low

    def complete_each(
        self, ids: Sequence[int], starts: Times, ends: Times, results: Sequence[Any], worker: Workers
    ) -> None:
        """`complete_run` for tasks that are not neighbours."""
        status, kept, started, ended, numbers = self.status, self.results, self.started, self.ended, self.worker
        workers = [worker] * len(ids) if isinstance(worker, int) else worker
        for task_id, *times, result, number in zip(ids, starts, ends, results, workers, strict=True):
            at = task_id - 1
            if at < 0 or at >= len(status) or status[at]:
                self._expect_pending(at, task_id)
            kept[at], numbers[at] = result, number
            started[at], ended[at] = times
            status[at] = OK
        self.completed += len(ids)
        self.outcomes[OK] += len(ids)

    def set_dues(self, first: int, dues: array[float]) -> None:
        """Say when tasks first, first + 1, ..., drawn before, are meant to start (monotonic)."""
        self.due[first - 1 : first - 1 + len(dues)] = dues

    def complete_resumed(self, first: int, starts: Times, ends: Times, results: list[Any]) -> None:
        """Complete tasks first, first + 1, ... as an earlier run did: as ok. No worker of this run had them."""
        self.complete_run(first, starts, ends, results, RESUMED)
        self.resumed += len(results)

    def complete(self, one: Outcome) -> None:
        """Complete one task, with any status."""
        task_id, status, at = one.task_id, one.status, one.task_id - 1
        self._expect_pending(at, at + 1)
        self.started[at], self.ended[at], self.worker[at] = one.started, one.ended, one.worker
        self._note(one)
        self.results[at] = one.result if status == OK else self._task_failure(task_id, status, one.result)
        self.status[at] = status
        self.completed += 1
        self.outcomes[status] += 1

    def _note(self, one: Outcome) -> None:
        """What few tasks have."""
        if one.failure is not None:
            self.failures[one.task_id] = one.failure
        if one.metadata:
            self.metadata[one.task_id] = one.metadata
        if one.attempts > 1:
            self.note_attempts({one.task_id: one.attempts})

    def note_attempts(self, attempts: dict[int, int]) -> None:
        """How many attempts tasks have had, by id, where more than one."""
        self.attempts.update(attempts)
        self.retried += len(attempts)
        self.retries += sum(attempts.values()) - len(attempts)

    def fail_later(self, task_id: int, failure: Failure) -> None:
        """Turn a task that ended ok into an error: its on_all_done raised."""
        self.outcomes[self.status[task_id - 1]] -= 1
        self.outcomes[ERROR] += 1
        self.status[task_id - 1] = ERROR
        self.failures[task_id] = failure
        self.results[task_id - 1] = self._task_failure(task_id, ERROR)

    def _expect_pending(self, low: int, high: int) -> None:
        if not 0 <= low <= high <= len(self.status):
            raise BookingError(low + 1, f"was never given out; {len(self.status)} tasks were")
        if self.status.count(PENDING, low, high) != high - low:
            at = next(i for i in range(low, high) if self.status[i])
            raise BookingError(at + 1, f"has ended already, as {STATUS_NAMES[self.status[at]]}")

    def _task_failure(self, task_id: int, status: int, item: Any = None) -> TaskFailure:
        """item: of a task that has no failure."""
        attempts, shown = self.attempts.get(task_id, 0 if status in _WITHOUT_LOG else 1), ""
        if (failure := self.failures.get(task_id)) is not None:
            item, shown = failure.item, failure.input
        return TaskFailure(task_id, STATUS_NAMES[status], self._error(task_id), attempts, item, shown)

    def due_of(self, task_id: int) -> float:
        """When a task is meant to start (monotonic); 0 with fixed workers."""
        return self.due[task_id - 1] if self.due else 0.0

    def _error(self, task_id: int) -> dict[str, str] | None:
        if (failure := self.failures.get(task_id)) is None:
            return None
        return {"type": failure.type, "message": failure.message, "traceback": failure.traceback}

    def ids_with(self, status: int) -> list[int]:
        """The ids of tasks with this status, in order. PENDING: of those drawn and not completed."""
        return [i + 1 for i, one in enumerate(self.status) if one == status] if status in self.status else []

    def counts(self) -> dict[str, int]:
        """How many tasks ended in which way, by the status's name. Its cost does not grow with the run."""
        return {name: self.outcomes[code] for code, name in enumerate(STATUS_NAMES) if code != PENDING}

    @property
    def failed(self) -> int:
        """How many tasks ended in an error, by a timeout or a crash."""
        return sum(self.outcomes[ERROR : CRASHED + 1])

    def first_failure(self) -> tuple[int, Failure] | None:
        """The first task, in id order, that failed."""
        first = min(self.failures, default=None)
        return None if first is None else (first, self.failures[first])

    def kept_note(self) -> str:
        """What an error that ends the run says of what was done."""
        done = self.outcomes[OK]
        results = "1 result" if done == 1 else f"{done} results"
        return f"{results} and all logs are kept: worker_dispatcher.get_results(), get_logs()"

    def started_ids(self) -> Iterator[int]:
        """The ids of the tasks that have a log, in order."""
        return (i + 1 for i, status in enumerate(self.status) if status not in _WITHOUT_LOG)

    def log(self, task_id: int) -> dict[str, Any]:
        """One entry of `get_logs()`, made anew at each call."""
        at, worker = task_id - 1, self.worker[task_id - 1]
        row = self.status[at], self.started[at], self.ended[at], self.results[at], worker
        return self._entry(task_id, *row, self._schedule_of(task_id, worker))

    def _schedule_of(self, task_id: int, worker: int) -> Scheduled:
        """worker: that ran it; a task that an earlier run had has no due time in this one."""
        of_this_run = task_id <= len(self.due) and worker != RESUMED
        return (self.due[task_id - 1], self._interval(task_id)) if of_this_run else None

    def _entry(
        self, task_id: int, status: int, started: float, ended: float, result: Any, worker: int, scheduled: Scheduled
    ) -> dict[str, Any]:
        wall, monotonic = self.anchor
        entry = {
            "task_id": task_id,
            "started_at": wall + (started - monotonic),  # as Anchor.wall_at, which would be a call more for each task
            "ended_at": wall + (ended - monotonic),
            "duration": ended - started,
            "result": result,
            "metadata": {},
            "status": STATUS_NAMES[status],
            "error": None,
            "attempts": 1,
            "worker": worker if worker > 0 else None,
            "pid": self.pids.get(worker),
        }
        if self.addresses is not None:
            entry["address"] = self.addresses.get(worker)
        first, added = started, None
        if status != OK or task_id in self.attempts or task_id in self.earlier:
            first = self._tell_attempts(entry, task_id, started)
        if self.captures or task_id in self.metadata:
            added = self._tell_notes(entry, task_id)
        if worker == RESUMED:
            entry["phase"] = "resumed"
        elif scheduled is not None:
            due, interval = scheduled
            entry["scheduled_at"], entry["interval"] = wall + (due - monotonic), interval
            entry["phase"] = phase_of(due, self.measured_from, self.measured_until)
            entry["queue_delay"], entry["response_time"] = first - due, ended - due
        return added | entry if added else entry

    def _more_of(self, task_id: int) -> bool:
        """There may be more to say of a task that ended ok than of most."""
        known = task_id in self.attempts or task_id in self.earlier or task_id in self.metadata
        return known or self.captures or bool(self.due)

    def _tell_attempts(self, entry: dict[str, Any], task_id: int, started: float) -> float:
        """What is told of tasks that failed, for good or at first; when the first attempt started (monotonic)."""
        entry["attempts"], entry["error"] = self.attempts.get(task_id, 1), self._error(task_id)
        earlier = attempts_before(started, self.earlier[task_id]) if task_id in self.earlier else ()
        if earlier:
            entry["earlier_attempts"] = [[self.anchor.wall_at(at) for at in pair] for pair in earlier]
        if (failure := self.failures.get(task_id)) is not None:
            entry |= {"task": failure.item, "input": failure.input}
        return earlier[0][0] if earlier else started

    def _tell_notes(self, entry: dict[str, Any], task_id: int) -> dict[Any, Any] | None:
        """What a task noted and printed; what on_done has added, or None."""
        added, output = None, None
        if (metadata := self.metadata.get(task_id)) is not None:
            entry["metadata"], output, added = unpacked_notes(metadata)
        if self.captures:
            entry["output"] = output or ""
        return added

    def says_more_of(self, keys: Set[str]) -> bool:
        """True if on_done has added any of these keys to a log."""
        return any(not keys.isdisjoint(notes[ADDED]) for notes in self.metadata.values() if ADDED in notes)

    def window(self, now: float | None = None) -> tuple[float, float] | None:
        """From when to when the tasks that statistics are about are planned to be due (monotonic), the latter infinite
        where there is no plan; None if no load has begun. now: it goes on, or was stopped then."""
        if self.measured_from == -math.inf:
            return None
        until = min(self.measured_until, self.planned_until)
        return self.measured_from, until if now is None else min(until, now)

    def open_interval(self, number: int, first: int) -> None:
        """Tasks from this id on belong to interval `number`, up to the next interval's first."""
        self._interval_firsts.append(first)
        self._interval_numbers.append(number)

    def logs(self) -> list[dict[str, Any]]:
        """All entries of `get_logs()`, in id order."""
        return list(self.each_log())

    def each_log(self) -> Iterator[dict[str, Any]]:
        """`logs`, one at a time. Under load each also has `in_flight`: how many tasks ran when it started, itself
        included."""
        due, ids = self.due, list(self.started_ids()) if self.due else []
        starts, ends = (sorted(column[task_id - 1] for task_id in ids) for column in (self.started, self.ended))
        (wall, monotonic), pids, captures, copy = self.anchor, self.pids, self.captures, _PLAIN_LOG.copy
        attempts, earlier, metadata, plain = self.attempts, self.earlier, self.metadata, self.addresses is None
        columns = zip(itertools.count(1), self.status, self.started, self.ended, self.results, self.worker)
        for task_id, status, started, ended, result, worker in columns:
            some = due or captures or attempts or earlier or metadata
            if status == OK and worker > 0 and plain and not (some and self._more_of(task_id)):
                entry = copy()  # as `_entry`, which would take half as long again
                entry["task_id"], entry["duration"] = task_id, ended - started
                entry["started_at"], entry["ended_at"] = wall + (started - monotonic), wall + (ended - monotonic)
                entry["result"], entry["metadata"] = result, {}
                entry["worker"], entry["pid"] = worker, pids.get(worker)
                yield entry
            elif status not in _WITHOUT_LOG:
                scheduled = self._schedule_of(task_id, worker) if due else None
                entry = self._entry(task_id, status, started, ended, result, worker, scheduled)
                if scheduled is not None:
                    entry["in_flight"] = bisect.bisect_right(starts, started) - bisect.bisect_left(ends, started)
                yield entry

    def dropped(self) -> list[dict[str, Any]]:
        """The tasks that were due while all workers were busy, and never ran, in id order."""
        ids = self.ids_with(DROPPED)
        return [self._scheduled(task_id, self.due[task_id - 1], self._interval(task_id)) for task_id in ids]

    def _interval(self, task_id: int) -> int:
        return self._interval_numbers[bisect.bisect_right(self._interval_firsts, task_id) - 1]

    def _scheduled(self, task_id: int, due: float, interval: int) -> dict[str, Any]:
        """When a task was meant to start."""
        return {
            "task_id": task_id,
            "scheduled_at": self.anchor.wall_at(due),
            "interval": interval,
            "phase": phase_of(due, self.measured_from, self.measured_until),
        }
