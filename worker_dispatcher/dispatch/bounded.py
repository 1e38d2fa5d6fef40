"""One bounded run: its tasks, from the first to the last, through a pool that is opened for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from worker_dispatcher.clock import now
from worker_dispatcher.core.driver import Alarm, Driver, Timer
from worker_dispatcher.dispatch.failures import TaskRetries, final_exception
from worker_dispatcher.dispatch.plan import Plan
from worker_dispatcher.dispatch.recorder import Recorder
from worker_dispatcher.dispatch.source import AHEAD, TaskSource
from worker_dispatcher.dispatch.tasklist import TaskList
from worker_dispatcher.pools.base import Name, Pool
from worker_dispatcher.records import DROPPED, NOT_RUN, PENDING, Outcome, Records
from worker_dispatcher.signals import held
from worker_dispatcher.tracebacks import part_from_frames

if TYPE_CHECKING:
    from worker_dispatcher.dispatch.abort import AbortWatch
    from worker_dispatcher.dispatch.journal_recorder import JournalRecorder
    from worker_dispatcher.dispatch.load import Load
    from worker_dispatcher.dispatch.resume import ResumedTasks
    from worker_dispatcher.journal.journal import Journal

_FAR_AHEAD = 1.0  # seconds that both are before tasks are due on a cluster, which is far away
_LEAD = 0.01  # seconds from the moment the first workers are ready to the first due time: tasks reach them meanwhile


class BoundedRun:
    """Drives a task list to its end; whatever ends it, each task that was drawn is completed once, and the pool closed.

    Owned by the thread that calls `run`. From other threads and signal handlers: `stop` and `wake` only.
    error: what the run must raise in the end, or None. stopped: why it ended early (see failures), or None; abort_seen:
    which check of abort_on came true, and on what. complaints: what went wrong and cost no task, and how often.
    """

    def __init__(
        self,
        plan: Plan,
        tasks: TaskList,
        records: Records,
        *,
        journal: Journal | None = None,
        watch: AbortWatch | None = None,
        shows: bool = False,
        keeps_shown: bool = False,
    ) -> None:
        """journal: what its earlier runs have is not run again; closed here. watch: looks whether a load is to end.
        shows: how the run goes is shown; keeps_shown: and the last of it stays in sight."""
        self._tasks, self.records = tasks, records
        records.captures = plan.setup.capture
        self._resumed: ResumedTasks | None = None
        self._journal: JournalRecorder | None = None
        left = tasks
        if journal is None:
            self._recorder = Recorder(records, plan)
        else:
            from worker_dispatcher.dispatch.journal_recorder import JournalRecorder
            from worker_dispatcher.dispatch.resume import ResumedTasks, remaining

            plan = remaining(plan, journal.ok_count)
            self._recorder = self._journal = JournalRecorder(records, plan, journal)
            left = self._resumed = ResumedTasks(tasks, self._journal, timed=plan.schedule.timed)
        self._plan, self._watch = plan, watch
        self._drops = plan.load is not None and plan.load.drops
        self._source = TaskSource(
            left,
            records,
            plan.schedule,
            drops=self._drops,
            timeout=plan.timeout,
            stop_at=plan.stop_at,
            ahead=AHEAD if plan.cluster is None else _FAR_AHEAD,
        )
        self.progress = None
        if shows:
            # Where nothing is shown, nothing is loaded.
            from worker_dispatcher.dispatch.progress_display import Progress

            self.progress = Progress(plan, self._source, records, keep=keeps_shown)
        self._driver: Driver | None = None
        self._asked: list[str] = []  # what `stop` was given; an append is atomic under the interpreter lock
        self.stopped: str | None = None
        self.abort_seen = ""
        self.complaints: Mapping[str, int] = {}
        self.error: BaseException | None = None

    def follow(self, tell: Callable[[int, int], None]) -> None:
        """Call `tell` with the first id and the number of tasks, from now on, as they end."""
        self._recorder.tell = tell

    @property
    def interrupted(self) -> bool:
        """Ctrl-C was pressed."""
        return "interrupt" in self._asked

    @property
    def asked(self) -> str | None:
        """The first reason that `stop` was given, or None."""
        return self._asked[0] if self._asked else None

    def stop(self, why: str) -> None:
        """End the run as soon as possible; why: as in failures. From any thread or signal handler."""
        self._asked.append(why)
        if (driver := self._driver) is not None:
            driver.stop(why, hurry=why != "cancel")

    def wake(self) -> None:
        """Look again whether there is something to do. From any thread or signal handler."""
        if (driver := self._driver) is not None:
            driver.wake()

    def run(self, open_pool: Callable[[Name], Pool]) -> None:
        """Drive the run to its end. What the run itself must raise is kept in `error`."""
        try:
            if not self._tasks.ended:
                self._run(open_pool(self.records.pids.__setitem__))  # so that the log of a running run has them too
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Nothing more will run: the task list and the journal are free for others. Idempotent."""
        self._tasks.end()  # a thread that draws must not wait for a driver that is gone
        self._recorder.close()
        self._tasks.wake = _nobody
        self._recorder.last_failed = None
        if self._recorder.error is not None:
            self.fail(self._recorder.error)

    def fail(self, error: BaseException) -> None:
        """The run must raise this in the end, unless it must raise something already."""
        if self.error is None:
            self.error = part_from_frames(error)

    def _run(self, pool: Pool) -> None:
        driver = self._driver = Driver(
            pool, self._source, self._recorder, TaskRetries(self._plan, self.records), self._timers()
        )
        for why in self._asked:  # while there was no driver yet
            driver.stop(why, hurry=why != "cancel")
        self._tasks.wake = driver.wake
        try:
            self._drive(driver, pool)
        except BaseException as error:
            driver.stop("interrupt" if isinstance(error, KeyboardInterrupt) else "exception")
            self._finish_early(driver, pool)
            raise
        finally:
            try:
                if self.progress is not None:
                    self.progress.close(whole=self.stopped is None)
            finally:
                try:
                    _close(driver)
                finally:
                    self._driver = None
            self.complaints = pool.complaints.texts

    def _timers(self) -> list[Timer]:
        stop_at = self._plan.stop_at
        alarm = None if stop_at == math.inf else Alarm(stop_at, "runtime")
        found: tuple[Timer | None, ...] = alarm, self._journal, self._watch, self.progress
        return [timer for timer in found if timer is not None]

    def _drive(self, driver: Driver, pool: Pool) -> None:
        if self._resumed is not None:
            # Before anything runs, tasks are looked up in the journal, as far as the list gives them without a wait.
            while driver.stopped is None and now() < self._plan.stop_at and self._resumed.recall():
                pass
        if self._plan.load is not None and not self._source.ended:
            self._open_load(driver, pool, self._plan.load)
        if self.progress is not None:
            self.progress.begin()
        driver.run(self._going)
        self._recorder.commit()  # before an error tells of what is kept
        if driver.stopped is not None:
            self._finish_early(driver, pool)
        elif self._resumed is not None:
            self._resumed.check_length()
        if self._tasks.error is not None:
            self.fail(self._tasks.error)

    def _going(self) -> bool:
        """True while something has not ended. What no worker was free for in time is dropped here: by now, the pool has
        taken all it has room for."""
        source, recorder = self._source, self._recorder
        if self._drops and (late := source.take_late()) is not None:
            for task_id, item in enumerate(late.items, late.first):
                recorder.complete(Outcome(task_id, DROPPED, result=item))
        return self.records.completed + recorder.pending + source.ahead < len(self.records) or not source.ended

    def _open_load(self, driver: Driver, pool: Pool, load: Load) -> None:
        """The run's time begins once the first workers are ready, so that starting them makes no task late."""
        if self.progress is not None:
            self.progress.prepare()
        workers = max(1, self._source.first_burst(self._plan.workers))
        driver.run(lambda: not pool.prepare(workers))
        began = now() + (_LEAD if self._plan.cluster is None else _FAR_AHEAD)
        self._source.begin(began)
        self.records.measured_from = began + load.warmup
        if load.duration is not None:
            self.records.measured_until = began + load.duration - load.cooldown
        if load.planned is not None:
            self.records.planned_until = began + load.planned
        self._recorder.begin_load(self._plan.max_workers)

    # Ends before the last task

    def _finish_early(self, driver: Driver, pool: Pool) -> None:
        """Stop what runs and give every task that was drawn its outcome."""
        self.stopped = self._recorder.why = driver.stopped or "exception"
        if self._watch is not None and self.stopped == "abort":
            self.abort_seen = self._watch.seen
        self._tasks.end()
        driver.end()
        self._recorder.commit()
        items = self._source.left()
        for task_id in self.records.ids_with(PENDING):
            self._recorder.complete(Outcome(task_id, NOT_RUN, result=items.get(task_id)))
        if self._recorder.why_broken is not None and self.stopped != "failures":
            self.fail(self._recorder.why_broken)
        if self._plan.raises and self._recorder.last_failed is not None and self.stopped != "interrupt":
            last = self._recorder.last_failed
            self.fail(final_exception(*last, pool, self._plan, self.records, self._tasks.total))

    # When all has ended

    def close_load(self) -> None:
        """Without a planned end, the time to cool down counts back from the last due time."""
        load = self._plan.load
        if load is not None and load.duration is None and load.cooldown:
            last = next((at for at in reversed(self.records.due) if at == at), math.inf)  # not NaN
            self.records.measured_until = last - load.cooldown

    def book_left_over(self) -> None:
        """Give the tasks that were taken out of the user's iterable, and never given out, their outcome: not run."""
        if left := self._tasks.left_over():
            self.records.draw(left)
        for task_id in self.records.ids_with(PENDING):
            self._recorder.complete(Outcome(task_id, NOT_RUN))


def _close(driver: Driver) -> None:
    """Close it, whatever a handler of signals raises meanwhile."""
    try:
        driver.close()
    except BaseException:
        with held():
            driver.close()
        raise


def _nobody() -> None:
    """What a task list wakes where no driver waits."""
