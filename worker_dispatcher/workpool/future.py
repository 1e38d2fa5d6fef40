"""What a submit gives, what is known of a task once it has ended, and a task as it can be handed on."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import _base as states  # the states of a future; `wait` and `as_completed` look at these
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from worker_dispatcher.clock import now
from worker_dispatcher.workpool.calling import name_of
from worker_dispatcher.workpool.lazy_future import LazyFuture, making
from worker_dispatcher.workpool.settings import POOL_DEFAULT

if TYPE_CHECKING:
    from worker_dispatcher.workpool.calling import PoolCall
    from worker_dispatcher.workpool.group import TaskGroup
    from worker_dispatcher.workpool.scheduler import Scheduler
    from worker_dispatcher.workpool.settings import Settings


SUCCEEDED, FAILED, TIMEOUT, EXPIRED, CANCELLED, RESCUED = STATES = (
    *("succeeded", "failed", "timeout"),
    *("expired", "cancelled", "rescued"),
)
# Where a task is before its end: waiting for a moment, waiting for a worker, with the workers, in the overflow.
DELAYED, QUEUED, GIVEN, AWAY, ENDED = range(5)


@dataclass(frozen=True, slots=True)
class Task:
    """A task that has not begun, as `WorkerPool.rescue` gives it and `schedule` takes it. Can be pickled where its
    function and arguments can.

    delay, deadline: seconds, of a rescued task what is left of them. A setting that is POOL_DEFAULT is that of the pool
    which takes it; a rescued task has all that it had. Hooks, limiter and callbacks do not go along. Pickled, it holds
    functions and classes of a script by value.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    id: Any = None
    name: str | None = None
    delay: float = 0.0
    deadline: float | None = POOL_DEFAULT
    timeout: float | None = POOL_DEFAULT
    retries: int = POOL_DEFAULT
    backoff: Callable[[int], float] | None = POOL_DEFAULT
    retry_on: Any = POOL_DEFAULT
    priority: int = POOL_DEFAULT
    options: Mapping[str, Any] | None = POOL_DEFAULT

    def __reduce__(self) -> tuple[Any, ...]:
        """By value where that must be: what a script defines can be loaded in another one."""
        import cloudpickle

        return _task_of, (cloudpickle.dumps([getattr(self, field.name) for field in fields(self)]),)


def _task_of(packed: bytes) -> Task:
    return Task(*pickle.loads(packed))


@dataclass(frozen=True, slots=True)
class TaskResult:
    """How a task has ended.

    state: 'succeeded', 'failed', 'timeout', 'expired', 'cancelled' or 'rescued'. value: what the function returned;
    error: the exception otherwise. attempts: how many were begun. queued_for: seconds that the last attempt waited for
    a worker, a delay left out. duration: seconds that it ran. started_at, ended_at, submitted_at: Unix time; started_at
    is None for a task that never began. worker: number of the worker, None without one. where: 'local' or 'overflow'.
    """

    id: Any
    name: str
    value: Any
    error: BaseException | None
    state: str
    attempts: int
    queued_for: float
    duration: float
    started_at: float | None
    ended_at: float
    worker: int | None
    where: str
    submitted_at: float

    @property
    def ok(self) -> bool:
        """It succeeded."""
        return self.state == SUCCEEDED


