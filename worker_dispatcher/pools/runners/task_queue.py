"""What the threads of a runner share: which task is whose, and how each ended."""

from __future__ import annotations

import _thread
import functools
import itertools
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from worker_dispatcher.clock import now
from worker_dispatcher.execute import AttemptResult
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.osproc.shared_status import IN_INIT
from worker_dispatcher.pools.base import Batch, Setup
from worker_dispatcher.records import Failure
from worker_dispatcher.task_span import TaskSpan

__all__ = [
    "Claim",
    "Columns",
    "Done",
    "Runner",
    "Slot",
    "TaskQueue",
    "TimedTaskQueue",
    "WorkerThread",
    "breath",
    "forked",
]

_BREATH_EACH = 12e-6  # seconds between two looks at what has ended, for each worker of the runner
_BREATH_MOST = 0.003  # and for all: half of what a grid's process has ahead
_TOGETHER = 0.001  # seconds within which tasks are due together, each in a thread of its own


class WorkerThread(threading.Thread):
    """A thread of a runner. left: it has nothing more to do; `wake` is called after that."""

    def __init__(self, target: Callable[[], None], name: str, wake: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self.left = False
        self._life, self._wake = target, wake

    def run(self) -> None:
        try:
            self._life()
        finally:
            self.left = True
            self._wake()
            del self._life, self._wake


class Slot:
    """One thread or coroutine. running, started, deadline: one-cell rows that the watcher of timeouts reads; halt: if
    true, nothing begins; unwanted: the seq of a task whose result nobody wants any more.

    Shared: abandoned, stretch, with running and what is reported, under mutex; what is in the stretch, see there.
    stretch: how a thread's tasks go that it has not reported; None before the first, and for a coroutine.
    rest: held, but for the moment in which a thread that waits for work is woken; handed: what it is woken for, or
    None where it is to look for itself; retired: it is woken to go.
    abandoned: the seq of the task with which the watcher gave the slot up, or 0; what becomes of that is not heard.
    """

    __slots__ = (
        *("abandoned", "coroutines_notes", "deadline", "halt", "handed", "mutex"),
        *("number", "rest", "retired", "running", "started", "stretch", "thread", "unwanted"),
    )
    grace = 0.0  # see Marks

    def __init__(self, number: int, running: Any, started: Any, deadline: Any, halt: Any, unwanted: Any) -> None:
        self.number, self.running, self.started, self.deadline = number, running, started, deadline
        self.halt, self.unwanted = halt, unwanted
        self.stretch: TaskSpan | None = None
        self.coroutines_notes: dict[Any, Any] = {}
        self.abandoned = 0
        self.mutex = _thread.allocate_lock()
        self.thread: WorkerThread | None = None
        self.rest = _thread.allocate_lock()
        self.rest.acquire()
        self.retired = False
        self.handed: Claim | None = None

    def open_init(self) -> None:
        """Say that the slot runs worker.init."""
        self.started[0] = now()
        self.running[0] = IN_INIT

    def close_init(self) -> bool:
        """It has ended; False if the slot was given up meanwhile."""
        with self.mutex:
            self.running[0] = 0
            return not self.abandoned

    def settle(self, where: deque[Any] | None, what: Any, fresh: TaskSpan | None = None) -> bool:
        """Say how the slot's tasks ended, unless the slot was given up: then False, and nobody hears of it.
        fresh: where the next ones are written down."""
        # One step with the watcher's: a task is either reported or given up, and never both or neither.
        with self.mutex:
            if self.abandoned:
                return False
            if where is not None:
                where.append(what)
            self.stretch = fresh
            self.running[0] = 0
            self.deadline[0] = math.inf
            return True

    def give_up(self, at: float = math.inf, only: int = 0) -> int:
        """Stop hearing the slot if its task is over its time at a moment, and is the only one that is meant (0: any);
        the task's seq, 0 if it is not so."""
        with self.mutex:
            if self.stretch is None:
                seq = int(self.running[0])
                self.abandoned = seq if self.deadline[0] <= at and only in (0, seq) else 0
            else:
                self.abandoned = self._cut(self.stretch, at, only)
            if self.abandoned:
                self.unwanted[0] = self.abandoned
            return self.abandoned

    @property
    def since(self) -> float:
        """When the task began with which the slot was given up."""
        # Its thread may have ended it since, and be about to turn back from the next one.
        went = self.stretch
        return float(self.started[0]) if went is None else went.starts[went.ended]

    @property
    def notes(self) -> dict[Any, Any] | None:
        """A copy of the metadata of the task with which the slot was given up: its thread may write on."""
        went = self.stretch
        return dict(self.coroutines_notes if went is None else went.notes) or None

    def _cut(self, stretch: TaskSpan, at: float, only: int) -> int:
        # Nothing must begin while it is found out whether what runs is late: nobody would hear of it.
        halted, self.halt[0] = self.halt[0], True
        seq = stretch.cut()
        if seq and self.deadline[0] <= at and only in (0, seq):
            return seq
        stretch.mend()
        self.halt[0] = halted
        return 0


class Columns(NamedTuple):
    """Tasks that have ended, in any order, a column each. numbers: of the slots; apart: failure and metadata of those
    that have any, by place."""

    seqs: list[int]
    numbers: list[int]
    starts: list[float]
    ends: list[float]
    results: list[Any]
    apart: dict[int, tuple[Failure | None, dict[Any, Any] | None]]

    @staticmethod
    def empty() -> Columns:
        return Columns([], [], [], [], [], {})

    @staticmethod
    def of_stretch(number: int, went: TaskSpan) -> Columns:
        """What has ended of a slot's stretch that its thread has done with, and was not taken before."""
        if not went.taken and went.ended == len(went.ends) == len(went.seqs):
            went.taken = went.ended
            return Columns(went.seqs, [number] * went.ended, went.starts, went.ends, went.results, went.apart)
        columns = Columns.empty()
        columns.take(number, went)
        return columns

    @staticmethod
    def of(done: Sequence[Done]) -> Columns:
        if not done:
            return Columns.empty()
        seqs, numbers, hows = zip(*done, strict=True)
        starts, ends, results, failures, notes = zip(*hows, strict=True)
        apart = {}
        if failures.count(None) + notes.count(None) < 2 * len(done):
            told = enumerate(zip(failures, notes, strict=True))
            apart = {at: what for at, what in told if what != (None, None)}
        return Columns(list(seqs), list(numbers), list(starts), list(ends), list(results), apart)

    def in_order(self) -> Columns:
        """The same in order of seq."""
        seqs = self.seqs
        if seqs == sorted(seqs):  # which takes a quarter of the time that a look at each pair takes
            return self
        order = sorted(range(len(seqs)), key=seqs.__getitem__)
        place = {old: new for new, old in enumerate(order)} if self.apart else {}
        apart = {place[at]: what for at, what in self.apart.items()}
        return self._of_each(lambda column: list(map(column.__getitem__, order)), apart)

    def part(self, low: int, high: int) -> Columns:
        """Those at places low to high (exclusive)."""
        apart = {at - low: what for at, what in self.apart.items() if low <= at < high}
        return self._of_each(lambda column: column[low:high], apart)

    def notes(self, low: int, ids: Sequence[int]) -> dict[int, dict[Any, Any]]:
        """Metadata by id, where there is any, of tasks from a place on whose ids these are."""
        if not self.apart:
            return {}
        found = ((one, self.apart.get(at, (None, None))[1]) for at, one in enumerate(ids, low))
        return {one: notes for one, notes in found if notes}

    def _of_each(self, pick: Callable[[list[Any]], list[Any]], apart: dict[int, Any]) -> Columns:
        columns = pick(self.seqs), pick(self.numbers), pick(self.starts), pick(self.ends), pick(self.results)
        return Columns(*columns, apart)

    def take(self, number: int, went: TaskSpan) -> None:
        """Add what has ended of a slot's stretch, and was not taken before."""
        low, high = went.taken, went.ended
        if low == high:
            return
        went.taken = high
        if went.apart:
            found = ((at, went.apart.get(at)) for at in range(low, high))
            self.apart.update({len(self.seqs) + at - low: one for at, one in found if one is not None})
        elif high == 1:  # a task that has waited for something is told of by itself
            self.seqs.append(went.seqs[0])
            self.numbers.append(number)
            self.starts.append(went.starts[0])
            self.ends.append(went.ends[0])
            self.results.append(went.results[0])
            return
        self.seqs.extend(went.seqs[low:high])
        self.numbers.extend([number] * (high - low))
        self.starts.extend(went.starts[low:high])
        self.ends.extend(went.ends[low:high])
        self.results.extend(went.results[low:high])


Done = tuple[int, int, AttemptResult]  # seq, number of the slot, how it ended


def forked() -> list[bool]:
    """One cell: true in a child that this process forks from now on. A look at it costs a fraction of getpid()."""
    return _latest_cell()[0]


@functools.cache
def _latest_cell() -> list[list[bool]]:
    """The cell that `forked` gives, in a cell. One for all, since what is registered for a fork is never let go."""
    latest = [[False]]

    def in_child() -> None:
        latest[0][0] = True
        latest[0] = [False]  # for what the child itself may run

    os.register_at_fork(after_in_child=in_child)
    return latest


Task = tuple[int, int, Any]  # seq, id, item


class Claim(NamedTuple):
    """A task that is one thread's. due: when it may start (0: at once); batch: of its call and its limits, without the
    items; rest: those of its batch that nobody has claimed. To take one from it is to claim it, and atomic: see
    Batch.numbered. done: of a task that was handed to a thread: what is called in the place of a report if it ends ok;
    False where it is to be reported nevertheless."""

    task: Task
    due: float
    batch: Batch
    rest: Iterator[Task]
    done: Callable[[int, TaskSpan], bool] | None = None


_NONE_LEFT: Iterator[Task] = iter(())
_NOTHING = Batch(0, ()), _NONE_LEFT


class TaskQueue:
    """Batches of tasks from which any thread takes the next one, without a lock where it matters."""

    def __init__(self) -> None:
        self._batches: deque[tuple[Batch, Iterator[Task]]] = deque()
        self._open: tuple[Batch, Iterator[Task]] = _NOTHING  # replaced in one step
        self._mutex = threading.Lock()

    def add(self, seq: int, batch: Batch) -> None:
        """Tasks seq, seq + 1, ... of a runner."""
        with self._mutex:
            self._batches.append((batch._replace(items=()), batch.numbered(seq)))

    def next(self) -> Claim | None:
        """A task that is now the caller's, or None."""
        while True:
            batch, rest = opened = self._open
            if (task := next(rest, None)) is not None:
                seq, task_id, item = task  # a zip that nobody holds a tuple of makes no other for the next step
                return Claim((seq, task_id, item), 0.0, batch, rest)
            with self._mutex:
                if self._open is opened:
                    if not self._batches:
                        self._open = _NOTHING  # the old one keeps an item alive
                        return None
                    self._open = self._batches.popleft()

    def crowd(self) -> int:
        """How many unclaimed tasks should start together; not for tasks without dues."""
        raise NotImplementedError

    def drop(self) -> list[int]:
        """Claim all that nobody has claimed; their seqs."""
        dropped = []
        while (claim := self.next()) is not None:
            dropped.append(claim.task[0])
        return dropped


class TimedTaskQueue(TaskQueue):
    """The same for tasks with due times, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self._slots: deque[Claim] = deque()

    def add(self, seq: int, batch: Batch) -> None:
        dues: Iterable[float] = batch.dues if batch.dues is not None else itertools.repeat(0.0)
        limits = batch._replace(items=(), dues=None)
        self._slots.extend(
            Claim(task, due, limits, _NONE_LEFT) for task, due in zip(batch.numbered(seq), dues, strict=False)
        )

    def next(self) -> Claim | None:
        try:
            return self._slots.popleft()  # atomic, as is each step of extend
        except IndexError:
            return None

    def crowd(self) -> int:
        # By index: other threads take from the left meanwhile, and an iterator would not stand that.
        slots, count = self._slots, 0
        try:
            until = slots[0].due + _TOGETHER
            while slots[count].due <= until:
                count += 1
        except IndexError:
            pass
        return count


class Runner(Protocol):
    """All methods are for the runner's driver, blocked_by and excuse also for whoever watches it; what has happened in
    the runner's own threads stands in the attributes."""

    done: deque[Any]  # what `harvest` will find
    short: int  # how many workers `grow` has yet to start
    look_at: float  # when `harvest` may find what nobody has woken it for (monotonic)
    bailed: deque[int]
    broken: deque[BaseException]  # what worker.init has raised
    complaints: deque[str]  # what is to be said of worker.exit
    opening: int  # how many workers run worker.init
    left: deque[Slot]  # of threads that are gone, since there were too many
    lost: OSError | None  # why no task can run any more: code of the user has closed what a loop waits on

    def feed(self, seq: int, batch: Batch) -> None: ...
    def offer(self, claim: Claim) -> bool: ...
    def hire(self, least: int = 0) -> None: ...
    def grow(self) -> None: ...
    def harvest(self, *, all_there_is: bool = False) -> list[Columns]: ...
    def blocked_by(self) -> Slot | None: ...
    def excuse(self, by: float) -> None: ...
    def leave(self) -> None: ...
    def replace(self, slot: Slot) -> None: ...
    def leave_behind(self, slot: Slot) -> None: ...
    def returned(self, slot: Slot) -> None: ...
    def drop(self) -> list[int]: ...
    def resize(self, size: int) -> None: ...
    def forget(self, slot: Slot) -> None: ...
    def retire(self, since: float) -> float: ...
    def cancel(self, seq: int) -> bool: ...
    def close(self, *, orderly: bool = True) -> None: ...
    def ending(self) -> list[WorkerThread]: ...


def breath(setup: Setup, size: int) -> float:
    """Seconds that whoever hears a runner of so many workers lets pass from one look at what has ended to the next.

    To wake for every task, in the midst of many threads that want to run, costs more than the task itself.
    """
    return 0.0 if setup.timed else min(_BREATH_EACH * size, _BREATH_MOST)
