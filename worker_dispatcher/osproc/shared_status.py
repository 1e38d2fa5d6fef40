"""A few numbers in memory that parent and worker share, and that survive the worker.

Per worker process: one HALT word, one in which the worker says how it ends, then for each of its slots (threads
or coroutines) the sequence number of the task it runs (0 when idle; negative while it is being loaded), since
when, when it is over its time, and which task nobody wants any more. The worker writes its rows but the last; that
and HALT are the parent's; single aligned 8-byte stores, so no lock is needed that a dead worker could hold.

A slot first names its task and then looks at HALT; the parent sets HALT, waits SETTLE and then reads the
rows. A store stays in a store buffer for well under a microsecond, so after SETTLE either the slot has seen
HALT or the parent sees the task (bounded-delay argument of Morrison and Afek, "Temporally Bounding TSO for
Fence-Free Asymmetric Synchronization", ASPLOS 2015).
"""

from __future__ import annotations

import math
import mmap
import os
from typing import NoReturn

from worker_dispatcher.osproc.system import close_all, given
from worker_dispatcher.wire import UNTRACKED, seal

SETTLE = 0.002  # seconds between setting HALT and believing the rows
IN_INIT = 1 << 62  # in the place of a task: the slot runs worker.init
LOST, LEFT = 1, 2  # how a worker ends: its channel was taken from it; in order, and it has run worker.exit
_WORD = 8
_WORDS = 2  # before the rows


class SharedStatus:
    """HALT and `slots` rows. In shared pages (`fd` >= 0) or, for threads of this process, in private ones."""

    grace = 0.0  # see Marks

    def __init__(self, slots: int, fd: int = -1) -> None:
        rows = [_WORD * (_WORDS + nth * slots) for nth in range(5)]
        self.fd = fd
        self._map = mmap.mmap(fd, rows[4], **UNTRACKED)  # an fd of -1 is private memory
        self._view = memoryview(self._map)
        whole = self._view[: rows[1]].cast("q")
        self.halt, self.end, self.running = whole[0:1], whole[1:2], whole[_WORDS:]
        whole.release()  # the pages could not be closed while somebody keeps this frame
        self.started = self._view[rows[1] : rows[2]].cast("d")
        self.deadline = self._view[rows[2] : rows[3]].cast("d")
        self.unwanted = self._view[rows[3] : rows[4]].cast("q")

    @staticmethod
    def of(fd: int) -> SharedStatus:
        """The worker's side of one made by `shared`."""
        made = SharedStatus((os.fstat(fd).st_size // _WORD - _WORDS) // 4, fd)
        seal(fd)  # from here on a task that writes to a descriptor which is not its own does not write here
        return made

    @staticmethod
    def shared(slots: int) -> SharedStatus:
        fd = given("memfd_create", lambda: os.memfd_create("worker_dispatcher", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        try:
            os.ftruncate(fd, _WORD * (_WORDS + 4 * slots))
            made = SharedStatus(slots, fd)
        except BaseException:
            os.close(fd)
            raise
        made.clear()
        return made

    def clear(self) -> None:
        """No task, no deadline, no halt."""
        self.halt[0] = self.end[0] = 0
        for slot in range(len(self.running)):
            self.running[slot] = 0
            self.deadline[slot] = math.inf

    def end_lost(self) -> NoReturn:
        """In a worker whose channel was closed or replaced by code of the user: end the process. LOST says why, since
        an exit code could be the user's."""
        self.end[0] = LOST
        os._exit(1)

    def overdue(self, at: float) -> list[tuple[int, int]]:
        """(slot, task) pairs over their time. The task is read before its deadline and again after it, so a
        slot that has just moved on is not blamed for its last task."""
        late = []
        for slot, due in enumerate(self.deadline):
            task = self.running[slot]
            if due <= at and task and self.deadline[slot] == due and self.running[slot] == task:
                late.append((slot, task))
        return late

    def next_deadline(self) -> float:
        return min(self.deadline, default=math.inf)

    def begun(self) -> dict[int, float]:
        """The tasks that run now, with the moments they began; negative: being loaded."""
        return {task: self.started[slot] for slot, task in enumerate(self.running) if task and task != IN_INIT}

    def slot_of(self, task: int) -> int | None:
        """Where a task runs; None if it does not."""
        return next((slot for slot, one in enumerate(self.running) if one == task), None)

    def in_init_since(self) -> float:
        """When the first of the slots that run worker.init has begun it; infinite if none does."""
        return min((self.started[slot] for slot, task in enumerate(self.running) if task == IN_INIT), default=math.inf)

    def close(self) -> None:
        if self.fd >= 0:
            close_all([self.fd])
            self.fd = -1
        for view in (self.halt, self.end, self.running, self.started, self.deadline, self.unwanted, self._view):
            view.release()
        self._map.close()
