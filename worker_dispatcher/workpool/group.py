"""Tasks that belong together."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from worker_dispatcher.clock import now
from worker_dispatcher.errors import ConfigError
from worker_dispatcher.workpool.future import SUCCEEDED, TaskFuture, TaskResult
from worker_dispatcher.workpool.outcome import result_of
from worker_dispatcher.workpool.settings import Settings

if TYPE_CHECKING:
    from worker_dispatcher.workpool.pool import WorkerPool


class TaskGroup:
    """Tasks of one pool that are waited for, limited and cancelled together; made by `WorkerPool.group`.

    `with pool.group() as group:` waits at its end; an exception in the block cancels what has not ended. Plain groups
    never raise what their tasks raise. fail_fast: the first failure cancels the rest, and leaving the block raises an
    ExceptionGroup of what went wrong. Thread-safe.

    Owned by the driver's turn: running. Shared, under _changed: _open, _ended, _futures.
    """

    def __init__(
        self,
        pool: WorkerPool,
        settings: Settings,
        *,
        name: str | None,
        max_workers: int | None,
        deadline: float | None,
        fail_fast: bool,
        progress: bool = False,
    ) -> None:
        self.name, self.max_workers, self.fail_fast = name, max_workers, fail_fast
        self._pool, self._scheduler, self.settings = pool, pool._scheduler, settings
        self.stop_at = float("inf") if deadline is None else now() + deadline
        self.running = 0
        self.cancelled = False
        self._changed = threading.Condition()
        self._futures: list[TaskFuture] = []
        self._open = 0  # tasks that have not ended
        self._ended: list[TaskFuture] = []  # in the order of their ends
        self._shown = self._scheduler.show_ends(0, whole=False) if progress else None
        self._failed = False

    # Taking tasks

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskFuture:
        """As `WorkerPool.submit`. Raises RuntimeError once the group is cancelled."""
        return self._pool._submit(fn, args, kwargs, self.settings, self)

    def schedule(
        self, fn: Any, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **settings: Any
    ) -> TaskFuture:
        """As `WorkerPool.schedule`, with the settings of the group as defaults."""
        return self._pool._schedule(fn, args, kwargs, settings, self)

    def map(self, fn: Callable[..., Any], *iterables: Iterable[Any]) -> list[TaskFuture]:
        """One task for each set of arguments; their futures, in order."""
        return [self.submit(fn, *args) for args in zip(*iterables, strict=False)]

    def admit(self, future: TaskFuture) -> None:
        """A task is about to be submitted."""
        with self._changed:
            if self.cancelled:
                raise RuntimeError("the group was cancelled, and takes no more tasks")
            self._futures.append(future)
            self._open += 1
            if self._shown is not None:
                self._shown.total += 1
        future.group, future.stop_at = self, min(future.stop_at, self.stop_at)

    def refuse(self, future: TaskFuture) -> None:
        """Taking it has raised: it is none of the group, unless the pool has it and a signal came meanwhile."""
        if self._scheduler.intake.has_taken(future):
            return
        with self._changed:
            self._futures.remove(future)
            self._open -= 1
            self._changed.notify_all()

    # What the scheduler says

    def has_room(self) -> bool:
        """Another of its tasks may start. Called in the driver's turn."""
        return self.max_workers is None or self.running < self.max_workers

    def ended(self, future: TaskFuture) -> None:
        """A task has ended; whoever waits finds its future done."""
        with self._changed:
            self._open -= 1
            self._ended.append(future)
            first = self.fail_fast and future.state != SUCCEEDED and not self._failed
            self._failed = self._failed or first
            self._changed.notify_all()
        if self._shown is not None:
            self._shown.ended(future)
        if first:
            self.cancel()

    # Waiting

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all its tasks have ended; False if they have not within so many seconds. Never raises what a task
        raised. Within a task of the same pool: in threads another thread takes its place meanwhile; elsewhere
        RuntimeError."""
        all_ended = self._await(lambda: self._open == 0, timeout)
        if all_ended and self._shown is not None:
            self._shown.close()
        return all_ended

    def _await(self, fact: Callable[[], bool], timeout: float | None) -> bool:
        scheduler = self._scheduler
        scheduler.check_ours()
        if scheduler.in_callback:
            raise RuntimeError("a callback that waits for a group would hold up all callbacks")
        if not scheduler.is_inside():
            with self._changed:
                return self._changed.wait_for(fact, timeout)
        with scheduler.blocked(), self._changed:
            return self._changed.wait_for(fact, timeout)

    def results(self, order: str = "submitted") -> list[TaskResult]:
        """How all tasks have ended; waits for that. order: 'submitted' or 'completed'."""
        if order not in ("submitted", "completed"):
            raise ConfigError([("order", f"expected 'submitted' or 'completed', got {order!r}")], "TaskGroup.results()")
        self.wait()
        with self._changed:
            futures = list(self._futures if order == "submitted" else self._ended)
        return [future.outcome() for future in futures]

    def completed(self) -> Iterator[TaskResult]:
        """How tasks end, as they do, until none is left; those that had ended first."""
        for at in itertools.count():
            self._await(partial(self._has_ended, at), None)
            if at >= len(self._ended):
                return
            yield self._ended[at].outcome()

    def _has_ended(self, at: int) -> bool:
        return len(self._ended) > at or self._open == 0

    def cancel(self) -> None:
        """Cancel what has not ended, and take nothing more. What runs is asked to stop."""
        with self._changed:
            self.cancelled = True
            futures = [future for future in self._futures if not future.done()]
        for future in futures:
            self._scheduler.control.cancel(future, kill=False)

    def __len__(self) -> int:
        """Tasks that have not ended."""
        return self._open

    def __enter__(self) -> TaskGroup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.cancel()
            if isinstance(error, Exception):
                self.wait()
            return
        self.wait()
        if self.fail_fast and self._failed:
            errors = [result_of(f).error for f in self._ended if f.state in ("failed", "timeout", "expired")]
            found = [e for e in errors if isinstance(e, Exception)]
            others = [e for e in errors if e is not None and not isinstance(e, Exception)]
            label = f"tasks of the group {self.name!r} failed" if self.name else "tasks of the group failed"
            if others:
                raise BaseExceptionGroup(label, [*found, *others])
            if found:
                raise ExceptionGroup(label, found)