class TaskFuture(LazyFuture):
    """The future of one task of a WorkerPool: all that a concurrent.futures.Future is, and the task's id, name and
    outcome. Thread-safe.

    Owned by the scheduler's turn: all without a comment of its own below. phase: where the task is.
    """

    __slots__ = (
        *("attempts", "call", "due", "ended", "group", "id", "item", "key", "number", "owner", "phase", "ready_at"),
        *("settings", "settled_at", "started", "state", "stop_at", "submitted_at", "where", "worker"),
    )

    def __init__(self, owner: Scheduler, number: int, call: PoolCall, item: Any, settings: Settings, at: float) -> None:
        super().__init__()
        self.owner, self.number, self.call, self.item, self.settings = owner, number, call, item, settings
        self.id: Any = number
        self.key: Any = None  # the id that it was given; else the pool knows it by itself
        self.submitted_at = self.ready_at = at
        self.due = 0.0  # not before (monotonic)
        self.stop_at = settings.stop_at(at)
        self.phase = QUEUED
        self.attempts = self.worker = 0
        self.started = self.ended = self.settled_at = 0.0  # of the last attempt; of the future
        self.state = self.where = ""
        self.group: TaskGroup | None = None

    # Changes of state. While there is no condition, nobody waits, and none can come while `making` is held.

    def wait_as(self, phase: int) -> bool:
        """It waits, for its time or for a worker; False if it has ended."""
        with making:
            if self.phase == ENDED:
                return False
            self.phase = phase
            return True

    def begin(self) -> bool:
        """The workers have it from now on; False if it has ended."""
        with making:
            if self.phase == ENDED:
                return False
            self.phase = GIVEN
            if self._made is None:
                self._state = states.RUNNING
                return True
        with self._made:
            self._state = states.RUNNING
        return True

    def unbegin(self) -> None:
        """The workers have not taken it after all; `begin` was called a moment ago."""
        with making:
            if self.phase == GIVEN:
                self.phase, self._state = QUEUED, states.PENDING

    def withdraw(self) -> bool:
        """It will not be given to the workers; False if it has been, or has ended."""
        with making:
            if self.phase in (GIVEN, AWAY, ENDED):
                return False
            self.phase = ENDED
            return True

    def recall(self) -> bool:
        """Another executor has had it, and it ends nevertheless; False if it is not there."""
        with making:
            if self.phase != AWAY:
                return False
            self.phase = ENDED
            return True

    def come_home(self) -> bool:
        """Another executor has done with it, and the driver has it again; False if it was not there."""
        with making:
            if self.phase != AWAY:
                return False
            self.phase = GIVEN
            return True

    def is_over(self) -> bool:
        """It has ended."""
        return self.phase == ENDED

    def finish(self) -> bool:
        """It has ended; False if it had before."""
        with making:
            if self.phase == ENDED:
                return False
            self.phase = ENDED
            return True

    def note_begun(self, begun: tuple[float, int] | None) -> None:
        """It has ended for everybody while an attempt runs: since when, and in which worker; None if none does."""
        if begun is not None:
            self.started, self.worker = begun
            self.ended = now()
            self.attempts += 1

    def settle(self, state: str, value: Any, error: BaseException | None) -> bool:
        """Show how it has ended. Called once, by who has ended it; True if `call_callbacks` has something to call."""
        self.settled_at = now()
        return self.show(value, error, cancelled=state in (CANCELLED, RESCUED))

    # What anybody may call

    @property
    def name(self) -> str:
        return self.settings.name or name_of(self.call.function, self.item)

    @property
    def known_as(self) -> Any:
        """By what the pool knows it."""
        return self if self.key is None else self.key

    @property
    def called(self) -> Any:
        """What messages call it: the name that it was given, or its id."""
        return self.settings.name or self.id

    @property
    def task(self) -> Task:
        """The task as it can be scheduled again."""
        from worker_dispatcher.workpool.outcome import task_of

        return task_of(self)

    def result(self, timeout: float | None = None) -> Any:
        """As concurrent.futures says. Within a task of the same pool, in threads, another thread takes its place
        meanwhile, so that what is waited for can run. `exception` waits likewise."""
        return super().result(timeout)

    def _await(self, timeout: float | None) -> None:
        self.owner.check_ours()
        if self.owner.drives_here():
            raise RuntimeError("a callback or retry_on that the pool itself calls cannot wait for one of its tasks")
        if self.owner.is_inside():
            with self.owner.blocked():
                super()._await(timeout)
        else:
            super()._await(timeout)

    def running(self) -> bool:
        """A worker has begun it, and it has not ended. Short tasks are handed to workers that are still busy; until
        then such a one is not running, and can be cancelled."""
        return super().running() and (self.phase != GIVEN or self.owner.control.has_begun(self))

    def cancel(self) -> bool:
        """As concurrent.futures says: True if it will not run. `WorkerPool.cancel` and `kill` also end what runs."""
        if self.phase != ENDED and self.owner.control.drop(self):
            return True
        return self._state == states.CANCELLED_AND_NOTIFIED

    def kill(self) -> bool:
        """End the task if it has not ended, at once: its process is killed, its coroutine cancelled; a thread is left
        behind. False if it has ended."""
        return self.owner.control.cancel(self, kill=True)

    def outcome(self, timeout: float | None = None) -> TaskResult:
        """How it has ended; waits for that, and never raises what the task raised. Raises TimeoutError."""
        if not self.done():
            try:
                self.exception(timeout)
            except states.CancelledError:
                pass
        from worker_dispatcher.workpool.outcome import result_of

        return result_of(self)

    def __repr__(self) -> str:
        return f"<TaskFuture {self.name} id={self.id!r} {self.state or self._state.lower()}>"
