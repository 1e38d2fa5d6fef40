"""Where outcomes are booked: in the records, and in the journal before anybody hears of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from worker_dispatcher.clock import now, thread_time
from worker_dispatcher.errors import JournalError
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.pools.base import ONE_BY_ONE_FROM, BatchDone, neighbours
from worker_dispatcher.records import Failure, Records
from worker_dispatcher.tracebacks import part_from_frames

if TYPE_CHECKING:
    from worker_dispatcher.journal import Journal

__all__ = ["Books", "JournalBooks", "Outcome", "nobody"]

_REST = 10  # times the processor time of a commit until the next: they take a tenth of the driver's at most


class Outcome(NamedTuple):
    """How a task ended for good. started, ended: monotonic seconds; attempts: how many were made."""

    task_id: int
    status: int
    started: float
    ended: float
    result: Any
    failure: Failure | None
    worker: int
    attempts: int
    metadata: dict[Any, Any] | None


class Books:
    """The records alone: what is booked is known at once. Used by the driver's thread.

    tell: is called with the first id and the number of tasks that have ended, run by run; `nobody` where none follows.
    pending: tasks that are booked, and not completed before `commit`; error: why the run cannot go on, or None.
    """

    pending: int = 0
    error: JournalError | None = None

    def __init__(self, records: Records) -> None:
        self.records = records
        self.tell: Callable[[int, int], None] = nobody

    def run(self, event: BatchDone, attempts: dict[int, int]) -> Mapping[int, BaseException]:
        """Book tasks that ended ok. attempts: by id, where more than one. Returns those that are not booked, each with
        what is wrong with its result."""
        self._settle_run(event, attempts)
        return {}

    def one(self, outcome: Outcome) -> BaseException | None:
        """Book one task. Returns what is wrong with its result, if it is not booked for that reason."""
        self._settle_one(outcome)
        return None

    def begin_load(self, max_workers: int | None) -> None:
        """The time of a load has begun, so that its due times are known from now on."""

    def leave_out(self, task_id: int, status: int, item: Any = None) -> None:
        """Settle a task that has not run: NOT_RUN or DROPPED."""
        self.records.complete(task_id, status, 0.0, 0.0, result=item)
        self.tell(task_id, 1)

    def commit(self) -> None:
        """Settle what is pending. Raises nothing: see `error`."""

    def close(self) -> None:
        """Commit, and let the journal go. Idempotent; raises nothing."""

    def _settle_run(self, event: BatchDone, attempts: dict[int, int]) -> None:
        if event.metadata:
            self.records.metadata.update(event.metadata)
        if attempts:
            self._note(attempts)
        columns = event.starts, event.ends, event.results, event.worker
        if event.ids is None:
            self.records.complete_run(event.first, *columns)
            self.tell(event.first, len(event.results))
        else:
            self.records.complete_each(event.ids, *columns)
            for first, count in neighbours(event.ids):
                self.tell(first, count)

    def _note(self, attempts: dict[int, int]) -> None:
        self.records.attempts.update(attempts)
        self.records.retried += len(attempts)
        self.records.retries += sum(attempts.values()) - len(attempts)

    def _settle_one(self, one: Outcome) -> None:
        if one.metadata:
            self.records.metadata[one.task_id] = one.metadata
        if one.attempts > 1:
            self._note({one.task_id: one.attempts})
        self.records.complete(
            one.task_id, one.status, one.started, one.ended, result=one.result, failure=one.failure, worker=one.worker
        )
        self.tell(one.task_id, 1)


class JournalBooks(Books):
    """The records, and a journal first: a task is completed, and told of, once its record is durable.

    Where the journal fails, `error` says why. What has ended by then, and what ends while the run is stopped, is
    completed all the same, for it did end; but nobody who follows the run is told, since it will run again.
    due: when `look` has something to commit, or an error to tell of (monotonic).
    """

    def __init__(self, records: Records, journal: Journal) -> None:
        super().__init__(records)
        self._journal, self.due = journal, math.inf
        journal.earlier = records.earlier
        journal.pids = records.pids
        self._entries: list[tuple[BatchDone, dict[int, int]] | Outcome] = []
        self._rested = 0.0  # when the next commit may be, for the time that the last one took

    def begin_load(self, max_workers: int | None) -> None:
        from worker_dispatcher.journal import LoadFacts

        self._journal.dues = self.records.due  # grows with the records
        self._journal.load = LoadFacts(max_workers or 0, *(self.records.window() or (0.0, math.inf)))

    @property
    def last_id(self) -> int:
        """The highest task id that the journal knows from earlier runs."""
        return self._journal.last_id

    def expect(self, total: int) -> None:
        """The list has so many tasks; see `error`."""
        self._attempt(self._journal.expect, total)

    def recall(self, first: int, items: Sequence[Any]) -> list[tuple[int, Sequence[Any]]]:
        """Take in tasks that were drawn, complete those that ended ok in an earlier run; (id of the first, items) of
        the others."""
        missing, at = [], 0
        for one in self._attempt(self._journal.seen, first, items) or ():
            low = one.first - first
            if low > at:
                missing.append((first + at, items[at:low]))
            at = low + len(one.results)
            self.records.complete_resumed(one.first, one.starts, one.ends, one.results)
            self.records.metadata.update(one.metadata)
            self.records.attempts.update(one.attempts)
            self.records.earlier.update(one.earlier)
            self.tell(one.first, len(one.results))
        if at < len(items):
            missing.append((first + at, items[at:]))
        return missing

    def run(self, event: BatchDone, attempts: dict[int, int]) -> Mapping[int, BaseException]:
        refused: dict[int, BaseException] = {}
        for part in event.runs():
            refused |= self._run(part, {one: attempts[one] for one in part.task_ids if one in attempts})
        return refused

    def _run(self, event: BatchDone, attempts: dict[int, int]) -> dict[int, BaseException]:
        columns = event.first, event.starts, event.ends, event.results, event.worker, event.metadata, attempts
        refused: dict[int, BaseException] = self._attempt(self._journal.record_run, *columns) or {}
        for part in _without(event, refused) if refused else (event,):
            self._enter((part, attempts), len(part.results), part.ends[-1] - part.starts[-1])
        return refused

    def one(self, outcome: Outcome) -> BaseException | None:
        task_id, status, started, ended, result, failure, worker, attempts, metadata = outcome

        def record() -> BaseException | None:
            return self._journal.record_one(
                task_id,
                status,
                started,
                ended,
                result=result,
                failure=failure,
                worker=worker,
                attempts=attempts,
                metadata=metadata,
            )

        refused: BaseException | None = self._attempt(record)
        if refused is None:
            self._enter(outcome, 1, ended - started)
        return refused

    def _enter(self, entry: tuple[BatchDone, dict[int, int]] | Outcome, count: int, took: float) -> None:
        self._entries.append(entry)
        self.pending += count
        if self.error is not None:
            self._settle_entries()
            return
        # At once if the last commit is long ago: what is not durable when this process dies runs again. And before its
        # worker is given another task, if it took long.
        soon = now() if took >= ONE_BY_ONE_FROM else self._rested
        self.due = min(self.due, soon, self._journal.due)

    def commit(self) -> None:
        if not self._entries:
            return
        at = thread_time()  # to wait for a disk, or for a processor, takes nothing from the workers
        self._attempt(self._journal.commit)
        self._rested = now() + _REST * (thread_time() - at)
        self._settle_entries()

    def look(self) -> str | None:
        self.commit()
        return None if self.error is None else "journal"

    def _settle_entries(self) -> None:
        entries, self._entries = self._entries, []
        self.pending, self.due = 0, math.inf if self.error is None else 0.0
        for entry in entries:
            if isinstance(entry, Outcome):
                self._settle_one(entry)
            else:
                self._settle_run(*entry)

    def _attempt(self, act: Callable[..., Any], *arguments: Any) -> Any:
        """What the journal answers; None once it has failed."""
        if self.error is not None:
            return None
        try:
            return act(*arguments)
        except JournalError as error:
            self.error = error
            part_from_frames(error)
            self.tell = nobody
            self._settle_entries()
            return None

    def close(self) -> None:
        self.commit()
        try:
            self._journal.close()
        except JournalError as error:
            self.error = self.error or error


def nobody(first: int, count: int) -> None:
    """Nobody follows."""


def _without(event: BatchDone, refused: Mapping[int, BaseException]) -> Iterator[BatchDone]:
    """The tasks of a run, one by one, less those that are refused."""
    for nth, result in enumerate(event.results):
        task_id = event.first + nth
        if task_id not in refused:
            notes = {task_id: event.metadata[task_id]} if task_id in event.metadata else {}
            worker = event.worker if isinstance(event.worker, int) else event.worker[nth]
            starts, ends = event.starts[nth : nth + 1], event.ends[nth : nth + 1]
            yield BatchDone(task_id, starts, ends, [result], notes, worker)
