"""The sink of a run: how tasks ended is written in the records and counted, until too much has failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from worker_dispatcher.dispatch.failures import cut_short
from worker_dispatcher.dispatch.plan import Plan
from worker_dispatcher.errors import JournalError
from worker_dispatcher.execute import failure_from
from worker_dispatcher.pools.base import AttemptDone, Batch, BatchDone, neighbours
from worker_dispatcher.records import CANCELLED, OK, Outcome, Records


class Recorder:
    """Records how tasks end. Used by the driver's thread.

    last_failed: the task at which the run was stopped, since no more may fail, and how many attempts it had, or None.
    why_broken: the pool cannot go on, or None.
    why: the run was stopped, for what is said of the tasks that ran then.
    tell: is called with the first id and the number of tasks that have ended, run by run; `nobody` where none follows.
    pending: tasks that have ended, and are not in the records before `commit`; error: why nothing more can be recorded,
    or None. Without a journal neither occurs.
    """

    pending: int = 0
    error: JournalError | None = None

    def __init__(self, records: Records, plan: Plan) -> None:
        self.records, self._plan = records, plan
        self._failed = 0
        self.last_failed: tuple[AttemptDone, int] | None = None
        self.why_broken: BaseException | None = None
        self.why = "cancel"
        self.tell: Callable[[int, int], None] = nobody

    def finished(self, event: BatchDone, attempts: dict[int, int]) -> str | None:
        why = None
        for task_id, error in self._record_batch(event, attempts).items():
            at = event.task_ids.index(task_id)
            worker = event.worker if isinstance(event.worker, int) else event.worker[at]
            one = AttemptDone(Batch(task_id, (None,)), event.starts[at], event.ends[at], None, None, None, worker)
            why = self._cannot_keep(one, attempts.get(task_id, 1), error) or why
        return why

    def ended(self, event: AttemptDone, attempts: int) -> str | None:
        failure = event.failure
        if failure is not None and failure.status == CANCELLED:
            failure = cut_short(self.why)
        if failure is not None:
            shown = self._plan.input_of(event.item)
            failure = failure._replace(exception=None, item=event.item, input=shown)
        # What cannot be sent or loaded fails while it is made ready, ahead of its time: it counts as failed then.
        due = self.records.due_of(event.task_id)
        started, ended = max(event.started, due), max(event.ended, due)
        status = OK if failure is None else failure.status
        result, metadata = event.result, event.metadata
        refused = self._record(
            Outcome(event.task_id, status, started, ended, result, failure, event.worker, attempts, metadata)
        )
        if refused is not None:
            return self._cannot_keep(event._replace(metadata=None), attempts, refused)
        return None if status in (OK, CANCELLED) else self._count(event, attempts)

    def broken(self, error: BaseException) -> str:
        self.why_broken = self.why_broken or error  # the first one says why
        return "exception"

    def complete(self, outcome: Outcome) -> None:
        """Complete a task in the records, and tell of it: also one that has not run, which no journal records."""
        self.records.complete(outcome)
        self.tell(outcome.task_id, 1)

    def begin_load(self, max_workers: int | None) -> None:
        """The time of a load has begun, so that its due times are known from now on."""

    def commit(self) -> None:
        """Complete what is pending. Raises nothing: see `error`."""

    def close(self) -> None:
        """Commit, and let the journal go. Idempotent; raises nothing."""

    def _count(self, event: AttemptDone, attempts: int) -> str | None:
        self._failed += 1
        if self._failed < self._plan.allowed or self.last_failed is not None:
            return None
        self.last_failed = event, attempts
        return "failures"

    def _cannot_keep(self, event: AttemptDone, attempts: int, error: BaseException) -> str | None:
        """What a task that ended ok has to keep cannot be written to the journal: that is the task's error."""
        failure = failure_from(self._plan.setup.call, error)
        text = f"the result or its metadata cannot be kept in the journal: {failure.message}"
        return self.ended(event._replace(result=None, failure=failure._replace(message=text)), attempts)

    def _record_batch(self, event: BatchDone, attempts: dict[int, int]) -> Mapping[int, BaseException]:
        """Record tasks that ended ok. attempts: by id, where more than one. Returns those that are not recorded, each
        with what is wrong with its result."""
        self._complete_batch(event, attempts)
        return {}

    def _record(self, outcome: Outcome) -> BaseException | None:
        """Record one task. Returns what is wrong with its result, if it is not recorded for that reason."""
        self.complete(outcome)
        return None

    def _complete_batch(self, event: BatchDone, attempts: dict[int, int]) -> None:
        records, columns = self.records, (event.starts, event.ends, event.results, event.worker)
        if event.metadata:
            records.metadata.update(event.metadata)
        if attempts:
            records.note_attempts(attempts)
        if event.ids is None:
            records.complete_run(event.first, *columns)
            self.tell(event.first, len(event.results))
        else:
            records.complete_each(event.ids, *columns)
            for first, count in neighbours(event.ids):
                self.tell(first, count)


def nobody(first: int, count: int) -> None:
    """Nobody follows."""
