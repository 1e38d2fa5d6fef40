"""Records that are handed over as their tasks end, and not kept: `launch(config, keep_records=False)`."""

from __future__ import annotations

import itertools
import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from worker_dispatcher.clock import LONGEST_WAIT, Anchor
from worker_dispatcher.config.options import Config
from worker_dispatcher.errors import BookingError, ConfigError, RunError
from worker_dispatcher.records import NOT_RUN, OK, PENDING, Failure, Outcome, Records, Scheduled, Times, Workers
from worker_dispatcher.reports.verdict import no_success, successes
from worker_dispatcher.signals import wait_on
from worker_dispatcher.units import counted

_NOT_KEPT = (
    "the records of this run are not kept (keep_records=False): iterate the run, which gives each as its task ends, or "
    "launch it with keep_records=True"
)
_MOST = 4096  # tasks that are open, and records that wait: enough for tiny tasks, little for a process's memory


class RecordStream:
    """The records that wait for whoever iterates the run.

    Shared: everything, under _changed. The driving thread puts and ends; the threads of the user take and give up.
    Waits: `take`, for a record or the end. Whoever makes room calls `wake`, for the driver.
    full: nothing more should be started. There is little room at first, so that few results wait for a slow consumer;
    it grows only when the consumer runs dry although it had been full.
    """

    def __init__(self, at_least: int) -> None:
        self.wake: Callable[[], None] = _nobody
        self.ring: Callable[[], None] = _nobody  # tells a coroutine that takes
        self.full = self.given_up = False
        self._taker: int | None = None  # the thread, or asyncio task, that took last
        self._waiting: deque[dict[str, Any]] = deque()
        self._room = min(at_least, _MOST)
        self._was_full = self._over = False
        self._changed = threading.Condition()

    def put(self, records: Iterable[dict[str, Any]]) -> None:
        """Add records. Never waits, whatever room there is: these tasks have ended."""
        with self._changed:
            if self.given_up:
                return
            self._waiting.extend(records)
            if len(self._waiting) >= self._room:
                self.full = self._was_full = True
            self._changed.notify_all()
        self.ring()

    def end(self) -> None:
        """Nothing more comes."""
        with self._changed:
            self._over = True
            self.wake = _nobody
            self._changed.notify_all()
        self.ring()

    @property
    def over(self) -> bool:
        """All has been taken, and nothing more comes."""
        with self._changed:
            return self._over and not self._waiting

    def claim(self, who: int = 0) -> None:
        """Begin to take. who: the thread or asyncio task. RunError if the records have been given up."""
        with self._changed:
            if self.given_up:
                raise RunError(
                    "the records of this run were given up: wait() came before anybody iterated it, or a loop over it "
                    "was left early"
                )
            self._taker = who

    def take(self, who: int = 0, *, wait: bool = True) -> dict[str, Any] | None:
        """The next record, as soon as there is one; None at the end, and where it is not waited for."""
        with self._changed:
            self._taker = who
            while not self._waiting:
                if self._was_full:
                    self._room, self._was_full = min(2 * self._room, _MOST), False
                if self._over or not wait:
                    return None
                wait_on(self._changed, LONGEST_WAIT)
            record = self._waiting.popleft()
            room = self.full and 2 * len(self._waiting) <= self._room
            if room:
                self.full = False
        if room:
            self.wake()
        return record

    def give_up(self) -> None:
        """Drop the records that wait, and all that come: nobody will take them, and the driver waits for nobody."""
        with self._changed:
            self.given_up, self.full = True, False
            self._waiting.clear()
        self.wake()

    def waited_for(self, *, forever: bool, who: int = 0) -> None:
        """Before somebody waits for the end of the run: where nobody takes records, they are given up, or the run could
        never end. RunError for a taker who would wait for ever, since nobody else takes."""
        with self._changed:
            if self._taker is None:
                self.give_up()
            elif self._taker == who and forever and not (self.given_up or self._over):
                raise RunError(
                    "a run cannot be waited for inside the loop that takes its records: leave the loop first"
                )


def _nobody() -> None:
    """What is woken where no driver waits, and no coroutine takes."""


