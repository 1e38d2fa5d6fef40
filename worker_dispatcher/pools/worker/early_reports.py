"""What has ended is told of while the next task runs."""

from __future__ import annotations

import _thread
import math
import os
from collections.abc import Callable

from worker_dispatcher.clock import now
from worker_dispatcher.execute import catch
from worker_dispatcher.task_span import TaskSpan

__all__ = ["EarlyReports"]

# Seconds from one look to the next while short tasks stream through, which are reported without it: each look takes the
# interpreter from them, and on a busy machine for as long as it takes this thread to come to run.
_PAUSE_MOST = 0.1


class EarlyReports:
    """A thread beside the main thread, which cannot tell of the tasks before the one that it runs. It takes its turn
    once that task has let go of the interpreter, as Python does by itself, and C that waits or computes for long.

    The thread starts with the first stretch. Before each fork it reports and leaves, so that a task forks a process of
    one thread, and what it does after that keeps nothing back.
    Shared, under _mutex: all. From the main thread: begin, end. _bell: held, but for the moment in which the thread is
    woken; _resting: it waits for that alone; _here: there is one; _left: held until it has left.
    """

    def __init__(self, report: Callable[[TaskSpan], None], patience: float) -> None:
        """report: called for a stretch that has gone on for so many seconds, or after many short ones for a tenth of
        a second, under the lock that `end` takes."""
        self._report, self._patience = report, patience
        self._mutex = _thread.allocate_lock()
        self._bell, self._left = _thread.allocate_lock(), _thread.allocate_lock()
        self._went: TaskSpan | None = None
        self._due = math.inf
        self._resting = self._here = self._leaving = self._known = False

    def begin(self, went: TaskSpan, at: float) -> None:
        """A stretch begins at a moment (monotonic)."""
        with self._mutex:
            self._went, self._due = went, at + self._patience
            if self._resting:
                self._resting = False
                self._bell.release()
            elif not self._here:
                self._start()

    def end(self) -> None:
        """The stretch is over; what was not taken from it is the caller's to report."""
        with self._mutex:
            self._went = None

    def _start(self) -> None:
        if not self._known:
            self._known = True
            os.register_at_fork(before=self._leave)
        self._bell = _thread.allocate_lock()
        self._bell.acquire()
        self._here, self._leaving = True, False
        # The system may refuse a thread: then what has ended waits for the end of the task, until one is there.
        self._here = catch(_thread.start_new_thread, self._live, ())[1] is None

    def _live(self) -> None:
        pause = self._patience
        while True:
            with self._mutex:
                rest = -1.0  # until somebody rings
                if self._went is not None and not self._leaving and self._due > now():
                    rest = max(pause, self._due - now())
                    pause = min(2 * pause, _PAUSE_MOST)
                else:
                    went, self._went, pause = self._went, None, self._patience
                    if went is not None:
                        catch(self._report, went)  # that the parent is gone the main thread finds out, too
                    del went
                if self._leaving:
                    self._here = False
                    self._left.release()
                    return
                self._resting = rest < 0
            self._bell.acquire(True, rest)

    def _leave(self) -> None:
        """Before a fork."""
        with self._mutex:
            if not self._here:
                return
            self._left = _thread.allocate_lock()
            self._left.acquire()
            self._leaving, self._resting = True, False
            if self._bell.locked():
                self._bell.release()
        self._left.acquire()
