"""The thread in which a pool calls hooks and on_done: whatever they do holds up nothing else."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from worker_dispatcher.execute import catch

_log = logging.getLogger("worker_dispatcher")


class Callbacks:
    """Calls functions of the user one after the other, in a daemon thread that starts with the first.

    Shared: _queue; _thread and _closed, under _mutex. errors: how many have raised.
    """

    def __init__(self, name: str) -> None:
        self.errors = 0
        self._name = name
        self._queue: queue.SimpleQueue[tuple[Callable[..., Any], Any] | None] = queue.SimpleQueue()
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def call(self, function: Callable[..., Any], argument: Any) -> None:
        """Have function(argument) called, after all that was given before. From any thread."""
        self._queue.put((function, argument))
        if self._thread is None:
            with self._mutex:
                if self._thread is None and not self._closed:
                    thread = threading.Thread(target=self._run, name=f"{self._name}-callbacks", daemon=True)
                    self._thread = thread  # first: what it calls may ask where it is
                    if catch(thread.start)[1] is not None:
                        self._thread = None  # the next call, or `close`, tries again

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            function, argument = work
            _, error = catch(function, argument)
            if error is not None:
                self.errors += 1
                _log.error("a callback of a task raised; the task keeps its end", exc_info=error)
            del work, function, argument, error  # a waiting thread must keep nothing alive

    @property
    def is_here(self) -> bool:
        """The thread that asks is the callback thread."""
        return threading.current_thread() is self._thread

    def close(self, timeout: float | None = None) -> None:
        """Call what there is, and end the thread; waits so many seconds for that. Idempotent."""
        with self._mutex:
            self._closed, thread = True, self._thread
            if thread is None:
                self._thread = threading.current_thread()
        self._queue.put(None)
        if thread is None:
            self._run()  # what no thread was to be had for
            self._thread = None
        elif not self.is_here:
            thread.join(timeout)
