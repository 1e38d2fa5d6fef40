"""What a pool is, in words and types.

A pool is given batches of tasks and says of every task in them, exactly once, how it ended: in a `BatchDone`
run of tasks that ended ok, as one `AttemptDone` task, or in a `NotStarted` batch that was not run and is nobody's
fault. It knows nothing of retries, results or records: those are the driver's.
"""

from __future__ import annotations

import itertools
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from worker_dispatcher.call import Call, Hooks
from worker_dispatcher.clock import now
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.records import Failure

__all__ = [
    "LONG",
    "LONGEST_INIT",
    "ONE_BY_ONE_FROM",
    "AttemptDone",
    "Batch",
    "BatchDone",
    "Complaints",
    "Done",
    "End",
    "Event",
    "Name",
    "NotStarted",
    "Patience",
    "Pool",
    "PoolFailed",
    "Setup",
    "Source",
    "neighbours",
    "nobody",
    "numbered",
]

# Seconds. With a journal, a task that takes so long is not sent ahead of the end of another: what begins while that is
# not on disk yet is one task more that a kill takes.
ONE_BY_ONE_FROM = 0.008
LONG = 0.001  # the same in a pool that is kept, where what has not begun counts as waiting and can be cancelled

_TEXTS_MOST = 100  # different complaints that a pool keeps
_HURRIED = 0.5  # seconds that worker.exit may yet take after Ctrl-C
LONGEST_INIT = (
    600.0  # seconds after which a worker.init will not return any more: a model may be loaded in it, or fetched
)


class Batch(NamedTuple):
    """Tasks first, first + 1, ... of one call, within the same limits.

    alone: to be run by a worker process that runs nothing else meanwhile.
    dues: no task starts before its own (monotonic seconds, never decreasing); None: each may start at once.
    attempt: which one of each task this is, from 1.
    call: what is called for each; None: what the pool was opened with. A pool tells calls apart by identity.
    timeout: seconds that each may run, or None. stop_at: none begins from then on (monotonic).
    forgiven: how often they were lost with a worker, and not blamed for it.
    """

    first: int
    items: Sequence[Any]
    alone: bool = False
    dues: array[float] | None = None
    attempt: int = 1
    call: Call | None = None
    timeout: float | None = None
    stop_at: float = math.inf
    forgiven: int = 0

    def part(self, low: int, high: int) -> Batch:
        dues = None if self.dues is None else self.dues[low:high]
        first, items = self.first + low, self.items[low:high]
        limits = self.timeout, self.stop_at, self.forgiven
        return Batch(first, items, self.alone, dues, self.attempt, self.call, *limits)

    def again(self, attempt: int) -> Batch:
        """The same for another attempt, at any time, in any company."""
        return self._replace(alone=False, dues=None, attempt=attempt)

    def numbered(self, seq: int) -> Iterator[tuple[int, int, Any]]:
        """(seq, id, item) of its tasks, the first of which has this seq: see the function."""
        return numbered(seq, self.first, self.items)


def numbered(seq: int, first: int, items: Sequence[Any]) -> Iterator[tuple[int, int, Any]]:
    """(seq, id, item) of tasks, from a seq and an id on. `next()` on it is atomic: one step in C, since the items are a
    list, a tuple or a range."""
    if len(items) == 1:
        return iter(((seq, first, items[0]),))
    return zip(range(seq, seq + len(items)), itertools.count(first), items)


class BatchDone(NamedTuple):
    """Tasks first, first + 1, ... ended ok. starts, ends: monotonic seconds; metadata: by task id, where not empty;
    worker: its number, or one for each task. ids: of the tasks, where they are not neighbours. call: of their batch."""

    first: int
    starts: Sequence[float]
    ends: Sequence[float]
    results: list[Any]
    metadata: dict[int, dict[Any, Any]]
    worker: int | Sequence[int]
    ids: Sequence[int] | None = None
    call: Call | None = None

    @property
    def task_ids(self) -> Sequence[int]:
        return range(self.first, self.first + len(self.results)) if self.ids is None else self.ids

    def runs(self) -> Iterator[BatchDone]:
        """The same, neighbours by neighbours."""
        if self.ids is None:
            yield self
            return
        ids, high = self.ids, 0
        for first, count in neighbours(ids):
            low, high = high, high + count
            notes = {one: self.metadata[one] for one in ids[low:high] if one in self.metadata} if self.metadata else {}
            worker = self.worker if isinstance(self.worker, int) else self.worker[low:high]
            columns = self.starts[low:high], self.ends[low:high], self.results[low:high]
            yield BatchDone(first, *columns, notes, worker, None, self.call)


