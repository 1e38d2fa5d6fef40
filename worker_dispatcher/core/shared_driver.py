"""The driver of a pool that is kept: other threads give it tasks, and make its turns."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from worker_dispatcher.core.driver import OVER, Driver, Retries, Sink, Source, Timer
from worker_dispatcher.pools.base import Batch, Done, Pool

__all__ = ["SharedDriver"]

T = TypeVar("T")


class SharedDriver(Driver):
    """A Driver whose turns are made, one at a time, by the thread that calls `run` and by those that call `nudge`.

    Owned by the turn, under _turning: all that pool, source and sink are asked. Shared, each a single step: _again, and
    what a Driver shares. From handlers of signals: `stop`, `ask` and `wake` only.
    hungry: a worker would begin another task at once. What is added to the source while it is false is found by a turn
    that comes anyway.
    wakes_at: until when `run` sleeps (monotonic). What is added to the source for later is found by that turn.
    after: called when a turn is over, by the thread that has made it.
    """

    def __init__(
        self,
        pool: Pool,
        source: Source,
        sink: Sink,
        retries: Retries,
        timers: Sequence[Timer],
        after: Callable[[], None],
    ) -> None:
        super().__init__(pool, source, sink, retries, timers, longest=math.inf)
        self._after, self._apart = after, pool.apart
        self._turning = threading.Lock()
        self._turner = 0  # the thread that is in a turn
        self._runner = 0  # the one that is in `run`
        self._again = self.hungry = self._closed = False
        self.wakes_at = math.inf

    @property
    def is_here(self) -> bool:
        """The caller is in a turn, or in `run`."""
        return threading.get_ident() in (self._turner, self._runner)

    def run(self, going: Callable[[], bool]) -> None:
        """Drive until `going` is false or `stop` was called. going: asked each time the pool has been fed."""
        self._going, sleep, self._runner = going, self._pool.sleep, threading.get_ident()
        while True:
            with self._turning:
                self._again = False
                self._turner = threading.get_ident()
                self.wakes_at = math.inf  # what comes from now on need not have been seen
                due = self.wakes_at = self._turn()
                self._turner = 0
            self._after()
            if due < 0:
                self._runner = 0  # another thread may get its number
                return
            if not self._again:
                sleep(due)
                while self._apart and self._hear_end() and not self._again:
                    sleep(due)

    def _hear_end(self) -> bool:
        """Tell of a task that was offered and has ended, if nothing else has happened: then no turn is needed."""
        with self._turning:
            ended = None if self._closed else self._pool.offered_end()
        if ended is None:
            return False
        done, told = ended
        done(*told)
        return True

    def draw_from(self, source: Source) -> None:
        """From now on, in a turn, this is the source: it has all that the one before had."""
        self._source = source

    def call(self, action: Callable[[], T]) -> T | None:
        """What an action gives that needs the pool for itself: it is called here, between two turns, or in this
        thread's own. None, and it is not called, once the driver is closed. From any thread; not from handlers of
        signals."""
        if self._turner == threading.get_ident():
            self._again = True
            return action()
        with self._turning:
            if self._closed:
                return None
            self._turner = threading.get_ident()
            try:
                found = action()
            finally:
                self._turner = 0
        self._pool.wake()
        self._after()
        return found

    def call_back(self, task_id: int) -> None:
        """In a turn: have a task come back to the source that the workers have not begun. What else has happened is
        taken, too."""
        self._pool.withdraw(task_id)
        for event in self._pool.collect():
            self.take(event)

    def nudge(self) -> None:
        """There is something to do: do it here and now, or have it done by the thread that is doing such. From any
        thread, while another one is in `run`; not from handlers of signals."""
        self._again = True
        # Whoever finds the lock taken has said so before: who has it looks at that once it has let it go.
        while self._again and self._turning.acquire(blocking=False):
            try:
                self._again = False
                self._turner = threading.get_ident()
                due = OVER if self._closed else self._turn()
            finally:
                self._turner = 0
                self._turning.release()
            if due < self.wakes_at:
                self._pool.wake()
            self._after()

    def offer(self, batch: Batch, done: Done) -> bool:
        """Give one task to an idle worker, past the source; see `Pool.offer`. From any thread, while another one is in
        `run`; not from handlers of signals. Call `freed` once it has ended."""
        pool = self._pool
        if not pool.apart:
            taken = pool.offer(batch, done)
        elif self._turning.acquire(blocking=False):
            try:
                self._turner = threading.get_ident()  # what it packs may call
                taken = pool.offer(batch, done)
            finally:
                self._turner = 0
                self._turning.release()
            if self._again:
                self.nudge()
        else:
            return False
        if taken and batch.timeout is not None and pool.due < self.wakes_at:
            pool.wake()
        return taken

    def freed(self) -> None:
        """A task that was offered has ended: its worker may take another."""
        self.hungry = True
        if self._source.waiting():
            self.nudge()

    def _feed(self) -> None:
        self.hungry = True  # what comes from now on need not have been seen
        super()._feed()
        if not self._pool.roomy:
            self.hungry = False
            # A task that was offered may have ended between the two lines.
            if self._pool.roomy:
                self.hungry = self._again = True

    def end(self) -> None:
        with self._turning:
            super().end()

    def close(self) -> None:
        with self._turning:
            self._closed = True
        super().close()
