"""What the threads of a crew share: which task is whose, and how each ended."""

from __future__ import annotations

import _thread
import functools
import itertools
import math
import os
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from worker_dispatcher.clock import now
from worker_dispatcher.execute import Ended
from worker_dispatcher.osproc.slate import IN_INIT
from worker_dispatcher.pools.base import Batch

__all__ = ["Claim", "Claims", "Crew", "Done", "Slot", "TimedClaims", "as_it_is", "forks"]

_TOGETHER = 0.001  # seconds within which tasks are due together, each in a thread of its own


class Slot:
    """One thread or coroutine. running, started, deadline: one-cell rows that the watcher of timeouts reads.

    Shared: abandoned, with running and what is reported, under mutex.
    abandoned: set by the watcher while a task runs; what becomes of that task is not heard.
    """

    __slots__ = ("abandoned", "deadline", "mutex", "number", "running", "started", "thread")

    def __init__(self, number: int, running: Any, started: Any, deadline: Any) -> None:
        self.number, self.running, self.started, self.deadline = number, running, started, deadline
        self.abandoned = False
        self.mutex = _thread.allocate_lock()
        self.thread: threading.Thread | None = None

    def open_init(self) -> None:
        """Say that the slot runs worker.init."""
        self.started[0] = now()
        self.running[0] = IN_INIT

    def close_init(self) -> bool:
        """It has ended; False if the slot was given up meanwhile."""
        with self.mutex:
            self.running[0] = 0
            return not self.abandoned

    def settle(self, where: deque[Any], what: Any) -> bool:
        """Say how the slot's task ended, unless the slot was given up: then False, and nobody hears of it."""
        # One step with the watcher's: a task is either reported or given up, and never both or neither.
        with self.mutex:
            if self.abandoned:
                return False
            where.append(what)
            self.running[0] = 0
            self.deadline[0] = math.inf
            return True

    def give_up(self, at: float = math.inf) -> int:
        """Stop hearing the slot if its task is over its time at a moment; the task's seq, 0 if it is not."""
        with self.mutex:
            seq = int(self.running[0])
            if not seq or self.deadline[0] > at:
                return 0
            self.abandoned = True
            return seq


Done = tuple[int, int, Ended]  # seq, number of the slot, how it ended


@functools.cache
def forks() -> list[int]:
    """One cell: how often this process has forked itself off, seen from the child. A look at it costs a fraction of
    getpid(). One for all, since what is registered for a fork is never let go."""
    cell = [0]

    def in_child() -> None:
        cell[0] += 1

    os.register_at_fork(after_in_child=in_child)
    return cell


def as_it_is(ended: Ended) -> Ended:
    return ended


Claim = tuple[int, int, Any, float]  # seq, id, item, when it is due (0: at once)


class Claims:
    """Batches of tasks from which any thread takes the next one, without a lock where it matters."""

    def __init__(self) -> None:
        self._batches: deque[tuple[Any, int, int, int, Sequence[Any]]] = deque()
        self._current: tuple[Any, int, int, int, Sequence[Any]] = (itertools.count(), 0, 0, 0, ())
        self._mutex = threading.Lock()

    def add(self, seq: int, batch: Batch) -> None:
        """Tasks seq, seq + 1, ... of a crew."""
        with self._mutex:
            self._batches.append((itertools.count(), len(batch.items), seq, batch.first, batch.items))

    def next(self) -> Claim | None:
        """A task that is now the caller's, or None."""
        while True:
            current = self._current
            at = next(current[0])  # atomic: one C call under the interpreter lock
            if at < current[1]:
                return current[2] + at, current[3] + at, current[4][at], 0.0
            with self._mutex:
                if self._current is current:
                    if not self._batches:
                        return None
                    self._current = self._batches.popleft()

    def crowd(self) -> int:
        """How many unclaimed tasks should start together; not for tasks without dues."""
        raise NotImplementedError

    def drop(self) -> list[int]:
        """Claim all that nobody has claimed; their seqs."""
        dropped = []
        while (claim := self.next()) is not None:
            dropped.append(claim[0])
        return dropped


class TimedClaims(Claims):
    """The same for tasks with due times, in their order."""

    def __init__(self) -> None:
        self._slots: deque[Claim] = deque()

    def add(self, seq: int, batch: Batch) -> None:
        dues: Iterable[float] = batch.dues if batch.dues is not None else itertools.repeat(0.0)
        self._slots.extend(zip(itertools.count(seq), itertools.count(batch.first), batch.items, dues))

    def next(self) -> Claim | None:
        try:
            return self._slots.popleft()  # atomic, as is extend
        except IndexError:
            return None

    def crowd(self) -> int:
        # By index: other threads take from the left meanwhile, and an iterator would not stand that.
        slots, count = self._slots, 0
        try:
            until = slots[0][3] + _TOGETHER
            while slots[count][3] <= until:
                count += 1
        except IndexError:
            pass
        return count


class Crew(Protocol):
    """feed, drop, drain are for the crew's driver; everything else happens in the crew's own threads."""

    done: deque[Done]
    bailed: deque[int]
    broken: deque[BaseException]  # what worker.init has raised
    complaints: deque[str]  # what is to be said of worker.exit
    opening: int  # how many workers run worker.init

    def feed(self, seq: int, batch: Batch) -> None: ...
    def hire(self, least: int = 0) -> None: ...
    def blocked_by(self) -> Slot | None: ...
    def excuse(self, by: float) -> None: ...
    def leave(self) -> None: ...
    def replace(self) -> None: ...
    def drop(self) -> list[int]: ...
    def close(self, *, orderly: bool = True) -> None: ...