def neighbours(ids: Sequence[int]) -> list[tuple[int, int]]:
    """The runs in ids: (first, how many)."""
    bounds = [at for at in range(1, len(ids)) if ids[at] != ids[at - 1] + 1]
    return [(ids[low], high - low) for low, high in itertools.pairwise([0, *bounds, len(ids)])]


class AttemptDone(NamedTuple):
    """One attempt of one task has ended; ok if failure is None. batch: of this task alone, for another attempt."""

    batch: Batch
    started: float
    ended: float
    result: Any
    failure: Failure | None
    metadata: dict[Any, Any] | None
    worker: int

    @property
    def task_id(self) -> int:
        return self.batch.first

    @property
    def item(self) -> Any:
        return self.batch.items[0]


class NotStarted(NamedTuple):
    """These tasks were not begun, or were lost through no fault of theirs. They count no attempt."""

    batch: Batch


class PoolFailed(NamedTuple):
    """The pool cannot go on."""

    error: BaseException


Event = BatchDone | AttemptDone | NotStarted | PoolFailed


# Is told the number and the process id of each worker that begins; in any thread.
Name = Callable[[int, int], object]


def nobody(number: int, pid: int) -> None:
    """A `Name` for those who do not ask."""


# Is told the id of a task that has ended ok, its result, when it began and ended, and the number of its worker.
Done = Callable[[int, Any, float, float, int], object]
End = tuple[Done, tuple[int, Any, float, float, int]]  # whom to tell, and what


class Patience:
    """Until when worker.exit is waited for, whatever grace it has: `by`, monotonic."""

    def __init__(self) -> None:
        self.by = math.inf

    def lose(self) -> None:
        """Ctrl-C was pressed: wait a moment yet; again: not any more. From any thread or signal handler."""
        self.by = now() + (_HURRIED if self.by == math.inf else 0.0)


class Complaints:
    """What went wrong and cost no task: each text, and how often. Bounded: a pool may live for days."""

    def __init__(self) -> None:
        self.texts: Counter[str] = Counter()

    def add(self, text: str) -> None:
        known = text in self.texts or len(self.texts) < _TEXTS_MOST
        self.texts[text if known else "more went wrong with workers than is told here"] += 1


class Setup(NamedTuple):
    """What a worker needs to know once. call: of the batches that name none, and its config is that of the hooks.

    coroutine: tasks are coroutines on an event loop, and the functions of all calls coroutine functions.
    timed: batches have dues, and a pool holds no more tasks than it has workers for.
    hooks: what each worker calls once, before its first task and after its last.
    max_tasks: how many tasks a worker process may run. memory_limit: bytes over which it is killed.
    forward_logging: worker processes send what they log; 'drop': what is not taken in time is lost.
    recorded: how each task ends is written to a journal.
    capture: what a task prints is kept for its log.
    kept: the pool is to live long, and no run ends with it.
    """

    call: Call
    coroutine: bool = False
    timed: bool = False
    hooks: Hooks | None = None
    max_tasks: int | None = None
    memory_limit: int | None = None
    forward_logging: bool | str = False
    recorded: bool = False
    capture: bool = False
    kept: bool = False

    def told(self) -> tuple[Any, ...]:
        """As it is sent: see `Call.told`."""
        call, coroutine, timed, hooks, *rest = self
        return call.told(), coroutine, timed, hooks and hooks.told(), *rest

    @staticmethod
    def of(told: tuple[Any, ...]) -> Setup:
        """The setup that was told so."""
        call, coroutine, timed, hooks, *rest = told
        return Setup(Call.of(call), coroutine, timed, hooks and Hooks.of(hooks), *rest)

    def caller(self, call: Call, state: Any = None) -> Callable[[int, Any, dict[Any, Any]], Any]:
        """The function of a call as f(id, task, metadata). state: what worker.init has made."""
        caller = call.with_state(state).caller()
        if not self.capture:
            return caller
        from worker_dispatcher.pools.worker.output_capture import capturing

        return capturing(caller, coroutine=self.coroutine)

    def redirected(self) -> Callable[[], None]:
        """Take hold of what is printed in this process, where that is wanted; returns what lets go of it again."""
        if not self.capture:
            return lambda: None
        from worker_dispatcher.pools.worker.output_capture import redirect

        return redirect()

    @property
    def exit_grace(self) -> float:
        """Seconds that a worker which gets no more tasks may take to end."""
        return 4.0 if self.hooks is not None and self.hooks.exit is not None else 1.0

    @property
    def exit_late(self) -> str:
        return (
            f"worker.exit had not returned after {self.exit_grace:g} s; it was left behind, or ended with its process"
        )


