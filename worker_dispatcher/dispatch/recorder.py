"""The sink of a run: what has ended is booked and counted, until too much has failed."""

from __future__ import annotations

from typing import Any

from worker_dispatcher.dispatch.books import Books, Outcome
from worker_dispatcher.dispatch.plan import Plan
from worker_dispatcher.dispatch.stops import cut_short
from worker_dispatcher.execute import failure_from
from worker_dispatcher.pools.base import AttemptDone, Batch, BatchDone
from worker_dispatcher.records import CANCELLED, OK, Failure

__all__ = ["Recorder"]


class Recorder:
    """Writes in the books how tasks ended. Used by the driver's thread.

    allowed: how many tasks may fail before the run is stopped. last_failed: the task that stopped it and how many
    attempts it had, or None. why_broken: the pool cannot go on, or None.
    why: the run was stopped, for what is said of the tasks that ran then.
    """

    def __init__(self, books: Books, plan: Plan, allowed: float) -> None:
        self._books, self._plan, self._allowed = books, plan, allowed
        self._failed = 0
        self.last_failed: tuple[AttemptDone, int] | None = None
        self.why_broken: BaseException | None = None
        self.why = "cancel"

    def finished(self, event: BatchDone, attempts: dict[int, int]) -> str | None:
        why = None
        for task_id, error in self._books.run(event, attempts).items():
            at = event.task_ids.index(task_id)
            worker = event.worker if isinstance(event.worker, int) else event.worker[at]
            one = AttemptDone(Batch(task_id, (None,)), event.starts[at], event.ends[at], None, None, None, worker)
            why = self._cannot_keep(one, attempts.get(task_id, 1), error) or why
        return why

    def ended(self, event: AttemptDone, attempts: int) -> str | None:
        failure = event.failure
        if failure is not None and failure.status == CANCELLED:
            failure = cut_short(self.why)
        kept = None if failure is None else self._kept(failure, event.item)
        # What cannot be sent or loaded fails while it is made ready, ahead of its time: it counts as failed then.
        due = self._books.records.due_of(event.task_id)
        outcome = Outcome(
            event.task_id,
            OK if failure is None else failure.status,
            max(event.started, due),
            max(event.ended, due),
            event.result,
            kept,
            event.worker,
            attempts,
            event.metadata,
        )
        if (refused := self._books.one(outcome)) is not None:
            return self._cannot_keep(event._replace(metadata=None), attempts, refused)
        return None if failure is None or failure.status == CANCELLED else self._count(event, attempts)

    def broken(self, error: BaseException) -> str:
        self.why_broken = self.why_broken or error  # the first one says why
        return "exception"

    def _count(self, event: AttemptDone, attempts: int) -> str | None:
        self._failed += 1
        if self._failed < self._allowed or self.last_failed is not None:
            return None
        self.last_failed = event, attempts
        return "failures"

    def _cannot_keep(self, event: AttemptDone, attempts: int, error: BaseException) -> str | None:
        """What a task that ended ok has to keep cannot be written to the journal: that is the task's error."""
        failure = failure_from(self._plan.setup.call, error)
        text = f"the result or its metadata cannot be kept in the journal: {failure.message}"
        return self.ended(event._replace(result=None, failure=failure._replace(message=text)), attempts)

    def _kept(self, failure: Failure, item: Any) -> Failure:
        return failure._replace(exception=None, item=item, input=self._plan.input_of(item))
