"""One finished or running dispatch."""

from __future__ import annotations

import html
import sys
import threading
import warnings
import weakref
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from typing import Any

from worker_dispatcher.clock import Anchor
from worker_dispatcher.config import CALLBACK_NAMES, Config, call_style
from worker_dispatcher.dispatch.banner import Banner
from worker_dispatcher.dispatch.drive import Driver
from worker_dispatcher.dispatch.handover import Handover, PassingLedger, check_passing
from worker_dispatcher.dispatch.interrupt import interrupts_ask
from worker_dispatcher.dispatch.plan import make_plan, open_pool
from worker_dispatcher.dispatch.sendable import check_sendable
from worker_dispatcher.dispatch.tasklist import Intake, task_list
from worker_dispatcher.errors import TaskFailuresWarning, WorkerWarning
from worker_dispatcher.execute import call_styled, describe, guarded
from worker_dispatcher.records import DROPPED, NOT_RUN, Failure, Ledger

__all__ = ["Run"]

_LAST_DRAW = 0.1  # seconds that a launched run, at its end, waits for the task it is being given


class Run:
    """A dispatch, from `launch` or `start`. Immutable once it is finished.

    Iterate it for the logs of tasks as they end, in the order they end. results, logs and info are complete
    once `done`. Thread-safe: every method may be called from any thread.

    Launched with keep_records=False it hands each log over and forgets it, in memory that does not grow: results, logs
    and tps() raise RunError. While thousands of records wait (fewer for slow tasks), nothing more is started; what runs
    goes on, and its timeouts hold. Leaving the loop early cancels the run, as does dropping the run; wait() or await
    without iterating gives the records up. What the run raises comes out of the loop, at its end.
    """

    def __init__(self, config: Config, raw: dict[str, Any], *, keep_records: bool = True) -> None:
        if not keep_records:
            check_passing(config)
        self.config = raw
        self._config = config
        self._anchor = Anchor.take()
        frequency = config.worker.frequency_mode
        cycle = frequency.enabled and (frequency.duration is not None or frequency.stages is not None)
        self._tasks = task_list(config.task.list, config.worker.number or 4, cycle=cycle)
        self._plan = make_plan(config, self._tasks.total, self._anchor)
        if self._plan.kind != "threads":
            check_sendable(config)
        workers = self._plan.workers
        self._handover = None if keep_records else Handover(2 * workers)
        self._ledger = PassingLedger(self._anchor, self._handover, workers) if self._handover else Ledger(self._anchor)
        on_error, most = config.task.on_error, config.task.max_failures
        self._driver = Driver(self._plan, self._tasks, self._ledger, on_error=on_error, max_failures=most)
        if config.verbose if config.progress is None else config.progress:
            from worker_dispatcher.dispatch.progress import Progress  # where nothing is shown, nothing is loaded

            self._driver.progress = Progress(self._ledger, keep=not config.verbose)
        if self._handover is not None:
            self._handover.wake = self._driver.wake
        self._banner = Banner(config, self._plan, self._anchor)
        self._ended: Anchor | None = None
        self._changed = threading.Condition()
        self._news: deque[tuple[int, int]] = deque()
        self._thread: threading.Thread | None = None
        self._logs: list[dict[str, Any]] | None = None
        self._results: list[Any] = []
        self._at_end: Callable[[Run], None] | None = None
        self._warned = False
        self._done = self._told = False  # told: whoever waits has been told, after all that is done at the end
        self._waiters: list[Callable[[], None]] = []
        self._rendering = threading.Lock()
        self._calling_back = False  # on_all_done is running: like the task list, it is the user's code
        if config.journal is not None:
            from worker_dispatcher.dispatch.recall import open_journal

            self._driver.keep_in(open_journal(config, self._tasks.total, self._anchor, 5))

    # Driving

    def drive(self) -> Run:
        """Run to the end in this thread. Raises what the run must raise; everything finished stays readable."""
        try:
            self._banner.opening()
        except BaseException:  # Ctrl-C, above all, while nobody reads what it says
            self._driver.let_go()
            raise
        with interrupts_ask(self.interrupt):  # to the end: no Ctrl-C shall cost what is kept
            if isinstance(self._tasks, Intake):
                self._pour(self._tasks)
            else:
                self._work()
            if self._driver.error is None:
                self._all_done()
            self._finish()
        if self._driver.error is not None:
            if isinstance(self._driver.error, KeyboardInterrupt):
                self._driver.error.add_note("  " + self._ledger.kept_note())
            raise self._driver.error
        if self._thread is None:
            self._warn(4)  # past drive and start, to the line of the user
        return self

    def interrupt(self) -> None:
        """Stop the run as Ctrl-C does, which calls this: for signal handlers, in the thread that drives. Nothing, once
        the run is done."""
        if self._done:
            return
        self._driver.ask_to_stop("interrupt")
        self._tasks.interrupt()
        if self._calling_back:
            self._calling_back = False  # once: the next one may find us in our own code already
            raise KeyboardInterrupt

    def _work(self) -> None:
        try:
            self._driver.run(lambda: open_pool(self._plan))
        except (Exception, KeyboardInterrupt) as error:
            self._driver.error = error
        if self._driver.stopped == "interrupt" and self._driver.error is None:
            self._driver.error = KeyboardInterrupt()

    def _pour(self, tasks: Intake) -> None:
        """Draw from an iterable of unknown length here, so that it runs in the caller's thread; drive in another.

        A launched run has no caller that waits in here: it draws in a thread that can be left behind when the run ends
        and the iterable does not.
        """
        if self._thread is not None:
            drawing = threading.Thread(target=self._draw, args=(tasks,), name="tasks", daemon=True)
            drawing.start()
            self._work()
            drawing.join(_LAST_DRAW)
            return
        over = threading.Event()

        def work() -> None:
            try:
                self._work()
            finally:
                over.set()

        helper = threading.Thread(target=work, name="dispatch", daemon=True)
        helper.start()
        self._draw(tasks)
        over.wait()  # not Thread.join: interrupted, that of Python 3.11 takes a running thread for ended
        helper.join()

    def _draw(self, tasks: Intake) -> None:
        try:
            tasks.pour()
        except BaseException as error:  # a signal handler of the host program raised it
            tasks.error = error
            tasks.end()
        if isinstance(tasks.error, KeyboardInterrupt):
            self._driver.ask_to_stop("interrupt")

    def _finish(self) -> None:
        """Close the books: from here on nothing of the run changes."""
        self._driver.book_left_over()
        self._driver.close_load()
        if self._ledger.keeps:
            last = max(self._ledger.started_ids(), default=0) if self._driver.stopped else len(self._ledger)
            self._results = self._ledger.results[:last]
        self._ended = Anchor.take()
        self._banner.closing(self.info_without_ids(), self._ended.wall, self._ledger)
        self._end()

    def _all_done(self) -> None:
        callback = self._config.task.callback.on_all_done
        if callback is None:
            return
        style, ledger = call_style(callback, CALLBACK_NAMES), self._ledger
        for task_id in ledger.started_ids():
            log = ledger.log(task_id)
            known = {"id": task_id, "config": self._config.task.config, "result": log["result"], "log": log}
            result, error = self._call_back(callback, style, log["result"], known)
            if isinstance(error, KeyboardInterrupt) or self._driver.interrupted:
                self._driver.error = error if isinstance(error, KeyboardInterrupt) else KeyboardInterrupt()
                return
            if error is not None:
                type_name, message, traceback = describe(error)
                ledger.fail_later(task_id, Failure(type_name, message, traceback))
                if self._config.task.on_error == "raise":
                    error.add_note(f"on_all_done of task #{task_id} raised this")
                    self._driver.error = error
                    return
            else:
                ledger.results[task_id - 1] = result

    def _call_back(self, *call: Any) -> tuple[Any, BaseException | None]:
        try:
            self._calling_back = True
            return guarded(call_styled, *call)
        except KeyboardInterrupt as error:  # it came when the guard was left already
            return None, error
        finally:
            self._calling_back = False

    def _warn(self, depth: int) -> None:
        """depth: of the user's frame, above this one."""
        counts = self._ledger.counts()
        failed = counts["error"] + counts["timeout"] + counts["crashed"]
        found = self._ledger.first_failure()
        if failed and found is not None and not self._config.verbose:
            first, failure = found
            cause = f"#{first} {failure.type}: {failure.message[:200]}"
            text = f"{failed} of {len(self._ledger)} tasks failed; the first: {cause}"
            warnings.warn(TaskFailuresWarning(text), stacklevel=depth)
        for text, times in Counter(self._driver.complaints).items():
            warnings.warn(WorkerWarning(f"{text} (in {times} workers)" if times > 1 else text), stacklevel=depth)

    def launch(self, ended: Callable[[Run], None]) -> Run:
        """Drive in a thread of its own; returns at once. ended: called with the run just before it is done."""
        if self._handover is None:
            self._driver.on_settled = self._settled
        self._at_end = ended
        self._thread = threading.Thread(target=self._launched, name="dispatch", daemon=True)
        self._thread.start()
        return self if self._handover is None else self._handle()

    def _handle(self) -> Run:
        """This run for the user, as an object that the driving thread does not hold: once it is gone nobody can take
        the records, and the run would stand still for ever."""
        handle = Run.__new__(Run)
        handle.__dict__ = self.__dict__
        weakref.finalize(handle, self._leave).atexit = False
        return handle

    def _leave(self, ends: Callable[[], bool] = sys.is_finalizing) -> None:
        """Nobody takes the records any more."""
        if ends():  # the interpreter: threads stand still for good, some with locks in hand, and globals are gone
            return
        self.cancel()
        if self._handover is not None:
            self._handover.give_up()

    def _launched(self) -> None:
        _, error = guarded(self.drive)
        self._driver.error = self._driver.error or error
        if not self.done:
            self._end()

    def _end(self) -> None:
        """All is settled: from here on the run does not change."""
        self._ended = self._ended or Anchor.take()
        self._done = True
        if self._at_end is not None:
            self._at_end(self)
        with self._changed:
            self._told = True
            waiters, self._waiters = self._waiters, []
            self._changed.notify_all()
        for tell in waiters:
            tell()
        if self._handover is not None:
            self._handover.end()

    def _settled(self, first: int, count: int) -> None:
        with self._changed:
            self._news.append((first, count))
            self._changed.notify_all()

    # For the user

    @property
    def done(self) -> bool:
        """True once every task has its outcome and all callbacks have run."""
        return self._done

    def wait(self, timeout: float | None = None) -> Run:
        """Wait for the end; raises what the run raises. timeout: seconds; TimeoutError after it, the run goes on.

        A run that keeps no records, and that nobody iterates yet, gives them up from here on."""
        if self._handover is not None:
            self._handover.waited_for(forever=timeout is None)
        with self._changed:
            if not self._changed.wait_for(lambda: self._told, timeout):
                raise TimeoutError(f"the run is not done after {timeout:g} s")
            warn, self._warned = not self._warned, True
        if self._driver.error is not None:
            raise self._driver.error
        if warn and self._thread is not None:
            self._warn(3)
        return self

    def cancel(self) -> None:
        """Stop the run: what runs is cancelled, the rest is not run. Returns at once."""
        self._driver.ask_to_stop("cancel")
        self._tasks.end()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The logs of tasks as they end, each once. What is known only at the end is not in them: `in_flight`, and the
        phase 'cooldown' of a load without a planned end."""
        return self._logs_as_tasks_end() if self._handover is None else self._handed_over(self._handover)

    def _handed_over(self, handover: Handover) -> Iterator[dict[str, Any]]:
        handover.claim()
        try:
            while (log := handover.take()) is not None:
                yield log
        finally:
            if not self._told:
                self._leave()
        if self._driver.error is not None:
            raise self._driver.error

    def _logs_as_tasks_end(self) -> Iterator[dict[str, Any]]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._news or self._told)
                if not self._news:
                    return
                first, count = self._news.popleft()
            for task_id in range(first, first + count):
                if self._ledger.status[task_id - 1] not in (NOT_RUN, DROPPED):
                    yield self._ledger.log(task_id)

    def __await__(self) -> Generator[Any, None, Run]:
        import asyncio

        loop = asyncio.get_running_loop()
        over = loop.create_future()

        def finish() -> None:
            if not over.done():
                over.set_result(None)

        def tell() -> None:
            try:
                loop.call_soon_threadsafe(finish)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more

        if self._handover is not None:
            self._handover.waited_for(forever=True)
        with self._changed:
            if not self._told:
                self._waiters.append(tell)
        if not self._told:
            yield from over.__await__()
        return self.wait()

    @property
    def results(self) -> list[Any]:
        """Results in task order; a falsy TaskFailure where a task did not end ok. One list for the life of the run."""
        self._ledger.expect_kept()
        return self._results

    @property
    def logs(self) -> list[dict[str, Any]]:
        """One dict per task that was started, in id order. One list for the life of the run."""
        self._ledger.expect_kept()
        if not self.done:
            return self._ledger.logs()
        with self._rendering:
            if self._logs is None:
                self._logs = self._ledger.logs()
        return self._logs

    @property
    def info(self) -> dict[str, Any]:
        """started_at, ended_at (Unix seconds), duration (seconds), counts, the ids not run and dropped, and `stopped`:
        why the run ended early ('runtime', 'interrupt', 'failures', 'cancel', or what abort_on saw), else None."""
        info = self.info_without_ids()
        not_run = self._ledger.ids_with(NOT_RUN)
        if self._ended is not None and self._tasks.total is not None:
            not_run += range(len(self._ledger) + 1, self._tasks.total + 1)
        return info | {"not_run": not_run, "dropped": self._ledger.ids_with(DROPPED)}

    def info_without_ids(self) -> dict[str, Any]:
        """`info` but for its lists of ids, which may be long."""
        end = self._ended or Anchor.take()
        duration = end.monotonic - self._anchor.monotonic
        counts = self._ledger.counts()
        if self._ended is not None and self._tasks.total is not None:
            counts["not_run"] += self._tasks.total - len(self._ledger)
        return {
            "started_at": self._anchor.wall,
            "ended_at": self._anchor.wall + duration,
            "duration": duration,
            "counts": counts,
            "resumed": self._ledger.resumed,
            "stopped": self._driver.abort_seen or self._driver.stopped,
        }

    @property
    def dropped(self) -> list[dict[str, Any]]:
        """One dict per task that found all workers busy and never ran: task_id, scheduled_at, interval, phase."""
        return self._ledger.dropped()

    @property
    def ended_wall(self) -> float:
        return (self._ended or Anchor.take()).wall

    def tps(self, **options: Any) -> dict[str, Any]:
        """`get_tps` over this run."""
        from worker_dispatcher.reports.tps import get_tps

        return get_tps(self.logs, **options)

    def __repr__(self) -> str:
        counts = self._ledger.counts()
        state = "done" if self.done else "running"
        return f"<Run {state}: {counts['ok']} ok, {sum(counts.values()) - counts['ok']} other>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the report so far, where there are records for one."""
        if not self._ledger.keeps:
            return html.escape(repr(self))
        from worker_dispatcher.reports.report import make_report

        return make_report(self)._repr_html_()