class Source(Protocol):
    """Where a pool takes tasks from; used in the driver's thread only."""

    def take(self, count: int) -> Batch | None:
        """Up to `count` tasks of one call, with the same limits, that may run now; None if there are none at the
        moment."""

    def take_alone(self) -> Batch | None:
        """A task that must run without company, or None."""

    def waiting(self) -> int:
        """How many tasks `take` would give, one after the other."""

    def call(self) -> Call | None:
        """Of the tasks that `take` would give next; None: what the pool was opened with. Only while there are any."""

    def due(self) -> float:
        """When the first of them is due (monotonic); 0 if it may start at once, infinite if there is none."""

    def crowd(self, within: float) -> int:
        """How many of them are due within so many seconds of the first."""

    def alone_waiting(self) -> bool:
        """True if there is something for `take_alone`."""


class Pool(Protocol):
    """One thread at a time drives a pool. Only `wake` and `hurry` may be called while another does, and by signal
    handlers; and `sleep`, by one thread, while others drive.

    Whether a task has begun is decided once: it ends, or it comes back as not begun, and never both.
    """

    place: str  # what a worker is, in messages: 'worker thread', 'worker process' or, of a grid, 'worker'
    apart: bool  # workers have processes of their own
    pids: dict[int, int]  # worker number -> process id, for every worker that there is
    complaints: Complaints  # such as an error in worker.exit; complete once closed

    def prepare(self, workers: int) -> bool:
        """Start so many workers, as far as the pool may; True once those that have been started are ready."""

    def feed(self, source: Source) -> None:
        """Take from the source as much as there is room for."""

    @property
    def roomy(self) -> bool:
        """A worker, or one that could be started, would begin another task at once."""

    @property
    def due(self) -> float:
        """When `collect` has something to do that `sleep` does not wake for (monotonic), or infinite."""

    def sleep(self, until: float) -> None:
        """Wait for something to happen, but not past `until` (monotonic, may be infinite) nor a `wake`."""

    def collect(self) -> list[Event]:
        """What has happened. Does not wait."""

    def offer(self, batch: Batch, done: Done) -> bool:
        """Give one task to a worker that is idle, if there is one. If it ends ok, `done` is called, by whichever thread
        hears of it, or it is told as all others are; of processes, `offered_end` gives it to be called. Of threads: may
        be called while another thread drives."""

    def offered_end(self) -> End | None:
        """After `sleep`, where workers have processes of their own: the `done` of a task that was offered and what it
        is to be told, if all that has happened is that it ended ok."""

    def pause(self) -> None:
        """Begin nothing more, and take nothing more; what has not begun comes back as NotStarted."""

    def resume(self) -> None:
        """Undo `pause`."""

    def resize(self, slots: Sequence[int]) -> None:
        """From now on, have so many threads or coroutines in each process, in order; in threads: the sum. Returns at
        once. Workers that are too many take nothing more, and leave once what they have begun has ended."""

    def runs(self, task_id: int) -> tuple[float, int] | None:
        """Since when a task has run that the pool has, and in which worker; None if it has not begun."""

    def retire(self, idle: float) -> float:
        """Let workers go that have had nothing to do for so many seconds; when another one will have (monotonic),
        infinite where none is idle. They come back as tasks do."""

    def ask_to_stop(self, task_id: int) -> bool:
        """If a task runs, tell it that nobody wants its result, which it may ask for; False if it does not run."""

    def withdraw(self, task_id: int) -> None:
        """Have a task not begin that the pool has: `collect` gives it as NotStarted, with others. What it does not give
        has begun, or may at any time. Waits for a worker's answer, a second at most."""

    def kill(self, task_id: int) -> None:
        """End a task that the pool has: if it has begun, it comes as AttemptDone with status CANCELLED, else it comes
        back as NotStarted, with others. Its worker process is ended, its thread left behind, its coroutine cancelled.
        In a grid, what runs beside it has a moment to end, and comes back if it does not."""

    def wake(self) -> None:
        """Make `sleep` return. At any time, also once the pool is closed."""

    def hurry(self) -> None:
        """Make `sleep` return, and `close` wait no longer for worker.exit: see Patience. At any time."""

    def stop(self) -> list[Event]:
        """End everything now: a task that was running comes as AttemptDone with status CANCELLED, the rest comes back
        as NotStarted."""

    def close(self) -> None:
        """Release all workers and what belongs to them; returns when they are gone. Idempotent."""
