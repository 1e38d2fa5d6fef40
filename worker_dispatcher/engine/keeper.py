"""The thread of an engine: it tells the board the time, and asks conditions of the user's own."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable

from worker_dispatcher.clock import now
from worker_dispatcher.osproc.system import start_thread


class Keeper:
    """Calls `tick` when it is due, and functions that it is given, in a daemon thread that is there while there is
    something to do. Thread-safe.

    Shared, under _news: wakes_at, _work, _thread, _closed. wakes_at: when it looks next (monotonic).
    """

    def __init__(self, name: str, tick: Callable[[], float]) -> None:
        """tick: does what is due, and returns when it is due again."""
        self._name, self._tick = name, tick
        self._news = threading.Condition(threading.Lock())
        self._work: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.wakes_at = math.inf

    def wake(self, due: float) -> None:
        """Something is due at a moment."""
        if due >= self.wakes_at:
            return
        with self._news:
            self.wakes_at = min(self.wakes_at, due)
            self._start()
            self._news.notify()

    def do(self, work: Callable[[], None]) -> None:
        """Have a function called in the thread."""
        with self._news:
            self._work.append(work)
            self._start()
            self._news.notify()

    @property
    def is_here(self) -> bool:
        return threading.current_thread() is self._thread

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            thread = threading.Thread(target=self._run, name=f"{self._name}-engine", daemon=True)
            self._thread = thread
            try:
                start_thread(thread)
            except BaseException:
                self._thread = None
                raise

    def _run(self) -> None:
        while True:
            with self._news:
                while not self._work and not self._closed and self.wakes_at > now():
                    if self.wakes_at == math.inf:  # nothing to do: who has something starts another thread
                        self._thread = None
                        return
                    self._news.wait(self.wakes_at - now())
                if self._closed:
                    return
                work = self._work.popleft() if self._work else None
                if work is None:
                    self.wakes_at = math.inf  # what becomes due meanwhile wakes it again
            if work is not None:
                work()
            else:
                self.wake(self._tick())

    def close(self) -> None:
        """End the thread. Idempotent; `open` has it start again, with what it has not come to."""
        with self._news:
            self._closed, thread, self._thread = True, self._thread, None
            self.wakes_at = math.inf
            self._news.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def open(self) -> None:
        """Go on with the functions that were left."""
        with self._news:
            self._closed = False
            if self._work:
                self._start()
