"""The thread pool: one crew in this process, watched and fed by the driver's thread."""

from __future__ import annotations

import itertools
import math
import operator
import os
import queue
import time
from array import array
from collections.abc import Iterable
from typing import Any

from worker_dispatcher.clock import now
from worker_dispatcher.errors import RunError, TaskTimeout
from worker_dispatcher.osproc.slate import IN_INIT
from worker_dispatcher.pools.base import (
    LONGEST_INIT,
    ONE_BY_ONE_FROM,
    Batch,
    Broken,
    Ended,
    Event,
    Finished,
    Returned,
    Setup,
    Source,
)
from worker_dispatcher.pools.claims import Done, Slot
from worker_dispatcher.pools.crew import breath, crew_kind, join_idle
from worker_dispatcher.records import CANCELLED, TIMEOUT, Failure

__all__ = ["ThreadPool"]

_HOLD_MOST = 1024  # tasks: enough that threads with tiny tasks do not wait for the driver


class ThreadPool:
    """Runs tasks in threads of this process, or as coroutines on one event loop.

    A task over its time is recorded at once; its thread, which nothing can end, is left behind as a daemon
    and replaced. Owned by the driver's thread: everything here. Waits: `wait`, on _news.
    """

    def __init__(self, setup: Setup, size: int) -> None:
        self._setup, self._size = setup, size
        self.pids: dict[int, int] = {}
        self.complaints: list[str] = []
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._signalled = False
        self._halt = [0]
        self._slots: list[Slot] = []
        self._numbers = 0
        self._tasks: dict[int, tuple[int, Any, float]] = {}  # seq -> (id, item, due) of what the crew holds
        self._seq = 1
        self._hold = 2 * size
        self._one_by_one = setup.timed or setup.recorded  # no task is held that no thread is free for
        self._full = False
        self._scan_at = math.inf
        self._look_at = math.inf if setup.hooks is None else now() + LONGEST_INIT
        self._stopped = False
        self._let_go_of_output = setup.redirected()
        self._breath, self._looked = breath(setup, size), 0.0
        self._new_crew()

    def _new_crew(self) -> None:
        self._slots = []
        self._crew = crew_kind(self._setup)(self._setup, self._size, self._new_slot, self._halt, self.wake)

    def _new_slot(self) -> Slot:
        self._numbers += 1
        slot = Slot(self._numbers, [0], [0.0], [math.inf])
        self.pids[slot.number] = os.getpid()
        self._slots.append(slot)
        return slot

    def wake(self) -> None:
        if not self._signalled:
            self._signalled = True
            self._news.put(None)

    def prepare(self, workers: int) -> bool:
        self._crew.hire(workers)
        return not self._crew.opening

    def feed(self, source: Source) -> None:
        # One crew, so nothing is balanced between workers. It holds little at first, so that a lazy iterable
        # stays lazy, and more only when its threads run dry although there was more to hold.
        if self._full and len(self._tasks) < self._size and not self._one_by_one:
            self._hold = min(2 * self._hold, max(4 * self._size, _HOLD_MOST))
        self._full = False
        hold = self._size if self._one_by_one else self._hold
        while (room := hold - len(self._tasks)) > 0:
            batch = source.take_alone() or source.take(min(room, max(self._size, 256)))
            if batch is None:
                return
            count = len(batch.items)
            dues: Iterable[float] = batch.dues if batch.dues is not None else itertools.repeat(0.0)
            self._tasks.update(enumerate(zip(itertools.count(batch.first), batch.items, dues), self._seq))
            self._crew.feed(self._seq, batch)
            self._seq += count
            if self._setup.timeout is not None:
                self._scan_at = min(self._scan_at, now() + self._setup.timeout)
        self._full = True

    def wait(self, until: float) -> list[Event]:
        due = 0.0 if self._crew.done or self._crew.bailed else min(until, self._scan_at, self._look_at)
        try:
            self._news.get(timeout=None if due == math.inf else max(0.0, due - now()))
        except queue.Empty:
            pass
        if (rest := self._looked + self._breath - now()) > 0:
            time.sleep(rest)
        self._looked = now()
        self._signalled = False
        if self._setup.timed:
            self._crew.hire()
        events = self._drain()
        if now() >= self._scan_at:
            events += self._watch()
        if self._setup.hooks is not None:
            events += self._watch_init()
        return events

    def _watch_init(self) -> list[Event]:
        """A worker.init that has raised, or has not returned for a very long time, ends the run."""
        broken, at = self._crew.broken, now()
        events: list[Event] = []
        for _ in range(len(broken)):
            error = broken.popleft()
            error.add_note("  worker.init raised this in a worker thread, so the run was ended")
            events.append(Broken(error))
        if at >= self._look_at:
            self._look_at = at + LONGEST_INIT / 10
            since = min((s.started[0] for s in self._slots if s.running[0] == IN_INIT), default=math.inf)
            if at - since >= LONGEST_INIT:
                events.append(Broken(RunError(f"worker.init has not returned after {at - since:.0f} s")))
        return events

    def _drain(self) -> list[Event]:
        done, bailed = self._crew.done, self._crew.bailed
        ended = [done.popleft() for _ in range(len(done))]
        if ended:
            last = ended[-1][2]
            self._one_by_one = self._setup.timed or (
                self._setup.recorded and last.ended - last.started >= ONE_BY_ONE_FROM
            )
        ended.sort(key=_seq)
        events = self._book(ended) if ended else []
        for _ in range(len(bailed)):
            events.append(self._give_back(bailed.popleft()))
        return events

    def _book(self, ended: list[Done]) -> list[Event]:
        """What has ended, in order of seq: columns, with no step in Python for each task that can be spared."""
        seqs, workers, hows = zip(*ended, strict=True)
        starts, ends, results, failures, notes = zip(*hows, strict=True)
        if failures.count(None) + notes.count(None) < 2 * len(ended):
            return self._book_apart(ended)
        pop = self._tasks.pop
        ids = [pop(seq)[0] for seq in seqs]
        bounds = [0, len(ids)]
        if ids != list(range(ids[0], ids[0] + len(ids))):  # tasks are claimed in order: a run, but for a few stragglers
            bounds[1:1] = [at for at in range(1, len(ids)) if ids[at] != ids[at - 1] + 1]
        return [
            Finished(ids[low], starts[low:high], ends[low:high], list(results[low:high]), {}, workers[low:high])
            for low, high in itertools.pairwise(bounds)
        ]

    def _book_apart(self, ended: list[Done]) -> list[Event]:
        """The same where some have failed or have metadata: those one by one."""
        plain = [one for one in ended if one[2].failure is None and one[2].metadata is None]
        events = self._book(plain) if plain else []
        for seq, number, how in ended:
            if how.failure is not None or how.metadata is not None:
                task_id, item, _ = self._tasks.pop(seq)
                events.append(Ended(task_id, item, *how, number))
        return events

    def _give_back(self, seq: int) -> Returned:
        task_id, item, due = self._tasks.pop(seq)
        return Returned(Batch(task_id, (item,), dues=array("d", (due,)) if due else None))

    def _watch(self) -> list[Event]:
        """Settle what is over its time. What ends in this very moment is heard of later, or given up: never both."""
        timeout = self._setup.timeout
        assert timeout is not None
        at = now()
        events: list[Event] = []
        late = [slot for slot in self._slots if slot.deadline[0] <= at and slot.running[0]]
        if late and self._setup.coroutine:
            self._crew.excuse(at)
            if late := [slot for slot in late if slot.deadline[0] <= at]:
                return self._leave_loop(late)
        for slot in late:
            if seq := slot.give_up(at):
                self._crew.replace()
                self._slots.remove(slot)
                events.append(self._timed_out(seq, slot))
        self._scan_at = min(
            min((slot.deadline[0] for slot in self._slots), default=math.inf), at + timeout if self._tasks else math.inf
        )
        return events

    def _timed_out(self, seq: int, slot: Slot) -> Ended:
        task_id, item, _ = self._tasks.pop(seq)
        assert self._setup.timeout is not None
        late = TaskTimeout(task_id, self._setup.timeout)
        failure = Failure("TaskTimeout", str(late), "", True, late, TIMEOUT)
        return Ended(task_id, item, slot.started[0], now(), None, failure, None, slot.number)

    def _leave_loop(self, late: list[Slot]) -> list[Event]:
        """A coroutine does not let go: leave loop and thread behind; the others begin again on a new one."""
        # Where one stands in the way of all, the others are late through no fault of theirs.
        blocker = self._crew.blocked_by()
        blamed = [blocker] if blocker in late else late
        self._halt[0] = 1
        self._crew.drop()
        given_up = self._give_up_all()
        self._crew.leave()
        events = self._drain()
        events += [self._timed_out(seq, slot) for slot, seq in given_up.items() if slot in blamed]
        events += [self._give_back(seq) for seq in list(self._tasks)]
        self._halt = [0]
        self._new_crew()
        self._scan_at = math.inf
        return events

    def _give_up_all(self) -> dict[Slot, int]:
        """Hear nothing more of any slot; the tasks that ran, by slot."""
        given_up = {slot: slot.give_up() for slot in self._slots}
        return {slot: seq for slot, seq in given_up.items() if seq not in (0, IN_INIT)}

    def stop(self) -> list[Event]:
        self._halt[0], self._stopped = 1, True
        for seq in self._crew.drop():
            self._crew.bailed.append(seq)
        running = self._give_up_all()
        events, at = self._drain(), now()
        for slot, seq in running.items():
            if slot.started[0] >= (self._setup.stop_at or math.inf):
                continue  # it was about to turn back
            task_id, item, _ = self._tasks.pop(seq)
            failure = Failure("", "", status=CANCELLED)
            events.append(Ended(task_id, item, slot.started[0], at, None, failure, None, slot.number))
        events += [self._give_back(seq) for seq in list(self._tasks)]
        return events

    def close(self) -> None:
        self._halt[0] = 1
        self._crew.close(orderly=not self._stopped)
        if not join_idle(self._slots, self._setup.exit_grace) and self._setup.hooks is not None and not self._stopped:
            self.complaints.append(self._setup.exit_late)
        self.complaints += self._crew.complaints
        self._let_go_of_output()


_seq = operator.itemgetter(0)
