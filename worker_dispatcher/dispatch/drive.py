"""The driver: moves one run from its first task to its last record, in whichever thread calls `run`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from worker_dispatcher.clock import now
from worker_dispatcher.config import input_text
from worker_dispatcher.dispatch.books import Books, JournalBooks, Outcome
from worker_dispatcher.dispatch.plan import Plan
from worker_dispatcher.dispatch.source import TaskSource
from worker_dispatcher.dispatch.stops import cut_short
from worker_dispatcher.dispatch.tasklist import LONGEST_WAIT, TaskList
from worker_dispatcher.errors import RemoteTraceback, TaskError, TaskTimeout
from worker_dispatcher.execute import describe, failure_from
from worker_dispatcher.pools.base import Batch, Broken, Ended, Event, Finished, Pool, Raised, Returned
from worker_dispatcher.records import CANCELLED, CRASHED, DROPPED, ERROR, NOT_RUN, OK, OPEN, TIMEOUT, Failure, Ledger
from worker_dispatcher.tracebacks import part_from_frames

if TYPE_CHECKING:
    from worker_dispatcher.dispatch.abort import AbortWatch
    from worker_dispatcher.dispatch.load import Load
    from worker_dispatcher.dispatch.progress import Progress
    from worker_dispatcher.dispatch.recall import Recalled
    from worker_dispatcher.journal import Journal

__all__ = ["Driver"]

_LEAD = 0.01  # seconds from the moment the first workers are ready to the first due time: tasks reach them meanwhile
_FREE_SOON = 0.005  # seconds after a task's due time within which a worker counts as free for it
_EXCEPTION_WAIT = 1.0  # seconds to wait for the exception object of a failed task before its text must do


class Driver:
    """Feeds a pool from the task list, books what it reports, retries, and stops when it must.

    Owned by the thread that calls `run`. From other threads and signal handlers: `ask_to_stop` and `wake` only.
    error: what the run must raise in the end, or None. stopped: why it ended early, or None; abort_seen: which check
    of abort_on came true, and on what.
    """

    def __init__(self, plan: Plan, tasks: TaskList, ledger: Ledger, *, on_error: str, max_failures: int | None) -> None:
        self._plan, self._tasks, self.ledger = plan, tasks, ledger
        ledger.captures = plan.setup.capture
        self._raises = on_error == "raise"
        self._failures_allowed = max_failures if max_failures is not None else 1 if self._raises else math.inf
        self._source = TaskSource(tasks, ledger, plan.schedule)
        self._books = Books(ledger)
        self._recalled: Recalled | None = None
        self._failed = 0
        self._tried: dict[int, int] = {}  # failed attempts of tasks that will be or were tried again
        self._retrying: dict[int, Ended] = {}  # the last attempt of tasks that wait for another
        self._asked: str | None = None
        self._last_failed: Ended | None = None
        self._exceptions: dict[int, BaseException | None] = {}
        load = plan.load
        self._watch: AbortWatch | None = None
        if load is not None and load.abort_on:
            from worker_dispatcher.dispatch.abort import AbortWatch

            self._watch = AbortWatch(load.abort_on, ledger)
        self._pool: Pool | None = None
        self.stopped: str | None = None
        self.abort_seen = ""
        self.complaints: list[str] = []
        self.error: BaseException | None = None
        self.progress: Progress | None = None

    def keep_in(self, journal: Journal) -> None:
        """Go on where the journal's earlier runs stopped, and record there how tasks end before anybody hears of it.
        Before `run`, which closes it, as `let_go` does."""
        from worker_dispatcher.dispatch.recall import Recalled, remaining

        books = JournalBooks(self.ledger, journal)
        self._plan = remaining(self._plan, journal.ok_count)
        self._recalled = Recalled(self._tasks, books, timed=self._plan.schedule.timed)
        self._source = TaskSource(self._recalled, self.ledger, self._plan.schedule)
        self._books = books

    def follow(self, tell: Callable[[int, int], None]) -> None:
        """Tell from now on what is settled: the first id and how many."""
        self._books.tell = tell

    @property
    def interrupted(self) -> bool:
        """Ctrl-C was pressed."""
        return self._asked == "interrupt"

    def ask_to_stop(self, why: str) -> None:
        """End the run as soon as possible; why: as in stops. From any thread or signal handler."""
        self._asked = self._asked or why
        if (pool := self._pool) is not None:
            pool.wake() if why == "cancel" else pool.hurry()

    def wake(self) -> None:
        """Look again whether there is something to do. From any thread or signal handler."""
        if (pool := self._pool) is not None:
            pool.wake()

    def run(self, open_pool: Callable[[], Pool]) -> None:
        """Drive the run to its end. What the run itself must raise is kept in `error`."""
        try:
            if not self._tasks.ended:
                self._run(open_pool())
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Nothing more will run: the task list and the journal are free for others. Idempotent."""
        self._tasks.end()  # whoever draws for us must not wait for a driver that is gone
        self._books.close()
        self._tasks.wake = _nobody
        self._last_failed = None
        self._exceptions.clear()
        if self._books.error is not None:
            self.fail(self._books.error)

    def fail(self, error: BaseException) -> None:
        """The run must raise this in the end, unless it must raise something already."""
        if self.error is None:
            self.error = part_from_frames(error)

    def _run(self, pool: Pool) -> None:
        self._pool = pool
        self._books.name_workers(pool.pids)  # grows with the pool, so that the log of a running run has them too
        try:
            self._tasks.wake = self.wake
            self._recall()
            if self._plan.load is not None and not self._source.ended:
                self._open_load(pool, self._plan.load)
            self._drive(pool)
            if self.stopped is not None:
                self._finish_early(pool)
        except BaseException as error:
            self.stopped = self.stopped or ("interrupt" if isinstance(error, KeyboardInterrupt) else "exception")
            self._finish_early(pool)
            raise
        finally:
            try:
                if self.progress is not None:
                    self.progress.close(whole=self.stopped is None)
            finally:
                try:
                    pool.close()
                finally:
                    self._pool = None
            self.complaints = pool.complaints

    def _drive(self, pool: Pool) -> None:
        stop_at = self._plan.setup.stop_at or math.inf
        source, ledger, books = self._source, self.ledger, self._books
        drops = self._plan.load is not None and self._plan.load.drops
        progress = self.progress
        if progress is not None:
            progress.begin(self._plan)
        while True:
            # The first reason stands: a run that failed in its last moment still raises.
            self.stopped = self._must_stop(stop_at)
            if self.stopped is not None:
                break
            source.release()
            pool.feed(source)
            due = min(source.next_due(), books.due)
            if self._watch is not None:
                due = min(due, self._watch.due)
            if progress is not None:
                due = min(due, progress.due)
            if drops:
                due = min(due, self._drop_late(now() - _FREE_SOON))
            if source.ended and ledger.settled + books.pending + source.ahead == len(ledger):
                break
            if books.error is not None:
                continue
            for event in pool.wait(min(stop_at, due, now() + LONGEST_WAIT)):
                self._take(event)
            if now() >= books.due:
                books.commit()
            if self._watch is not None and now() >= self._watch.due:
                self._abort_if(self._watch.broken())
            if progress is not None and now() >= progress.due:
                progress.look(source)
        books.commit()  # before an error tells of what is kept
        if self._recalled is not None and self.stopped is None:
            self._recalled.check_length()
        if self.stopped == "failures" and self._raises:
            self._await_exception(pool)
        if self._tasks.error is not None:
            self.fail(self._tasks.error)

    def _must_stop(self, stop_at: float) -> str | None:
        late, lost = now() >= stop_at, self._books.error is not None
        return self.stopped or self._asked or ("runtime" if late else None) or ("journal" if lost else None)

    def _recall(self) -> None:
        """Look up what the journal knows before anything runs, as far as nothing has to be waited for."""
        stop_at = self._plan.setup.stop_at or math.inf
        while self._recalled is not None and self._must_stop(stop_at) is None and self._recalled.recall():
            pass

    def _open_load(self, pool: Pool, load: Load) -> None:
        """The run's time begins once the first workers are ready, so that starting them makes no task late."""
        if self.progress is not None:
            self.progress.prepare()
        workers = max(1, self._source.first_burst(self._plan.workers))
        stop_at = self._plan.setup.stop_at or math.inf
        while not pool.prepare(workers) and self._asked is None and self.stopped is None and now() < stop_at:
            for event in pool.wait(min(stop_at, now() + LONGEST_WAIT)):
                self._take(event)
        began = now() + _LEAD
        self._source.begin(began)
        self.ledger.measured_from = began + load.warmup
        if load.duration is not None:
            self.ledger.measured_until = began + load.duration - load.cooldown
        if load.planned is not None:
            self.ledger.planned_until = began + load.planned
        self._books.begin_load(self._plan.max_workers)

    def _abort_if(self, seen: str) -> None:
        if seen:
            self.stopped, self.abort_seen = self.stopped or "abort", seen

    def _drop_late(self, before: float) -> float:
        """Settle as dropped what found no free worker; when to look again (monotonic)."""
        batch = self._source.take_late(before)
        if batch is None:
            return self._source.fresh_due() + _FREE_SOON
        for task_id, item in enumerate(batch.items, batch.first):
            self._books.leave_out(task_id, DROPPED, item)
        return 0.0

    # Events

    def _take(self, event: Event) -> None:
        match event:
            case Finished():
                self._finished(event)
            case Ended():
                self._ended(event)
            case Returned():
                self._source.put_back(event.batch)
            case Raised():
                if self._last_failed is not None:  # no other will be raised
                    self._exceptions[event.task_id] = event.exception
            case Broken():
                self.fail(event.error)  # the first one says why
                self.stopped = self.stopped or "exception"

    def _finished(self, event: Finished) -> None:
        attempts: dict[int, int] = {}
        if self._retrying:
            for task_id in self._retrying.keys() & event.task_ids:
                del self._retrying[task_id]
                attempts[task_id] = self._tried[task_id] + 1
        refused = self._books.run(event, attempts)
        for task_id in attempts.keys() - refused.keys():
            del self._tried[task_id]
        for task_id, error in refused.items():
            at = event.task_ids.index(task_id)
            worker = event.worker if isinstance(event.worker, int) else event.worker[at]
            self._cannot_keep(Ended(task_id, None, event.starts[at], event.ends[at], None, None, None, worker), error)

    def _cannot_keep(self, event: Ended, error: BaseException) -> None:
        """What a task that ended ok has to keep cannot be written to the journal: that is the task's error."""
        failure = failure_from(self._plan.setup.call, error)
        failure = failure._replace(
            message=f"the result or its metadata cannot be kept in the journal: {failure.message}"
        )
        self._tried[event.task_id] = self._tried.get(event.task_id, 0) + 1
        self._settle(event._replace(result=None, failure=failure), ERROR, failure)

    def _ended(self, event: Ended) -> None:
        failure = event.failure
        if failure is not None:
            tried = self._tried[event.task_id] = self._tried.get(event.task_id, 0) + 1
            if self.stopped is None and self._plan.retry.again(tried) and self._may_retry(event.task_id, failure):
                wait = self._plan.retry.backoff.wait(tried)
                self._source.put_back_at(now() + wait, Batch(event.task_id, (event.item,)))
                self._retrying[event.task_id] = event
                return
        self._settle(event, OK if failure is None else failure.status, failure)

    def _may_retry(self, task_id: int, failure: Failure) -> bool:
        """What retry_on says: of an error in the worker, where the exception was; of a timeout or a death, here."""
        if failure.status == ERROR:
            return failure.retry
        return failure_from(self._plan.setup.call, self._own_error(task_id, failure)).retry

    def _own_error(self, task_id: int, failure: Failure, worker: int | None = None) -> BaseException:
        """The exception that stands for a timeout or a death. worker: the process's number, where it has one."""
        if failure.status == TIMEOUT:
            return TaskTimeout(task_id, self._plan.setup.timeout or 0.0)
        from worker_dispatcher.worker_died import WorkerDied

        return WorkerDied(task_id, failure.message.removeprefix("its worker process "), worker)

    def _settle(self, event: Ended, status: int, failure: Failure | None) -> None:
        task_id = event.task_id
        self._retrying.pop(task_id, None)
        tried = self._tried.get(task_id, 0) + (failure is None)
        kept = None if failure is None else self._kept(failure, event.item)
        # What cannot be sent or loaded fails while it is made ready, ahead of its time: it counts as failed then.
        due = self.ledger.due_of(task_id)
        started, ended = max(event.started, due), max(event.ended, due)
        outcome = Outcome(task_id, status, started, ended, event.result, kept, event.worker, tried, event.metadata)
        if (broken := self._books.one(outcome)) is not None:
            self._cannot_keep(event._replace(metadata=None), broken)
            return
        self._tried.pop(task_id, None)
        if failure is not None and status != CANCELLED:
            self._failed += 1
            if self._failed >= self._failures_allowed and self._last_failed is None:
                self.stopped = self.stopped or "failures"
                self._last_failed = event
                self._tried[task_id] = tried  # for what is said of it

    def _kept(self, failure: Failure, item: Any) -> Failure:
        return failure._replace(exception=None, item=item, input=self._input(item))

    def _input(self, item: Any) -> str:
        """A failed task's item, where text may show it; else empty."""
        return input_text(item) if self._plan.show_input else ""

    # Ends before the last task

    def _finish_early(self, pool: Pool) -> None:
        """Stop what runs and give every task that was drawn its outcome."""
        self._tasks.end()
        why = self.stopped or "cancel"
        for event in pool.stop():
            match event:
                case Ended() if event.failure is not None and event.failure.status == CANCELLED:
                    self._settle(event, CANCELLED, cut_short(why))
                case Returned():
                    self._source.put_back(event.batch)  # still open: settled below
                case _:
                    self._take(event)
        for waiting in list(self._retrying.values()):
            assert waiting.failure is not None
            self._settle(waiting, waiting.failure.status, waiting.failure)
        self._books.commit()
        items = self._source.left()
        for task_id in self.ledger.open_ids():
            self._books.leave_out(task_id, NOT_RUN, items.get(task_id))
        if self._raises and self._last_failed is not None and self.error is None and why != "interrupt":
            self.fail(self._dressed(self._last_failed))

    def close_load(self) -> None:
        """Without a planned end, the time to cool down counts back from the last due time."""
        load = self._plan.load
        if load is not None and load.duration is None and load.cooldown:
            last = next((at for at in reversed(self.ledger.due) if at == at), math.inf)  # not NaN
            self.ledger.measured_until = last - load.cooldown

    def book_left_over(self) -> None:
        """Give the tasks that were taken out of the user's iterable, and never given out, their outcome: not run."""
        self.ledger.draw(self._tasks.left_over())
        for task_id in self.ledger.ids_with(OPEN):
            self._books.leave_out(task_id, NOT_RUN)

    def _await_exception(self, pool: Pool) -> None:
        """Bring the failed task's own exception here, or the best that can be said of it."""
        if self._last_failed is None:
            return
        until = now() + _EXCEPTION_WAIT
        while self._plan.kind != "threads" and self._on_its_way(self._last_failed, pool) and now() < until:
            for event in pool.wait(until):
                self._take(event)
        self.fail(self._dressed(self._last_failed))

    def _on_its_way(self, event: Ended, pool: Pool) -> bool:
        """True while the exception object of a task, or the id of its process, has not come here yet.

        A new process may have failed at its first task before the fork server has told its id.
        """
        failure = event.failure
        assert failure is not None
        if failure.status == ERROR and failure.exception is None and event.task_id not in self._exceptions:
            return True
        return event.ended > event.started and event.worker not in pool.pids

    def _dressed(self, event: Ended) -> BaseException:
        """The exception of the task that ends the run, with notes on where and when, and its remote traceback."""
        task_id, failure, kind = event.task_id, event.failure, self._plan.kind
        assert failure is not None
        error = failure.exception if failure.exception is not None else self._exceptions.get(task_id)
        if failure.status in (TIMEOUT, CRASHED):
            error = self._own_error(task_id, failure, event.worker if kind == "processes" else None)
        elif error is None:
            error = TaskError(task_id, failure.type, failure.message, failure.traceback)
        own_text = describe(error)[1]
        if failure.status == ERROR and failure.message != own_text and failure.message.endswith(own_text):
            error.add_note("  " + failure.message.removesuffix(own_text).rstrip(": "))  # its item or result, on the way
        error.add_note("  " + self._circumstances(event))
        error.add_note("  " + self.ledger.kept_note())
        if failure.traceback and kind != "threads" and error.__cause__ is None:
            error.__cause__ = RemoteTraceback(failure.traceback)
        return error

    def _circumstances(self, event: Ended) -> str:
        """Which task it was, what became of it where, and its input where that is a text or a number."""
        total = "" if self._tasks.total is None else f" of {self._tasks.total}"
        said = f"task #{event.task_id}{total}, attempt {self._tried.get(event.task_id, 1)}"
        if event.ended > event.started:  # else it was never sent
            from worker_dispatcher.reports.wording import seconds_text

            place = {"threads": "worker thread", "processes": "worker process", "grid": "worker"}[self._plan.kind]
            said += f", ran {seconds_text(event.ended - event.started)} in {place} {event.worker}"
            pids = self._pool.pids if self._pool is not None and self._plan.kind != "threads" else {}
            said += f" (pid {pids[event.worker]})" if event.worker in pids else ""
        item = self._input(event.item)
        return f"{said}; input {item}" if item else said


def _nobody() -> None:
    """Who is to be woken when nobody waits any more."""