class StreamedRecords(Records):
    """Records that are handed over, each as its task is completed, and then forgotten.

    It knows open tasks only, and never lets more be drawn than it has room for.
    """

    keeps = False

    def __init__(self, anchor: Anchor, stream: RecordStream, workers: int) -> None:
        super().__init__(anchor)
        # It has no columns: whoever reads one fails at once, instead of finding it empty.
        del self.status, self.started, self.ended, self.worker, self.results, self.due
        del self._interval_firsts, self._interval_numbers
        self._stream = stream
        self._most = max(_MOST, 2 * workers)
        self._open: dict[int, Scheduled] = {}
        self._drawn = 0
        self._number = 0  # of the interval that the tasks drawn next belong to
        self._not_run: list[int] = []
        self._first_failure: tuple[int, Failure] | None = None

    def __len__(self) -> int:
        return self._drawn

    def expect_kept(self) -> None:
        raise RunError(_NOT_KEPT)

    def room(self) -> int:
        return 0 if self._stream.full else self._most - len(self._open)

    def draw(self, count: int, dues: array[float] | None = None) -> int:
        ids = range(self._drawn + 1, self._drawn + count + 1)
        self._drawn += count
        if dues is None:
            self._open.update(dict.fromkeys(ids))
        else:
            self._open.update(zip(ids, zip(dues, itertools.repeat(self._number)), strict=True))
        return ids.start

    def open_interval(self, number: int, first: int) -> None:
        self._number = number
        for task_id in range(first, self._drawn + 1):  # those that were drawn a moment ago
            if (scheduled := self._open.get(task_id)) is not None:
                self._open[task_id] = scheduled[0], number

    def complete_run(self, first: int, starts: Times, ends: Times, results: list[Any], worker: Workers) -> None:
        self.complete_each(range(first, first + len(results)), starts, ends, results, worker)

    def complete_each(
        self, ids: Sequence[int], starts: Times, ends: Times, results: Sequence[Any], worker: Workers
    ) -> None:
        workers = [worker] * len(ids) if isinstance(worker, int) else worker
        schedules = [self._close(task_id) for task_id in ids]
        self.outcomes[OK] += len(results)
        self.without_success += successes(results).count(False)
        if not self._stream.given_up:
            columns = zip(ids, starts, ends, results, workers, schedules, strict=True)
            self._stream.put([self._entry(task_id, OK, *values) for task_id, *values in columns])
        if self.metadata or self.attempts:
            for task_id in ids:
                self._forget(task_id)

    def complete(self, one: Outcome) -> None:
        task_id, status, failure = one.task_id, one.status, one.failure
        scheduled = self._close(task_id)
        self.outcomes[status] += 1
        if status == NOT_RUN:
            self._not_run.append(task_id)
            return
        self._note(one)
        if failure is not None and (self._first_failure is None or task_id < self._first_failure[0]):
            self._first_failure = (task_id, failure._replace(item=None))
        result = one.result if status == OK else self._task_failure(task_id, status)
        self.without_success += bool(no_success(result))
        self._stream.put((self._entry(task_id, status, one.started, one.ended, result, one.worker, scheduled),))
        self._forget(task_id)

    def _close(self, task_id: int) -> Scheduled:
        """Close an open task; its due time and interval."""
        if task_id not in self._open:
            known = 0 < task_id <= self._drawn
            raise BookingError(task_id, "has ended already" if known else f"was never given out; {self._drawn} were")
        self.completed += 1
        return self._open.pop(task_id)

    def _forget(self, task_id: int) -> None:
        for known in (self.failures, self.metadata, self.attempts, self.earlier):
            known.pop(task_id, None)

    def due_of(self, task_id: int) -> float:
        scheduled = self._open[task_id]
        return 0.0 if scheduled is None else scheduled[0]

    def ids_with(self, status: int) -> list[int]:
        if status == PENDING:
            return sorted(self._open)
        return list(self._not_run) if status == NOT_RUN else []  # none is dropped: see `expect_streamable`

    def first_failure(self) -> tuple[int, Failure] | None:
        return self._first_failure

    def kept_note(self) -> str:
        done = self.outcomes[OK]
        return f"{counted(done, 'task')} had ended ok; the run keeps no records (keep_records=False)"


def expect_streamable(config: Config) -> None:
    """Refuse what needs the records of all tasks at once."""
    frequency = config.worker.frequency_mode
    planned = frequency.duration is not None or frequency.stages is not None
    fix = "keep the records, or leave it out"
    needs = {
        "journal": (config.journal, f"gives all records that it has at once; {fix}"),
        "task.callback.on_all_done": (config.task.callback.on_all_done, f"runs over all records at the end; {fix}"),
        "worker.frequency_mode.abort_on": (frequency.abort_on, f"looks at the records of many tasks; {fix}"),
        "worker.frequency_mode.on_saturation": (
            frequency.on_saturation == "drop",
            "'drop' leaves tasks without a record, which would be known only from those kept; keep the records, or "
            "use 'queue'",
        ),
        "worker.frequency_mode.cooldown": (
            frequency.cooldown and not planned,
            "counts back from an end that is not known while records are handed over; give a duration or stages",
        ),
    }
    problems = [(path, f"with keep_records=False: {text}") for path, (given, text) in needs.items() if given]
    if problems:
        raise ConfigError(problems)
