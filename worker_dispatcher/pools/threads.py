"""The thread pool: one runner in this process, watched and fed by the driver's thread."""

from __future__ import annotations

import math
import os
import queue
from collections.abc import Callable, Sequence

from worker_dispatcher.clock import LONGEST_WAIT, now, sleep
from worker_dispatcher.errors import RunError, TaskTimeout
from worker_dispatcher.execute import catch
from worker_dispatcher.osproc.shared_status import IN_INIT
from worker_dispatcher.pools import base
from worker_dispatcher.pools.base import LONGEST_INIT, AttemptDone, Batch, Done, Event, NotStarted, PoolFailed, Setup
from worker_dispatcher.pools.booking import booked
from worker_dispatcher.pools.handed import FIRST_HANDED, Handed
from worker_dispatcher.pools.in_flight import InFlight
from worker_dispatcher.pools.runners.task_queue import Slot, breath
from worker_dispatcher.pools.runners.worker_threads import runner_kind
from worker_dispatcher.pools.weight import weight_of
from worker_dispatcher.records import CANCELLED, TIMEOUT, Failure

__all__ = ["ThreadPool"]

_HOLD_MOST = 8192  # tasks: enough that threads with tiny tasks do not wait for the driver
_HOLD_BYTES = 8 << 20  # of results that may wait for the driver, which may have to write each to a journal
_FORGETS = 0.9  # of the heaviest result seen, at each look
_FEED_MOST = 4096  # tasks handed to the runner at once, unless it has more threads
_AFTER_STOP = 0.5  # seconds that threads may take to end which have nothing more to do; a loop may be blocked
_LOOK_AGAIN = 0.002  # seconds until a task that is to end, and was about to begin, is looked for again


