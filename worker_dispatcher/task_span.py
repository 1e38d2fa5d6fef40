"""How some tasks went, as the thread that runs them writes it down; floor 1."""

from __future__ import annotations

import math
import sys
from typing import Any

from worker_dispatcher.records import Failure

# Nothing is ever put in these: a span of one task, as one that waits is, would have made its own in vain.
_NOTHING_APART: dict[int, tuple[Failure | None, dict[Any, Any] | None]] = {}
_NO_NOTES: dict[Any, Any] = {}


class TaskSpan:
    """How some tasks went, one after the other in one thread. Other threads may read it, and cut it short: each of the
    steps that this takes (an append, `list.index`, a look at a length) is atomic under the interpreter lock.

    seqs, starts: of those that have begun, in order; results (sealed), ends: of those that have ended. ends is the
    last to get its entry: once that is there, the task has ended for all the world.
    apart: failure and metadata of those that have any, by place. heavy: the last result takes much memory.
    unbegun: what was taken from the tasks and must not begin now, or None; its seq is there nevertheless.
    taken: how many the one who reports has taken so far. notes: the metadata of the task that runs, as far as it has
    written any.
    """

    __slots__ = ("_most", "apart", "ends", "heavy", "notes", "results", "seqs", "starts", "taken", "unbegun")

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.starts: list[float] = []
        self.ends: list[float] = []
        self.results: list[Any] = []
        self.apart = _NOTHING_APART
        self.unbegun: tuple[int, int, Any] | None = None
        self.heavy = False
        self.notes = _NO_NOTES
        self.taken, self._most = 0, sys.maxsize

    def note(self, failure: Failure | None, metadata: dict[Any, Any] | None) -> None:
        """What there is to the task that is about to end, beside its result."""
        if not self.apart:
            self.apart = {}
        self.apart[len(self.ends)] = failure, metadata

    @property
    def ended(self) -> int:
        """How many tasks have ended; from any thread."""
        return min(len(self.ends), self._most)

    def cut(self) -> int:
        """Hear no more of it; the seq of the task that had not ended, 0 if there is none. From any thread."""
        # Whose entry comes first decides: that of the task's thread, which has ended it, or this one, after which
        # entries mean nothing. No lock is needed, under which each task would cost half as much again.
        self.ends.append(math.inf)
        self._most = self.ends.index(math.inf)
        return self.seqs[self._most] if len(self.seqs) > self._most else 0

    def mend(self) -> None:
        """Undo a cut."""
        del self.ends[self._most]
        self._most = sys.maxsize
