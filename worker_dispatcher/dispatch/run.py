"""The handle of one run, finished or going on: what the user holds."""

from __future__ import annotations

import threading
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from worker_dispatcher.clock import LONGEST_WAIT
from worker_dispatcher.config.parse import Reading, read
from worker_dispatcher.dispatch.execution import Execution
from worker_dispatcher.dispatch.interrupt import Loop
from worker_dispatcher.errors import RunError, TaskFailure
from worker_dispatcher.records import DROPPED, NOT_RUN, Records
from worker_dispatcher.signals import wait_on
from worker_dispatcher.tracebacks import FewFrames, part_from_frames, spare_of

if TYPE_CHECKING:
    from worker_dispatcher.dispatch.record_stream import RecordStream

__tracebackhide__ = True  # see tracebacks

_READ_BY_REPORTS = {
    "phase",
    "input",
    "queue_delay",
    "response_time",
    "no_success",
    "earlier_attempts",
}  # if on_done adds them to a log


class Run:
    """A dispatch, from `launch` or `start`. Immutable once it is finished.

    Iterate it once, with `for` or `async for`, for the logs of tasks as they end, in the order they end. Leaving the
    loop early lets the run go on, and another loop goes on where it was left; cancel() stops it, and so does Ctrl-C in
    the loop or in wait(). results, logs and info are complete once `done`. `await` it for its end; cancelling that
    cancels the run. What the run raises comes out of the loop, at its end, of wait() and of await. Thread-safe: every
    method may be called from any thread.

    Launched with keep_records=False it hands each log over and forgets it, in memory that does not grow: results, logs
    and tps() raise RunError. While thousands of records wait (fewer for slow tasks), nothing more is started; what runs
    goes on, and its timeouts hold. Leaving the loop early cancels the run, as does dropping the run; wait() or await
    without iterating gives the records up.
    """

    def __init__(self, execution: Execution, reading: Reading) -> None:
        self._execution, self._reading = execution, reading
        self._logs: list[dict[str, Any]] | None = None
        self._rendering = threading.Lock()
        self._had_all: tuple[weakref.ref[object], ...] = ()  # whose loop came to the end: its thread, and asyncio task
        self._warned = False

    @classmethod
    def of(
        cls, config: Mapping[str, Any] | Reading | None, *, keep_records: bool = True, keep_progress: bool = True
    ) -> Run:
        """A run of a user's config, or of what was read of it; ready to be driven. keep_progress: where it is not
        verbose, the last state of its progress stays in sight."""
        reading = config if isinstance(config, Reading) else read(config)
        return cls(Execution(reading.config, keep_records=keep_records, keep_progress=keep_progress), reading)

    @property
    def config(self) -> dict[str, Any]:
        """The whole config, defaults included, and the number of workers that is used. A new dict at each call, but for
        the user's own values in it."""
        config = self._reading.merged()
        config["worker"]["number"] = self._execution.number
        return config

    def drive(self, ended: Callable[[Run], None] = lambda run: None) -> Run:
        """Run to the end in this thread. Raises what the run must raise; everything finished stays readable.
        ended: called with the run just before it is done."""
        try:
            self._execution.drive(lambda: ended(self))
        except BaseException:
            del self  # see tracebacks
            raise
        return self

    def launch(self, ended: Callable[[Run], None]) -> Run:
        """Drive in a thread of its own; returns at once. ended: called with the run just before it is done."""
        execution, last = self._execution, self
        if execution.stream is not None:
            # Once this object is gone nobody can take the records, and the run would stand still for ever.
            weakref.finalize(self, execution.leave).atexit = False
            last = Run(execution, self._reading)
        execution.launch(lambda: ended(last))
        return self

    def follow(self, told: Callable[[list[Any], int, int], None]) -> Run:
        """Before it is driven: `told` is called in the driving thread with all results, the first id and the number of
        those that have ended, and may put what is to be kept in the place of their results. It raises nothing."""
        results = self._execution.records.results
        self._execution.bounded.follow(lambda first, count: told(results, first, count))
        return self

    def interrupt(self) -> None:
        """Stop the run as Ctrl-C does, which calls this: for signal handlers, in the thread that drives. Nothing, once
        the run is done."""
        self._execution.interrupt()

    @property
    def done(self) -> bool:
        """True once every task has its outcome and all callbacks have run."""
        return self._execution.done

    def wait(self, timeout: float | None = None) -> Run:
        """Wait for the end; raises what the run raises. timeout: seconds; TimeoutError after it, the run goes on.

        A run that keeps no records, and that nobody iterates yet, gives them up from here on."""
        if self._execution.stream is not None:
            self._execution.stream.waited_for(forever=timeout is None, who=threading.get_ident())
        try:
            with FewFrames(), Loop(self._execution):
                if not self._execution.until_told(timeout):
                    raise TimeoutError(f"the run is not done after {timeout:g} s")
                self._execution.join()
                self.raise_error()
        except BaseException:
            del self  # see tracebacks
            raise
        warn, self._warned = not self._warned, True
        if warn and self._execution.thread is not None:
            self._execution.warn(3)
        return self

    def cancel(self) -> None:
        """Stop the run: what runs is cancelled, the rest is not run. Returns at once."""
        self._execution.cancel()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The logs of tasks as they end, each once. What is known only at the end is not in them: `in_flight`, and the
        phase 'cooldown' of a load without a planned end. RunError for a second loop behind one that came to the end."""
        execution, stream = self._execution, self._execution.stream
        try:
            self._expect_logs_for(threading.current_thread())
            with FewFrames(), Loop(execution) as loop:
                yield from self._logs_as_tasks_end(loop) if stream is None else self._handed_over(stream, loop)
                execution.until_told(None)
                execution.join()
                self._end_loop(threading.current_thread())
        except BaseException:
            del self, execution  # see tracebacks
            raise

    def _expect_logs_for(self, who: object) -> None:
        """Refuse a loop behind one that came to the end. Other threads and tasks may share the logs, and come late."""
        if not self._had_all:
            return
        here = threading.current_thread()
        thread, task = (one() for one in self._had_all)
        if thread is here and (who is here or task in (None, who, here)):
            kept = "run.logs has them, and get_logs() those of the last run"
            fix = (
                kept
                if self._execution.records.keeps
                else "launch it without keep_records=False, and run.logs keeps them"
            )
            raise RunError(f"a run can be iterated once, and the logs of this one were handed out already; {fix}")

    def _end_loop(self, who: object) -> None:
        """Raise what the run raises; otherwise who iterates it has had all logs."""
        try:
            self.raise_error()
            self._had_all = weakref.ref(threading.current_thread()), weakref.ref(who)
        finally:
            del self  # see tracebacks

    def _handed_over(self, stream: RecordStream, loop: Loop) -> Iterator[dict[str, Any]]:
        stream.claim(threading.get_ident())
        try:
            while (log := stream.take(threading.get_ident())) is not None and not loop.pressed:
                yield log
        finally:
            if not self._execution.told:
                self._execution.leave()

    def raise_error(self) -> None:
        """Raise what the run raises."""
        bounded, error = self._execution.bounded, self._execution.bounded.error
        if error is None:
            return
        bounded.error = spare_of(part_from_frames(error))
        try:
            raise error
        finally:
            del self, bounded, error

    def _logs_as_tasks_end(self, loop: Loop) -> Iterator[dict[str, Any]]:
        execution, records, changed = self._execution, self._execution.records, self._execution.changed
        while not loop.pressed:
            with changed:
                while not (execution.news or execution.told):
                    wait_on(changed, LONGEST_WAIT)
                if loop.pressed or not execution.news:
                    break
                task_id = execution.next_told()
            if records.status[task_id - 1] not in (NOT_RUN, DROPPED):
                yield records.log(task_id)

    def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """As `__iter__`, for `async for`: the loop of the caller is not held up."""
        if self._execution.stream is None:
            return self._told_of_logs()
        from worker_dispatcher.dispatch.bell import Taking, this_task

        self._expect_logs_for(this_task())
        return Taking(self._execution, self._execution.stream, self._end_loop)

    async def _told_of_logs(self) -> AsyncIterator[dict[str, Any]]:
        from worker_dispatcher.dispatch.bell import listening, rung_or_left, this_task

        execution = self._execution
        self._expect_logs_for(this_task())
        with listening(execution) as bell:
            while True:
                with execution.changed:
                    task_id, over = execution.next_told() if execution.news else 0, execution.told
                    if not task_id:
                        bell.hush()
                if task_id and execution.records.status[task_id - 1] not in (NOT_RUN, DROPPED):
                    yield execution.records.log(task_id)
                if not task_id and over:
                    break
                if not task_id:
                    await rung_or_left(execution, bell)
        execution.join()
        try:
            with FewFrames():
                self._end_loop(this_task())
        except BaseException:
            del self, execution  # see tracebacks
            raise

    def __await__(self) -> Generator[Any, None, Run]:
        """The run, once it is done; raises what the run raises. Cancelled, or out of time, it cancels the run and waits
        until that is over, 5 s at most: to wait without that, `await asyncio.shield(run)`."""
        import asyncio

        from worker_dispatcher.dispatch.bell import end_of_run

        execution = self._execution
        if execution.stream is not None:
            execution.stream.waited_for(forever=True, who=id(asyncio.current_task()))
        yield from end_of_run(execution).__await__()
        warn, self._warned = not self._warned, True  # not in `wait`: the warning is about the line that awaits
        try:
            with FewFrames():
                self.wait()
        except BaseException:
            del self, execution  # see tracebacks
            raise
        if warn:
            execution.warn(3)
        return self

    @property
    def results(self) -> list[Any]:
        """Results in task order; a falsy TaskFailure where a task did not end ok. One list for the life of the run."""
        self._execution.records.expect_kept()
        return self._execution.results

    @property
    def failures(self) -> list[TaskFailure]:
        """The TaskFailures among the results, in task order; complete once the run is done."""
        return [one for one in self.results if isinstance(one, TaskFailure)]

    @property
    def logs(self) -> list[dict[str, Any]]:
        """One dict per task that was started, in id order. One list for the life of the run."""
        self._execution.records.expect_kept()
        if not self.done:
            return self._execution.records.logs()
        from worker_dispatcher.garbage import no_collections

        with self._rendering, no_collections():
            if self._logs is None:
                self._logs = self._execution.records.logs()
        return self._logs

    @property
    def columns(self) -> Records | None:
        """What reports read of a run that is done, in the place of its logs; None where these count: once somebody has
        them, who may have changed them, and where on_done has added to a log what reports go by."""
        if not self.done or self._logs is not None or self._execution.records.says_more_of(_READ_BY_REPORTS):
            return None
        self._execution.records.expect_kept()
        return self._execution.records

    def each_log(self) -> Iterator[dict[str, Any]]:
        """`logs` of a run that is done, one at a time: none is kept."""
        return self._execution.records.each_log()

    @property
    def info(self) -> dict[str, Any]:
        """started_at, ended_at (Unix seconds), duration (seconds), counts, the ids not run and dropped, and `stopped`:
        why the run ended early ('runtime', 'interrupt', 'failures', 'cancel', 'exception' out of a signal handler or
        where the pool cannot go on, 'journal', or what abort_on saw), else None. Until the run is done also `running`,
        True, and where that is known `total`: how many tasks there are."""
        info = self.info_without_ids()
        not_run = self._execution.records.ids_with(NOT_RUN)
        if self._execution.ended is not None and self._execution.tasks.total is not None:
            not_run += range(len(self._execution.records) + 1, self._execution.tasks.total + 1)
        return info | {"not_run": not_run, "dropped": self._execution.records.ids_with(DROPPED)}

    def info_without_ids(self) -> dict[str, Any]:
        """`info` but for its lists of ids, which may be long."""
        return self._execution.info()

    @property
    def dropped(self) -> list[dict[str, Any]]:
        """One dict per task that found all workers busy and never ran: task_id, scheduled_at, interval, phase."""
        return self._execution.records.dropped()

    def tps(self, **options: Any) -> dict[str, Any]:
        """`get_tps` over this run."""
        from worker_dispatcher.reports.tps import get_tps

        return get_tps(self.columns or self.logs, **options)

    def __repr__(self) -> str:
        counts = self._execution.info()["counts"]  # those too that were never drawn
        state = "done" if self.done else "running"
        return f"<Run {state}: {counts['ok']} ok, {sum(counts.values()) - counts['ok']} other>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the report so far, where there are records for one."""
        if not self._execution.records.keeps:
            from html import escape

            return escape(repr(self))
        from worker_dispatcher.reports.report import make_report

        return make_report(self)._repr_html_()