class ThreadPool:
    """Runs tasks in threads of this process, or as coroutines on one event loop.

    A task over its time is recorded at once; its thread, which nothing can end, is left behind as a daemon. spare: how
    many threads may stand in for such ones at a time, None for any number; where none may, the place of a thread that
    is left behind is taken until it returns. Owned by the driver: everything here. Waits: `sleep`, on _news.
    left_behind: threads that may not return, by the id of the task; where any number may stand in, none is listed.
    told: called when there is something to collect, by the worker that has brought it, in the place of `wake`.
    """

    place, apart = "worker thread", False

    def __init__(self, setup: Setup, size: int, named: base.Name = base.nobody, *, spare: int | None = None) -> None:
        self._setup, self._size, self._named, self._spare = setup, size, named, spare
        self.left_behind: dict[int, Slot] = {}
        self.told: Callable[[], None] | None = None
        self.pids: dict[int, int] = {}
        self.complaints = base.Complaints()
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._signalled = False
        self._halt = [False]
        self._slots: list[Slot] = []
        self._numbers = 0
        self._held = InFlight()  # by the runner
        self._seq = 1
        self._handed = Handed()
        self._hold, self._weight = 2 * size, 1.0
        self._one_by_one = setup.timed or setup.recorded or setup.kept  # no task is held that no thread is free for
        self._full = False
        self._scan_at = math.inf
        self._look_at = math.inf if setup.hooks is None else now() + LONGEST_INIT
        self._stopped = self._closed = self._paused = False
        self._doomed: set[int] = set()  # tasks that are to end
        self._events: list[Event] = []  # what `pause` has taken back
        self._patience = base.Patience()
        self._let_go_of_output = setup.redirected()
        self._breath, self._looked = breath(setup, size), 0.0
        self._new_runner()

    def _new_runner(self) -> None:
        self._slots = []
        kind = runner_kind(self._setup)
        self._runner = kind(self._setup, self._size, self._new_slot, self._halt, self._tell)

    def _new_slot(self) -> Slot:
        self._numbers += 1
        slot = Slot(self._numbers, [0], [0.0], [math.inf], [False], [0])
        self.pids[slot.number] = os.getpid()
        self._named(slot.number, os.getpid())
        self._slots.append(slot)
        return slot

    def _tell(self) -> None:
        if self.told is None:
            self.wake()
        else:
            self.told()

    def wake(self) -> None:
        if not self._signalled:
            self._signalled = True
            self._news.put(None)

    def hurry(self) -> None:
        self._patience.lose()
        self._news.put(None)

    def prepare(self, workers: int) -> bool:
        self._runner.hire(workers)
        return not self._runner.opening

    def feed(self, source: base.Source) -> None:
        # One runner, so nothing is balanced between workers. It holds little at first, so that a lazy iterable
        # stays lazy, and more only when its threads run dry although there was more to hold.
        if self._paused:
            return
        if self._full and self._held.count < self._size and not self._one_by_one:
            self._hold = min(2 * self._hold, max(4 * self._size, _HOLD_MOST))
        self._full = False
        if self._spare is not None and not self._places():
            return
        hold = self._size if self._one_by_one else min(self._hold, max(self._size, int(_HOLD_BYTES / self._weight)))
        while (room := hold - self._held.count - len(self._handed)) > 0:
            batch = source.take_alone() or source.take(min(room, max(self._size, _FEED_MOST)))
            if batch is None:
                return
            self._held.add(self._seq, batch)
            self._runner.feed(self._seq, batch)
            self._seq += len(batch.items)
            if batch.timeout is not None:
                self._scan_at = min(self._scan_at, now() + batch.timeout)
        self._full = True

    def offer(self, batch: Batch, done: Done) -> bool:
        if self._paused or self._closed:
            return False
        if not self._handed.offer(self._runner.offer, batch, done):
            return False
        if batch.timeout is not None:
            self._scan_at = min(self._scan_at, now() + batch.timeout)
        return True

    def offered_end(self) -> base.End | None:
        return None  # its thread tells of it

    @property
    def roomy(self) -> bool:
        places = self._size if self._spare is None else self._places()
        return not self._paused and self._held.count + len(self._handed) < places

    def _places(self) -> int:
        """How many threads there may be that run tasks for somebody, in a pool that is kept."""
        return self._size - max(0, len(self.left_behind) - (self._spare or 0))

    @property
    def due(self) -> float:
        runner = self._runner
        untold = self.told is None and (runner.done or runner.bailed)  # else who brings them collects them, too
        if untold or runner.short or self._events:
            return 0.0
        due = min(self._scan_at, self._look_at, runner.look_at)
        return min(due, now() + _LOOK_AGAIN) if self._doomed else due

    def sleep(self, until: float) -> None:
        try:
            self._news.get(timeout=None if until == math.inf else max(0.0, until - now()))
        except queue.Empty:
            pass
        if not self._runner.short and (rest := self._looked + self._breath - now()) > 0:
            sleep(rest)

    def collect(self) -> list[Event]:
        self._runner.grow()
        self._looked = now()
        self._signalled = False
        if self._setup.timed:
            self._runner.hire()
        events, self._events = self._events + self._drain(), []
        if (lost := self._runner.lost) is not None:
            why = f"the event loop of the coroutines cannot go on ({lost}): a task may have closed all descriptors"
            events.append(PoolFailed(RunError(f"{why}, with those that are not its own")))
        if now() >= self._scan_at:
            events += self._watch()
        if self._setup.hooks is not None:
            events += self._watch_init()
        if self._doomed or self._runner.left or self.left_behind:
            events += self._clear_up()
        return events

    def _clear_up(self) -> list[Event]:
        """End what is to end; forget threads that have left."""
        for _ in range(len(left := self._runner.left)):
            slot = left.popleft()
            if slot.thread is not None and not slot.thread.left:
                left.append(slot)  # it runs worker.exit
                continue
            self._runner.forget(slot)
            self._slots.remove(slot)
            del self.pids[slot.number]
        for task_id, slot in list(self.left_behind.items()):
            if slot.thread is not None and slot.thread.left:
                del self.left_behind[task_id], self.pids[slot.number]
                self._runner.returned(slot)
                self._fit()
        return [event for task_id in list(self._doomed) for event in self._end_task(task_id)]

    def pause(self) -> None:
        self._paused = True
        self._halt_all()
        self._events += self._take_back()

    def resume(self) -> None:
        self._paused = self._halt[0] = False
        for slot in self._slots:
            slot.halt[0] = False

    def resize(self, slots: Sequence[int]) -> None:
        self._size = sum(slots)
        self._hold = max(self._hold, 2 * self._size)
        self._breath = breath(self._setup, self._size)
        self._fit()

    def _fit(self) -> None:
        """Have as many threads as there may be, those that were left behind included."""
        self._runner.resize(self._size + min(len(self.left_behind), self._spare or 0))

    def _slot_of(self, task_id: int) -> Slot | None:
        """Where a task runs."""
        self._handed.book(self._held)
        seq = self._held.seq_of(task_id)
        return next((slot for slot in self._slots if slot.running[0] == seq), None) if seq else None

    def runs(self, task_id: int) -> tuple[float, int] | None:
        slot = self._slot_of(task_id)
        return None if slot is None else (float(slot.started[0]), slot.number)

    def retire(self, idle: float) -> float:
        return self._runner.retire(now() - idle) + idle

    def ask_to_stop(self, task_id: int) -> bool:
        slot = self._slot_of(task_id)
        if slot is not None:
            slot.unwanted[0] = slot.running[0]
        return slot is not None

    def withdraw(self, task_id: int) -> None:
        self._events += self._take_back()

    def kill(self, task_id: int) -> None:
        self._doomed.add(task_id)
        self.wake()

    def _end_task(self, task_id: int) -> Sequence[Event]:
        """End a task that is to end, or take it back if it has not begun; try again where it is about to."""
        self._handed.book(self._held)
        seq = self._held.seq_of(task_id)
        if seq and not self._runner.cancel(seq):
            slot = next((s for s in self._slots if s.running[0] == seq and s.give_up(only=seq)), None)
            if slot is None:
                return self._take_back()
            self._doomed.discard(task_id)
            return self._leave_behind(seq, slot, lambda _: Failure("", "", status=CANCELLED))
        self._doomed.discard(task_id)
        return []

    def _take_back(self) -> list[Event]:
        """What no thread has claimed, out of the runner."""
        return [event for seq in self._runner.drop() for event in self._give_back(seq)]

    def _watch_init(self) -> list[Event]:
        """A worker.init that has raised, or has not returned for a very long time, ends the run."""
        broken, at = self._runner.broken, now()
        events: list[Event] = []
        for _ in range(len(broken)):
            error = broken.popleft()
            error.add_note("  worker.init raised this in a worker thread, so the run was ended")
            events.append(PoolFailed(error))
        if at >= self._look_at:
            self._look_at = at + LONGEST_INIT / 10
            since = min((s.started[0] for s in self._slots if s.running[0] == IN_INIT), default=math.inf)
            if at - since >= LONGEST_INIT:
                events.append(PoolFailed(RunError(f"worker.init has not returned after {at - since:.0f} s")))
        return events

    def _drain(self, *, all_there_is: bool = False) -> list[Event]:
        bailed = self._runner.bailed
        events: list[Event] = []
        some, *stretches = self._runner.harvest(all_there_is=all_there_is)
        for ended in (some.in_order(), *stretches):
            if ended.seqs:
                if self._handed and max(ended.seqs) >= FIRST_HANDED:
                    self._handed.book(self._held)
                took = ended.ends[-1] - ended.starts[-1]
                self._weight = max(catch(weight_of, ended.results[-1])[0] or 1.0, _FORGETS * self._weight)
                long = took >= (base.LONG if self._setup.kept else base.ONE_BY_ONE_FROM)
                self._one_by_one = self._setup.timed or (long and (self._setup.recorded or self._setup.kept))
                events += booked(self._held, ended)
        if bailed and self._handed:
            self._handed.book(self._held)
        for _ in range(len(bailed)):
            events += self._give_back(bailed.popleft())
        return events

    def _give_back(self, seq: int) -> list[Event]:
        return [NotStarted(piece.tasks()) for piece in self._held.take(seq, seq + 1)]

    def _watch(self) -> list[Event]:
        """Settle what is over its time. What ends in this very moment is heard of later, or given up: never both."""
        self._handed.book(self._held)
        at = now()
        events: list[Event] = []
        late = [slot for slot in self._slots if slot.deadline[0] <= at and slot.running[0]]
        if late and self._setup.coroutine:
            self._runner.excuse(at)
            if late := [slot for slot in late if slot.deadline[0] <= at]:
                return self._leave_loop(late)
        for slot in late:
            if seq := slot.give_up(at):
                events += self._leave_behind(seq, slot, _lateness)
        self._scan_at = min([at + self._held.least_timeout, *(slot.deadline[0] for slot in self._slots)])
        return events

    def _leave_behind(self, seq: int, slot: Slot, failure: Callable[[Batch], Failure]) -> Sequence[Event]:
        """The end of a task with which a slot was given up, whose thread goes on; who may takes its place."""
        self._slots.remove(slot)
        events = [*self._cut_short(seq, slot, failure)]
        if self._spare is None:
            self._runner.replace(slot)
            return events
        self._runner.leave_behind(slot)
        self.left_behind[events[0].task_id if events else -slot.number] = slot  # without one, it returns in a moment
        self._fit()
        return events

    def _cut_short(self, seq: int, slot: Slot, failure: Callable[[Batch], Failure]) -> Sequence[AttemptDone]:
        """The end of a task with which a slot was given up; none if it has ended in that moment by itself."""
        how, notes = (slot.since, now(), None), slot.notes
        tasks = [piece.tasks() for piece in self._held.take(seq, seq + 1)]
        return [AttemptDone(task, *how, failure(task), notes, slot.number) for task in tasks]

    def _leave_loop(self, late: list[Slot]) -> list[Event]:
        """A coroutine does not let go: leave loop and thread behind; the others begin again on a new one."""
        # Where one stands in the way of all, the others are late through no fault of theirs.
        blocker = self._runner.blocked_by()
        blamed = [blocker] if blocker in late else late
        self._halt[0] = True
        self._runner.drop()
        given_up = self._give_up_all()
        self._runner.leave()
        events = self._drain()
        for slot, seq in given_up.items():
            events += self._cut_short(seq, slot, _lateness) if slot in blamed else ()
        events += [NotStarted(piece.tasks()) for piece in self._held.take_all()]
        self._halt = [self._paused]
        self._new_runner()
        self._scan_at = math.inf
        return events

    def _give_up_all(self) -> dict[Slot, int]:
        """Hear nothing more of any slot; the tasks that ran, by slot."""
        given_up = {slot: slot.give_up() for slot in self._slots}
        return {slot: seq for slot, seq in given_up.items() if seq not in (0, IN_INIT)}

    def stop(self) -> list[Event]:
        self._halt_all()
        self._stopped = True
        self._handed.book(self._held)
        self._runner.drop()
        running = self._give_up_all()
        events = self._events + self._drain(all_there_is=True)
        self._events = []
        for slot, seq in running.items():
            if slot.since < self._held.batch_of(seq).stop_at:  # else it was about to turn back
                events += self._cut_short(seq, slot, lambda _: Failure("", "", status=CANCELLED))
        return events + [NotStarted(piece.tasks()) for piece in self._held.take_all()]

    def _halt_all(self) -> None:
        """Nothing begins any more."""
        self._halt[0] = True
        for slot in self._slots:
            slot.halt[0] = True

    def close(self) -> None:
        if self._closed:
            return
        self._closed, self.told = True, None
        self._halt_all()
        self._runner.close(orderly=not self._stopped)
        hooks = self._setup.hooks is not None and not self._stopped and not self._runner.opening
        if not self._await_ends() and hooks:
            self.complaints.add(self._setup.exit_late)
        for text in self._runner.complaints:
            self.complaints.add(text)
        self._let_go_of_output()
        del self._runner  # it knows this pool

    def _await_ends(self) -> bool:
        """Wait for the threads that run no task to end; False if some have not in time."""
        until = now() + (_AFTER_STOP if self._stopped else self._setup.exit_grace)
        self._signalled = False
        while not all(thread.left for thread in self._runner.ending()):
            if (left := min(until, self._patience.by) - now()) <= 0:
                return False
            try:
                self._news.get(timeout=min(left, LONGEST_WAIT))
            except queue.Empty:
                pass
            self._signalled = False
        for thread in self._runner.ending():
            if thread.left:
                thread.join()
        return True


def _lateness(task: Batch) -> Failure:
    late = TaskTimeout(task.first, task.timeout or 0.0)
    return Failure("TaskTimeout", str(late), "", True, late, TIMEOUT)
