"""A concurrent.futures.Future that makes its condition only for who waits."""

from __future__ import annotations

import _thread
import os
import threading
from concurrent.futures import Future
from concurrent.futures import _base as states  # the states of a future; `wait` and `as_completed` look at these
from typing import Any

from worker_dispatcher.execute import catch

OVER = (states.FINISHED, states.CANCELLED, states.CANCELLED_AND_NOTIFIED)
# Of conditions, and of what must not happen while one is made. A garbage collector may come in the midst of that, and
# call what cancels a task, such as the end of a `map` that nobody holds.
making = threading.RLock()
os.register_at_fork(after_in_child=making._at_fork_reinit)  # type: ignore[attr-defined]


class LazyFuture(Future[Any]):
    """All that a Future is. Thread-safe. A condition takes a kilobyte: a million futures that nobody looks at would
    take a gigabyte for theirs. Who waits in `result` or `exception` does so with no more than a lock.

    Callbacks wait for `call_callbacks`, which whoever has ended it calls where it likes.
    """

    __slots__ = ("_done_callbacks", "_exception", "_made", "_result", "_state", "_waiters", "_wakers")

    def __init__(self) -> None:
        self._state, self._result, self._exception = states.PENDING, None, None
        self._made: threading.Condition | None = None
        self._waiters: Any = ()
        self._wakers: tuple[Any, ...] = ()  # locks, each held for a thread that waits in `result` or `exception`
        self._done_callbacks: Any = ()

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        made = self._made
        if made is None:
            with making:
                made = self._made
                if made is None:
                    made = threading.Condition()
                    self._waiters, self._done_callbacks = [], []
                    self._made = made  # last: who finds it finds all
        return made

    def show(self, value: Any, error: BaseException | None, *, cancelled: bool) -> bool:
        """Show how it has ended. Called once, by who has ended it; True if `call_callbacks` has something to call."""
        # While there is no condition, nobody waits, and none can come while `making` is held.
        with making:
            if self._made is None:
                self._result, self._exception = value, error
                self._state = states.CANCELLED_AND_NOTIFIED if cancelled else states.FINISHED
                for waker in self._wakers:
                    waker.release()
                self._wakers = ()
                return False
        if cancelled:
            with self._condition:
                self._state = states.CANCELLED_AND_NOTIFIED
                for waiter in self._waiters:
                    waiter.add_cancelled(self)
                self._condition.notify_all()
            self._invoke_callbacks()
        elif error is None:
            self.set_result(value)
        else:
            self.set_exception(error)
        return bool(self._done_callbacks)

    def _invoke_callbacks(self) -> None:
        """Called by a Future that has its result: it wakes who waits; callbacks wait for `call_callbacks`."""
        with making:
            wakers, self._wakers = self._wakers, ()
        for waker in wakers:
            waker.release()

    def call_callbacks(self) -> None:
        """What `add_done_callback` was given."""
        for callback in self._done_callbacks:
            _, error = catch(callback, self)  # SystemExit, too: it would end the thread of a worker, or of the pool
            if error is not None:
                states.LOGGER.error("exception calling callback for %r", self, exc_info=error)
            del error  # it holds this frame, and would hold itself

    def result(self, timeout: float | None = None) -> Any:
        """As concurrent.futures says."""
        if self._state not in OVER:
            self._await(timeout)
        if self._exception is None and self._state is states.FINISHED:
            return self._result
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As concurrent.futures says."""
        if self._state not in OVER:
            self._await(timeout)
        return super().exception(0)

    def _await(self, timeout: float | None) -> None:
        """Wait for its end, with no more than a lock: a condition costs a short task a tenth. Raises TimeoutError."""
        waker = _thread.allocate_lock()
        waker.acquire()
        with making:
            if self._state in OVER:
                return
            self._wakers = (*self._wakers, waker)
        if waker.acquire(True, -1 if timeout is None else max(0.0, timeout)):
            return
        with making:
            self._wakers = tuple(one for one in self._wakers if one is not waker)
        if self._state not in OVER:
            raise TimeoutError
