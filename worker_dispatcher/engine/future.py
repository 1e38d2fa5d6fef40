"""JobFuture: what a job will give; and such futures in the arguments of other jobs."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from worker_dispatcher.engine.status import DONE
from worker_dispatcher.execute import catch
from worker_dispatcher.workpool.lazy_future import LazyFuture

if TYPE_CHECKING:
    from worker_dispatcher.engine.engine import Engine
    from worker_dispatcher.engine.job import Job


class Promising:
    """Base of Job: what has a `future`."""

    __slots__ = ()


class JobFuture(LazyFuture):
    """The result of a job, once: of its last attempt. A concurrent.futures.Future that can be awaited, too.

    As an argument of another job, also within lists, tuples and dicts, it stands for the result, and has that job wait.
    Callbacks are called in the engine's callback thread, after the status of the job has changed; those that are added
    later at once. A job that is run again has a new future.
    """

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job: Job | None = job
        self.job_id = job.id

    def add_error_callback(self, fn: Callable[[BaseException], Any]) -> None:
        """fn(exception) is called if the job fails."""

        def call(future: Future[Any]) -> None:
            if not future.cancelled() and (error := future.exception()) is not None:
                fn(error)

        self.add_done_callback(call)

    def cancel(self) -> bool:
        """Cancel the job; False if it has ended."""
        job = self._job
        if job is None or job.engine is None:
            return False
        return job.engine.cancel(job)

    def __await__(self) -> Generator[Any, None, Any]:
        import asyncio

        return asyncio.wrap_future(self).__await__()

    @property
    def job(self) -> Job | None:
        """Whose it is."""
        return self._job

    def is_settled_for(self, engine: Engine) -> bool:
        """Its job is done, and not one that the engine knows: it was removed there, has given its id to another, or is
        another engine's. What it gave is here alone."""
        done = self._job is not None and self._job.status == DONE
        return done and engine.jobs.find(self.job_id) is not self._job

    def job_in(self, engine: Engine) -> Job | None:
        """Whose result it stands for in an engine."""
        return self._job if self.is_settled_for(engine) else engine.jobs.find(self.job_id)

    @property
    def has_callbacks(self) -> bool:
        return bool(self._done_callbacks)

    def stands_for(self, job: Job) -> None:
        """Be the future of a job that takes the place of another."""
        self._job = job

    def __reduce__(self) -> tuple[Any, ...]:
        return JobReference, (self.job_id,)

    def __repr__(self) -> str:
        return f"<JobFuture of {self._job if self._job is not None else self.job_id}>"


class JobReference:
    """A JobFuture that was pickled: the id of its job."""

    __slots__ = ("job_id",)

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id

    def job_in(self, engine: Engine) -> Job | None:
        """As that of a JobFuture."""
        return engine.jobs.find(self.job_id)


def futures_in(value: Any) -> list[JobFuture | JobReference]:
    """The futures in an argument: itself, or in lists, tuples and dicts, in order. Raises TypeError for a job there."""
    found: list[JobFuture | JobReference] = []
    left, seen = [value], set[int]()
    while left:
        item = left.pop()
        if isinstance(item, (JobFuture, JobReference)):
            found.append(item)
        elif isinstance(item, (list, tuple, dict)):
            if id(item) not in seen:
                seen.add(id(item))
                left.extend(reversed(list(item.values()) if isinstance(item, dict) else item))
        elif isinstance(item, Promising):
            text = "is among the arguments of a job: give its `future` there, for its result; itself only in a lambda"
            raise TypeError(f"{item} {text}")
    return found


def resolved(value: Any, result_of: Callable[[JobFuture | JobReference], Any]) -> Any:
    """An argument with results in the place of its futures; itself where it has none."""
    if isinstance(value, (JobFuture, JobReference)):
        return result_of(value)
    if not isinstance(value, (list, tuple, dict)) or not futures_in(value):
        return value
    if isinstance(value, dict):
        items = {key: resolved(item, result_of) for key, item in value.items()}
        return items if type(value) is dict else _like(value, items)
    parts = [resolved(item, result_of) for item in value]
    if type(value) is list:
        return parts
    if type(value) is tuple:
        return tuple(parts)
    return value._make(parts) if hasattr(value, "_make") else _like(value, parts)  # a named tuple


def _like(value: Any, content: Any) -> Any:
    """A subclass of a container with other content; the plain content if it cannot be made so."""
    made, error = catch(type(value), content)
    return content if error is not None else made
