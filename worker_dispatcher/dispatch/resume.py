"""A run that goes on where an earlier one stopped: which tasks are left, and when they may start."""

from __future__ import annotations

import math
import warnings
from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from worker_dispatcher.clock import Anchor
from worker_dispatcher.config.describe import input_text
from worker_dispatcher.config.options import Config
from worker_dispatcher.dispatch.journal_recorder import JournalRecorder
from worker_dispatcher.dispatch.load import Remaining
from worker_dispatcher.dispatch.plan import Plan
from worker_dispatcher.dispatch.tasklist import TaskList
from worker_dispatcher.records import Records

if TYPE_CHECKING:
    from worker_dispatcher.journal.journal import Journal

_AT_ONCE = 1024  # tasks looked up before the driver looks at anything else: some milliseconds


def open_journal(config: Config, total: int | None, anchor: Anchor, depth: int) -> Journal:
    """The journal of a config, held for this run. total: how many tasks there are, None if unknown; depth: of the
    user's frame, above this one. Raises JournalError; the file is left as it is then."""
    from worker_dispatcher.journal.journal import Journal

    assert config.journal is not None
    journal = Journal(config.journal, config.task.function, anchor, config.task.config)
    journal.total, journal.show = total, input_text if config.task.show_input else None
    try:
        if total is not None:
            journal.expect(total)
        for what, changed in (("the function", journal.code_changed), ("task.config", journal.config_changed)):
            if changed:
                text = f"{what} was another when it began: what it has stays as it is, the rest is run with the new one"
                warnings.warn(f"journal {journal.path}: {text}", stacklevel=depth)
    except BaseException:
        journal.close()
        raise
    return journal


def remaining(plan: Plan, done: int) -> Plan:
    """The plan of a run of which so many tasks are done: a load goes on at the due time that comes next."""
    if plan.load is None or not done:
        return plan
    schedule = Remaining(plan.schedule, done)
    gone, load = schedule.gone(), plan.load
    duration = None if load.duration is None else max(0.0, load.duration - gone)
    planned = None if load.planned is None else max(0.0, load.planned - gone)
    load = load._replace(duration=duration, planned=planned, warmup=max(0.0, load.warmup - gone))
    return plan._replace(schedule=schedule, load=load)


class ResumedTasks(TaskList):
    """A task list less those tasks that a journal has. Used by the driver's thread.

    Every task that is drawn is looked up, and is known to the records, before it is given out. What is within reach of
    the journal's knowledge is drawn as soon as nothing has to be waited for: a list that is another one is found out
    before anything runs.
    """

    def __init__(self, tasks: TaskList, recorder: JournalRecorder, *, timed: bool) -> None:
        super().__init__(tasks.total)
        self._tasks, self._recorder, self._timed = tasks, recorder, timed
        self._missing: deque[tuple[int, Sequence[Any]]] = deque()

    def recall(self) -> bool:
        """Look up some more of what the journal may know; False if there is nothing to look up now."""
        left = self._recorder.last_id - self._tasks.drawn
        return left > 0 and self._look_up(min(left, _AT_ONCE))

    def check_length(self) -> None:
        """At the end of a list that did not say how long it is: it must not be shorter than what the journal has."""
        if self._tasks.ended and self._tasks.error is None:
            self._recorder.expect(self._tasks.drawn)

    def _look_up(self, most: int) -> bool:
        count = min(most, self._tasks.available())
        if count <= 0 or self._recorder.error is not None:
            return False
        first = self._tasks.drawn + 1
        items = self._tasks.draw(count)
        if not len(items):
            return False
        self._recorder.records.draw(len(items), array("d", [math.nan]) * len(items) if self._timed else None)
        missing = self._recorder.recall(first, items)
        self._missing.extend(missing)
        self.ahead += sum(len(items) for _, items in missing)
        return True

    def available(self) -> int:
        while self.recall():
            pass
        return 0 if self._recorder.error is not None else self.ahead + self._tasks.available()

    @property
    def ended(self) -> bool:
        return self._tasks.ended and not self._missing

    def left(self) -> Iterable[tuple[int, Sequence[Any]]]:
        return self._missing

    def item_of(self, task_id: int) -> Any:
        return self._tasks.item_of(task_id)

    def take(self, count: int, records: Records, dues: array[float] | None) -> tuple[int, Sequence[Any]]:
        while not self._missing and self._look_up(count):
            pass
        if not self._missing:
            return 0, ()
        first, items = self._missing.popleft()
        if len(items) > count:
            self._missing.appendleft((first + count, items[count:]))
            items = items[:count]
        self.ahead -= len(items)
        if dues is not None:
            records.set_dues(first, dues[: len(items)])
        return first, items
