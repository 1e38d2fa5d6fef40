"""What is made of a failed task: another attempt, or the exception that ends its run; and of one that ran when a run
ended early."""

from __future__ import annotations

from array import array
from collections.abc import Mapping

from worker_dispatcher.dispatch.plan import Plan
from worker_dispatcher.errors import RemoteTraceback, TaskError, TaskTimeout
from worker_dispatcher.execute import describe, failure_from
from worker_dispatcher.pools.base import AttemptDone, Pool
from worker_dispatcher.records import CANCELLED, CRASHED, ERROR, TIMEOUT, Failure, Records

# Why a run may end early, and what is said of the tasks that were running then.
_TYPES = {"runtime": "RuntimeLimit", "interrupt": "Interrupted"}  # any other: RunStopped
_TEXTS = {
    "runtime": "was running when the runtime of the run was over",
    "interrupt": "was running when the run was interrupted",
    "failures": "was running when the run was stopped because other tasks had failed",
    "exception": "was running when an exception ended the run",
    "cancel": "was running when the run was cancelled",
    "abort": "was running when a check of abort_on came true",
    "journal": "was running when the run was stopped because its journal could not be used any further",
}


def cut_short(why: str) -> Failure:
    """The failure of a task that ran when its run ended early."""
    return Failure(_TYPES.get(why, "RunStopped"), f"the task {_TEXTS[why]}", status=CANCELLED)


def goes_on_from(journal: str) -> str:
    """What to do after a run with a journal has ended early."""
    return f"{journal} has what was done: run it again to go on"


class TaskRetries:
    """The retries of a run: as many as `task.retries` says, for what `task.retry_on` lets be tried again. The records
    keep when the attempts before the last one were."""

    def __init__(self, plan: Plan, records: Records) -> None:
        self._plan, self._records = plan, records

    def wait(self, event: AttemptDone, attempts: int) -> float | None:
        if not self._plan.retry.again(attempts) or not self._may(event):
            return None
        due = self._records.due_of(event.task_id)  # what fails ahead of its time counts as failed then
        spans = self._records.earlier.setdefault(event.task_id, array("d"))
        spans.extend((max(event.started, due), max(event.ended, due)))
        return self._plan.retry.backoff.wait(attempts)

    def _may(self, event: AttemptDone) -> bool:
        """What retry_on says: of an error in the worker, where the exception was; of a timeout or a death, here."""
        assert event.failure is not None
        if event.failure.status == ERROR:
            return event.failure.retry
        return failure_from(self._plan.setup.call, _stand_in(event)).retry


def _stand_in(event: AttemptDone, worker: int | None = None) -> BaseException:
    """The exception that stands for a timeout or a death. worker: the process's number, where it has one."""
    assert event.failure is not None
    if event.failure.status == TIMEOUT:
        return TaskTimeout(event.task_id, event.batch.timeout or 0.0)
    from worker_dispatcher.worker_died import WorkerDied

    return WorkerDied(event.task_id, event.failure.message.removeprefix("its worker process "), worker)


def final_exception(
    event: AttemptDone, attempts: int, pool: Pool, plan: Plan, records: Records, total: int | None
) -> BaseException:
    """The exception of the task that ends a run, with notes on where and when, and its remote traceback. attempts: how
    many were made; total: tasks, None if unknown."""
    failure = event.failure
    assert failure is not None
    error = failure.exception
    if failure.status in (TIMEOUT, CRASHED):
        error = _stand_in(event, None if plan.shape.has_threads else event.worker)
    elif error is None:
        error = TaskError(event.task_id, failure.type, failure.message, failure.traceback)
    own_text = describe(error)[1]
    if failure.status == ERROR and failure.message != own_text and failure.message.endswith(own_text):
        error.add_note("  " + failure.message.removesuffix(own_text).rstrip(": "))  # its item or result, on the way
    error.add_note("  " + _circumstances(event, attempts, pool, plan, records.pids, total))
    error.add_note("  " + records.kept_note())
    if failure.traceback and pool.apart and error.__cause__ is None:
        error.__cause__ = RemoteTraceback(failure.traceback)
    return error


def _circumstances(
    event: AttemptDone, attempts: int, pool: Pool, plan: Plan, pids: Mapping[int, int], total: int | None
) -> str:
    """Which task it was, what became of it where, and its input where that is a text or a number."""
    said = f"task #{event.task_id}" + ("" if total is None else f" of {total}") + f", attempt {attempts}"
    if event.ended > event.started:  # else it was never sent
        from worker_dispatcher.units import seconds_text

        said += f", ran {seconds_text(event.ended - event.started)} in {pool.place} {event.worker}"
        if pool.apart and event.worker in pids:
            said += f" (pid {pids[event.worker]})"
    item = plan.input_of(event.item)
    return f"{said}; input {item}" if item else said
