"""What the dispatcher calls of the user's, and what it tells the user."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from worker_dispatcher.engine.errors import UpstreamFailed
from worker_dispatcher.engine.status import CANCELLED, FAILED, RUNNING
from worker_dispatcher.errors import DeadlineExceeded
from worker_dispatcher.execute import catch
from worker_dispatcher.workpool.calling import current_task
from worker_dispatcher.workpool.settings import Settings

if TYPE_CHECKING:
    from worker_dispatcher.engine.engine import Engine
    from worker_dispatcher.engine.job import Job
    from worker_dispatcher.engine.jobs import Jobs


def failure_of(job: Job, why: Any) -> BaseException:
    """What is told of a job that failed for a reason that is no exception."""
    if why == "deadline":
        return DeadlineExceeded(job.name, job.deadline or 0.0)
    assert job.engine is not None
    lost = (id for id in job.dep_job_ids if job.engine.status_of(id) in (FAILED, CANCELLED))
    return UpstreamFailed(next(lost, ""), str(why))


def refuse_own_wait(jobs: Jobs, job: Job | None, timeout: float | None) -> None:
    """Raises RuntimeError where the function of a job would wait for ever for its own end. job: None: for all of
    these."""
    task = current_task() if timeout is None else None
    here = None if task is None or not isinstance(task.id, str) else jobs.find(task.id)
    if here is None or here.status != RUNNING:
        return
    if job is None:
        raise RuntimeError("engine.wait() would wait for the job that calls it; wait_job waits for another one")
    if job is here:
        raise RuntimeError(f"{job} would wait for itself")


def injected(engine: Engine, function: Callable[..., Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Keyword arguments, with the engine for a function that wants it."""
    key, code = engine.setting.kwargs_inject_key, getattr(function, "__code__", None)
    if key and code is not None and key in code.co_varnames and key not in kwargs:
        return {**kwargs, key: engine}
    return kwargs


def wait_after(job: Job, error: BaseException) -> float | None:
    """Seconds until the next attempt, None if there is to be none. Runs code of the user."""
    if job.entry.retries <= 0:
        return None
    again, raised = catch(Settings(retry_on=job.retry_on).retries_on, error)
    wait, late = catch(job.wait_before, job.attempts) if again else (None, None)
    if (raised := raised or late) is not None:
        error.add_note(f"  it was not tried again: retry_on or backoff raised {raised!r}")
        return None
    return wait


def call_user(function: Callable[[Any], Any], argument: Any) -> None:
    """Call a callback; a coroutine function is awaited."""
    value = function(argument)
    if isawaitable(value):

        async def wait() -> None:
            await value

        asyncio.run(wait())


def told_stuck(waits: Sequence[tuple[Job, Sequence[str]]]) -> str:
    """What jobs wait for that can never begin."""
    told = "".join(f"\n  {job.name} ({job.id}) waits for {', '.join(what)}" for job, what in waits[:10])
    more = f"\n  and {len(waits) - 10} more" if len(waits) > 10 else ""
    return f"nothing can begin any more; of {len(waits)} pending jobs{told}{more}"
