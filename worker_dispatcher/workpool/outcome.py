"""What is told of a task: how an attempt ended, how the task did, and the task itself as it can be run elsewhere."""

from __future__ import annotations

import math
from concurrent.futures import CancelledError

from worker_dispatcher.clock import now
from worker_dispatcher.errors import DeadlineExceeded, RemoteTraceback, TaskError, TaskTimeout
from worker_dispatcher.pools.base import AttemptDone
from worker_dispatcher.records import CANCELLED as STATUS_CANCELLED
from worker_dispatcher.records import CRASHED as STATUS_CRASHED
from worker_dispatcher.records import TIMEOUT as STATUS_TIMEOUT
from worker_dispatcher.worker_died import WorkerDied
from worker_dispatcher.workpool.callbacks import Callbacks
from worker_dispatcher.workpool.calling import called_with
from worker_dispatcher.workpool.future import (
    CANCELLED,
    EXPIRED,
    FAILED,
    RESCUED,
    SUCCEEDED,
    TIMEOUT,
    Task,
    TaskFuture,
    TaskResult,
)


def verdict(future: TaskFuture, event: AttemptDone, apart: bool) -> tuple[str, None, BaseException | None]:
    """(state, no value, error) of an attempt that did not succeed. apart: it ran in another process."""
    failure, called = event.failure, future.called
    assert failure is not None
    if failure.status == STATUS_TIMEOUT:
        if now() >= future.stop_at:
            return EXPIRED, None, late(future)
        return TIMEOUT, None, TaskTimeout(called, future.settings.timeout or 0.0)
    if failure.status == STATUS_CRASHED:
        return FAILED, None, WorkerDied(called, failure.message.removeprefix("its worker process "), event.worker)
    if failure.status == STATUS_CANCELLED:
        return CANCELLED, None, None
    error = failure.exception
    if error is None:
        error = TaskError(called, failure.type, failure.message, failure.traceback)
    if apart and failure.traceback:
        error.__cause__ = RemoteTraceback(failure.traceback)
    return FAILED, None, error


def late(future: TaskFuture) -> DeadlineExceeded:
    return DeadlineExceeded(future.called, future.settings.deadline or 0.0)


def call_back(callbacks: Callbacks, future: TaskFuture) -> None:
    """Have the hook called that speaks of the end of a task, and then on_done."""
    settings, hooks, state = future.settings, future.settings.hooks, future.state
    result = result_of(future)
    if hooks is not None:
        hook = {
            SUCCEEDED: hooks.on_success,
            FAILED: hooks.on_error,
            TIMEOUT: hooks.on_error,
            EXPIRED: hooks.on_expired,
        }.get(state)
        if state == RESCUED and hooks.on_rescue is not None:
            callbacks.call(hooks.on_rescue, task_of(future))
        elif hook is not None:
            callbacks.call(hook, result)
    if settings.on_done is not None:
        callbacks.call(settings.on_done, result)


def result_of(future: TaskFuture) -> TaskResult:
    """Of a task that has ended."""
    wall, began = future.owner.anchor.wall_at, future.started > 0
    error = future._exception
    if error is None and future.state in (CANCELLED, RESCUED):
        error = CancelledError()
    ended = future.ended or future.settled_at or now()
    return TaskResult(
        future.id,
        future.name,
        future._result,
        error,
        future.state,
        future.attempts,
        max(0.0, (future.started if began else ended) - max(future.ready_at, future.due)),
        future.ended - future.started if began else 0.0,
        wall(future.started) if began else None,
        wall(ended),
        future.worker or None,
        future.where or "local",
        wall(future.submitted_at),
    )


def task_of(future: TaskFuture) -> Task:
    """The task, with what is left of its delay and its deadline."""
    settings, item, at = future.settings, future.item, now()
    return Task(
        *called_with(future.call.function, item),
        future.key,  # a number of this pool means nothing to another
        settings.name,
        max(0.0, future.due - at) if future.due else 0.0,
        None if future.stop_at == math.inf else max(0.0, future.stop_at - at),
        settings.timeout,
        settings.retries,
        settings.backoff,
        settings.retry_on,
        settings.priority,
        dict(settings.options or {}),
    )
