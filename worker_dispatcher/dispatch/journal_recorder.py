"""The sink of a run with a journal: nobody hears that a task has ended before its record is durable."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from worker_dispatcher.clock import now, thread_time
from worker_dispatcher.dispatch.plan import Plan
from worker_dispatcher.dispatch.recorder import Recorder, nobody
from worker_dispatcher.errors import JournalError
from worker_dispatcher.pools.base import ONE_BY_ONE_FROM, BatchDone
from worker_dispatcher.records import OK, Outcome, Records
from worker_dispatcher.tracebacks import part_from_frames

if TYPE_CHECKING:
    from worker_dispatcher.journal.journal import Journal

_REST = 10  # times the processor time of a commit until the next: they take a tenth of the driver's at most

_Entry: TypeAlias = "tuple[BatchDone, dict[int, int]] | Outcome"


class JournalRecorder(Recorder):
    """A Recorder that writes to a journal first: a task is completed, and told of, once its record is durable.

    Where the journal fails, `error` says why. What has ended by then, and what ends while the run is stopped, is
    completed all the same, for it did end; but nobody who follows the run is told, since it will run again.
    due: when `look` has something to commit, or an error to tell of (monotonic).
    """

    def __init__(self, records: Records, plan: Plan, journal: Journal) -> None:
        super().__init__(records, plan)
        self._journal, self.due = journal, math.inf
        journal.earlier, journal.pids = records.earlier, records.pids
        self._entries: list[_Entry] = []
        self._rested = 0.0  # when the next commit may be, for the time that the last one took

    def begin_load(self, max_workers: int | None) -> None:
        from worker_dispatcher.journal.row_format import LoadFacts

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

    def commit(self) -> None:
        if not self._entries:
            return
        at = thread_time()  # to wait for a disk, or for a processor, takes nothing from the workers
        self._attempt(self._journal.commit)
        self._rested = now() + _REST * (thread_time() - at)
        self._complete_entries()

    def look(self) -> str | None:
        self.commit()
        return None if self.error is None else "journal"

    def close(self) -> None:
        self.commit()
        try:
            self._journal.close()
        except JournalError as error:
            self.error = self.error or error

    def _record_batch(self, event: BatchDone, attempts: dict[int, int]) -> Mapping[int, BaseException]:
        refused: dict[int, BaseException] = {}
        for part in event.runs():
            tried = {one: attempts[one] for one in part.task_ids if one in attempts}
            columns = part.first, part.starts, part.ends, part.results, part.worker, part.metadata, tried
            if self._attempt(self._journal.record_run, *columns) is not False:
                self._enter((part, tried), len(part.results), part.ends[-1] - part.starts[-1])
                continue
            for outcome in _one_by_one(part, tried):
                if (error := self._record(outcome)) is not None:
                    refused[outcome.task_id] = error
        return refused

    def _record(self, outcome: Outcome) -> BaseException | None:
        refused: BaseException | None = self._attempt(self._journal.record_one, outcome)
        if refused is None:
            self._enter(outcome, 1, outcome.ended - outcome.started)
        return refused

    def _enter(self, entry: _Entry, count: int, took: float) -> None:
        self._entries.append(entry)
        self.pending += count
        if self.error is not None:
            self._complete_entries()
            return
        # At once if the last commit is long ago: what is not durable when this process dies runs again. And before its
        # worker is given another task, if it took long.
        soon = now() if took >= ONE_BY_ONE_FROM else self._rested
        self.due = min(self.due, soon, self._journal.due)

    def _complete_entries(self) -> None:
        entries, self._entries = self._entries, []
        self.pending, self.due = 0, math.inf if self.error is None else 0.0
        for entry in entries:
            if isinstance(entry, Outcome):
                self.complete(entry)
            else:
                self._complete_batch(*entry)

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
            self._complete_entries()
            return None


def _one_by_one(event: BatchDone, attempts: Mapping[int, int]) -> Iterator[Outcome]:
    """The tasks of a run of neighbours."""
    for nth, result in enumerate(event.results):
        task_id, started, ended = event.first + nth, event.starts[nth], event.ends[nth]
        worker = event.worker if isinstance(event.worker, int) else event.worker[nth]
        tried, notes = attempts.get(task_id, 1), event.metadata.get(task_id)
        yield Outcome(task_id, OK, started, ended, result, None, worker, tried, notes)
