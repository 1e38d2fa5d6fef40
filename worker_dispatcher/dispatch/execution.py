"""How a run goes, from its first task to the end: what a Run is the handle of."""

from __future__ import annotations

import math
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from worker_dispatcher.call import call_styled
from worker_dispatcher.call_style import CallStyle
from worker_dispatcher.clock import LONGEST_WAIT, Anchor, now
from worker_dispatcher.config.describe import input_text
from worker_dispatcher.config.options import Config
from worker_dispatcher.contexts import branch
from worker_dispatcher.dispatch.bounded import BoundedRun
from worker_dispatcher.dispatch.failures import goes_on_from
from worker_dispatcher.dispatch.interrupt import interrupts_ask
from worker_dispatcher.dispatch.plan import make_plan, open_pool, pack_setup
from worker_dispatcher.dispatch.recorder import nobody
from worker_dispatcher.dispatch.tasklist import IteratorFeed, task_list
from worker_dispatcher.errors import TaskFailuresWarning, WorkerWarning
from worker_dispatcher.execute import catch, catch_settled, describe
from worker_dispatcher.osproc.system import start_thread
from worker_dispatcher.pools.base import Name, Pool
from worker_dispatcher.records import Failure, Records
from worker_dispatcher.signals import wait_on
from worker_dispatcher.tracebacks import part_from_frames
from worker_dispatcher.units import counted

if TYPE_CHECKING:
    from worker_dispatcher.dispatch.banner import Banner
    from worker_dispatcher.dispatch.bell import Bell

_LAST_DRAW = 0.1  # seconds that a launched run waits, at its end, for a `next()` of the user's iterable to return


class Execution:
    """One run, driven in the thread that calls `drive` or, by `launch`, in one of its own. It holds no Run, so that a
    handle which the user drops is freed while the run goes on.

    Shared: news, told and bells, under changed. news: (first id, how many) of the tasks that have ended; bells: ring at
    news and at the end; done: nothing of the run changes any more; told: what follows the end is done, and whoever
    waits has been woken.
    """

    def __init__(self, config: Config, *, keep_records: bool, keep_progress: bool = True) -> None:
        if not keep_records:
            from worker_dispatcher.dispatch.record_stream import RecordStream, StreamedRecords, expect_streamable

            expect_streamable(config)
        self._config = config
        self.anchor = Anchor.take()
        frequency = config.worker.frequency_mode
        cycle = frequency.enabled and (frequency.duration is not None or frequency.stages is not None)
        self.tasks = task_list(config.task.list, config.worker.number or 4, cycle=cycle)
        self._plan = make_plan(config, self.tasks.total, self.anchor)
        self._packed = pack_setup(config, self._plan.setup) if self._plan.leaves else None
        workers, self.number = self._plan.workers, self._plan.number
        self.stream = None if keep_records else RecordStream(2 * workers)
        self.records = StreamedRecords(self.anchor, self.stream, workers) if self.stream else Records(self.anchor)
        self._banner: Banner | None = None
        if config.verbose or config.debug:
            from worker_dispatcher.dispatch.banner import Banner  # as above

            self._banner = Banner(config, self._plan, self.anchor)
        journal, watch = None, None
        if self._plan.load is not None and self._plan.load.abort_on:
            from worker_dispatcher.dispatch.abort import AbortWatch  # as above

            watch = AbortWatch(self._plan.load.abort_on, self.records)
        if config.journal is not None:
            from worker_dispatcher.dispatch.resume import open_journal

            journal = open_journal(config, self.tasks.total, self.anchor, 6)
            if self._banner is not None and not journal.created:
                self._banner.done_before = journal.ok_count
        self.bounded = BoundedRun(
            self._plan,
            self.tasks,
            self.records,
            journal=journal,
            watch=watch,
            shows=config.verbose if config.progress is None else config.progress,
            keeps_shown=keep_progress and not config.verbose,
        )
        if self.stream is not None:
            self.stream.wake = self.bounded.wake
        self.ended: float | None = None
        self.changed = threading.Condition()
        self.news: deque[tuple[int, int]] = deque()
        self.thread: threading.Thread | None = None
        self.results: list[Any] = []
        self._at_end: Callable[[], None] = _nothing
        self.done = self.told = False
        self._cluster: dict[str, Any] | None = None  # of Dask, what it is
        self.bells: list[Bell] = []
        self._calling_back = False  # on_all_done, which is the user's code, is running

    def drive(self, at_end: Callable[[], None]) -> None:
        """Run to the end in this thread. Raises what the run must raise; everything finished stays readable.
        at_end: called just before the run is done."""
        self._at_end = at_end
        self._drive()
        error, self.bounded.error = self.bounded.error, None  # it has one owner: see tracebacks
        if error is None:
            self.warn(5)  # frames from here to the line of the user that called start
            return
        try:
            raise part_from_frames(error)
        finally:
            del self, error, at_end

    def _drive(self) -> None:
        try:
            if self._banner is not None:
                self._banner.opening()
        except BaseException:  # such as Ctrl-C while the output takes nothing
            self.bounded.let_go()
            raise
        with interrupts_ask(self.interrupt):  # until the end, so that Ctrl-C loses no result
            self._until_it_is_over(self._pour if isinstance(self.tasks, IteratorFeed) else self._work)
            callback = self._config.task.callback.on_all_done
            if callback is not None and self.bounded.error is None:
                self._until_it_is_over(partial(self._all_done, callback))
            if self.bounded.interrupted:
                self.bounded.fail(KeyboardInterrupt())
            if (
                self.bounded.interrupted
                and self.thread is not None
                and isinstance(self.bounded.error, KeyboardInterrupt)
            ):
                self.bounded.error = None  # it is raised where it was pressed: see interrupt.Loop
            self._until_it_is_over(self._finish)
            if not self.done:
                self._finish()
        if isinstance(self.bounded.error, KeyboardInterrupt):
            for note in self.kept_notes():
                self.bounded.error.add_note(note)
        elif self.bounded.error is not None and self.bounded.stopped == "failures" and self._config.journal is not None:
            self.bounded.error.add_note(f"  {goes_on_from(self._config.journal)}")

    def kept_notes(self) -> list[str]:
        """Notes for KeyboardInterrupt: what was done and is kept."""
        journal = self._config.journal
        return [f"  {self.records.kept_note()}", *([f"  {goes_on_from(journal)}"] if journal is not None else [])]

    def interrupt(self) -> None:
        """Stop the run as Ctrl-C does, which calls this: for signal handlers, in the thread that drives. Nothing, once
        the run is done."""
        if self.done:
            return
        self.bounded.stop("interrupt")
        self.tasks.interrupt()
        if self._calling_back:
            self._calling_back = False  # once: a second Ctrl-C may come when our own code runs again
            raise KeyboardInterrupt

    def _until_it_is_over(self, step: Callable[[], None]) -> None:
        """Run a step. What it raises, or a signal handler during it, is kept, and raised at the end of the run."""
        try:
            step()
        except BaseException as error:
            self.bounded.fail(error)

    def _work(self) -> None:
        self._until_it_is_over(partial(self.bounded.run, self._open_pool))
        if self.bounded.interrupted:
            self.bounded.fail(KeyboardInterrupt())

    def _open_pool(self, named: Name) -> Pool:
        packed, self._packed = self._packed, None  # it may be large: free once it is sent
        pool: Any = open_pool(self._plan, self._config.worker, named, packed)
        if self._plan.cluster is not None:
            self._cluster = pool.facts
            self.records.addresses = pool.addresses
        opened: Pool = pool
        return opened

    def _pour(self) -> None:
        """Draw from an iterable of unknown length here, so that it runs in the caller's thread; drive in another.

        A launched run has no caller that waits in here: it draws in a thread that can be left behind when the run ends
        and the iterable does not.
        """
        tasks = self.tasks
        assert isinstance(tasks, IteratorFeed)
        if self.thread is not None:
            drawing = threading.Thread(target=branch().run, args=(self._draw, tasks), name="tasks", daemon=True)
            start_thread(drawing)
            self._work()
            drawing.join(_LAST_DRAW)
            return
        over = threading.Event()

        def work() -> None:
            try:
                self._work()
            finally:
                over.set()

        helper = threading.Thread(target=branch().run, args=(work,), name="dispatch", daemon=True)
        start_thread(helper)
        self._draw(tasks)
        # Not Thread.join: interrupted, that of Python 3.11 takes a running thread for ended.
        while not over.is_set():
            try:
                over.wait(LONGEST_WAIT)
            except BaseException as error:  # a signal handler of the host program raised it
                self._stop_for(error)
        helper.join()

    def _draw(self, tasks: IteratorFeed) -> None:
        try:
            tasks.pour()
        except BaseException as error:  # a signal handler of the host program raised it
            self._stop_for(error)
            tasks.end()
        if isinstance(tasks.error, KeyboardInterrupt):
            self.bounded.stop("interrupt")

    def _stop_for(self, error: BaseException) -> None:
        self.bounded.fail(error)
        self.bounded.stop("interrupt" if isinstance(error, KeyboardInterrupt) else "exception")

    def _finish(self) -> None:
        """From here on nothing of the run changes."""
        self.bounded.book_left_over()
        self.bounded.close_load()
        if self.records.keeps:
            last = max(self.records.started_ids(), default=0) if self.bounded.stopped else len(self.records)
            self.results = self.records.results[:last]
        self.ended = now()
        if self._banner is not None:
            self._banner.closing(self.info(), self.anchor.wall_at(self.ended), self.records)
        self._end()

    def _all_done(self, callback: Callable[..., Any]) -> None:
        style = self._config.styles.on_all_done
        for task_id in self.records.started_ids():
            self._task_done(task_id, callback, style)
            if self.bounded.error is not None:
                return

    def _task_done(self, task_id: int, callback: Callable[..., Any], style: CallStyle) -> None:
        log = self.records.log(task_id)
        known = {"id": task_id, "config": self._config.task.config, "result": log["result"], "log": log}
        result, error = self._call_back(callback, style, log["result"], known)
        if isinstance(error, KeyboardInterrupt) or self.bounded.interrupted:
            self.bounded.fail(error if isinstance(error, KeyboardInterrupt) else KeyboardInterrupt())
        elif error is None:
            self.records.results[task_id - 1] = result
        else:
            type_name, message, traceback = describe(error)
            item = self.tasks.item_of(task_id)
            shown = input_text(item) if self._config.task.show_input else ""
            self.records.fail_later(task_id, Failure(type_name, message, traceback, item=item, input=shown))
            if self._config.task.on_error == "raise":
                error.add_note(f"on_all_done of task #{task_id} raised this" + (f"; input {shown}" if shown else ""))
                self.bounded.fail(error)
        del error  # it holds this frame, and would hold itself

    def _call_back(self, *call: Any) -> tuple[Any, BaseException | None]:
        try:
            self._calling_back = True
            return catch_settled(call_styled, *call)
        except KeyboardInterrupt as error:  # it came when the guard was left already
            return None, error
        finally:
            self._calling_back = False

    def warn(self, depth: int) -> None:
        """depth: of the user's frame, above this one."""
        failed = 0 if self._config.verbose else self.records.failed
        if failed and (found := self.records.first_failure()) is not None:
            first, failure = found
            given = f" (input {failure.input})" if failure.input else ""
            cause = f"#{first}{given} {failure.type}: {failure.message[:200]}"
            text = f"{counted(failed, 'task', len(self.records))} failed; the first: {cause}"
            warnings.warn(TaskFailuresWarning(text), stacklevel=depth)
        for text, times in self.bounded.complaints.items():
            warnings.warn(WorkerWarning(f"{text} (in {times} workers)" if times > 1 else text), stacklevel=depth)

    def launch(self, at_end: Callable[[], None]) -> None:
        """Drive in a thread of its own; returns at once. at_end: called just before the run is done."""
        if self.stream is None:
            self.bounded.follow(self._settled)
        self._at_end = at_end
        self.thread = threading.Thread(target=branch().run, args=(self._launched,), name="dispatch", daemon=True)
        start_thread(self.thread)

    def cancel(self, why: str = "cancel") -> None:
        """Stop: what runs is cancelled, the rest is not run. Returns at once. Any thread. why: as in failures."""
        self.bounded.stop(why)
        self.tasks.end()

    def leave(self, ends: Callable[[], bool] = sys.is_finalizing) -> None:
        """Nobody takes the records any more. Any thread."""
        if ends():  # the interpreter: threads stand still for good, some with locks in hand, and globals are gone
            return
        self.cancel()
        if self.stream is not None:
            self.stream.give_up()

    def _launched(self) -> None:
        _, error = catch(self._drive)
        if error is not None:
            self.bounded.fail(error)
        if not self.done:
            self._end()
        if self.bounded.error is not None:
            part_from_frames(self.bounded.error)
        del self, error  # which that error would hold

    def until_told(self, timeout: float | None) -> bool:
        """Wait until all is done; False where that takes longer than so many seconds."""
        until = math.inf if timeout is None else now() + timeout
        with self.changed:
            while not self.told and (left := until - now()) > 0:
                wait_on(self.changed, min(left, LONGEST_WAIT))
            return self.told

    def join(self) -> None:
        """Wait for the thread of a launched run that has ended: for a moment longer it refers to the run."""
        if self.thread is not None and self.thread is not threading.current_thread():
            self.thread.join(_LAST_DRAW)

    def _end(self) -> None:
        """All tasks are completed: from here on the run does not change."""
        self.ended = self.ended or now()
        self.done, self._packed = True, None  # without tasks, no pool has taken it
        at_end, self._at_end = self._at_end, _nothing
        at_end()
        self.bounded.follow(nobody)
        with self.changed:
            self.told = True
            self._tell()
        if self.stream is not None:
            self.stream.end()

    def _settled(self, first: int, count: int) -> None:
        with self.changed:
            self.news.append((first, count))
            self._tell()

    def next_told(self) -> int:
        """Take the next task id from `news`, which is not empty; under `changed`. One at a time, since the user may
        leave the loop behind any."""
        first, count = self.news.popleft()
        if count > 1:
            self.news.appendleft((first + 1, count - 1))
        return first

    def _tell(self) -> None:
        self.changed.notify_all()
        for bell in self.bells:
            bell.ring()

    def info(self) -> dict[str, Any]:
        """What `Run.info` says, but for its lists of ids, which may be long."""
        duration = (self.ended or now()) - self.anchor.monotonic
        counts = self.records.counts()
        if self.ended is not None and self.tasks.total is not None:
            counts["not_run"] += self.tasks.total - len(self.records)
        return {
            "started_at": self.anchor.wall,
            "ended_at": self.anchor.wall + duration,
            "duration": duration,
            "counts": counts,
            "resumed": self.records.resumed,
            "retried": self.records.retried,
            "retries": self.records.retries,
            "stopped": self.bounded.abort_seen or self.bounded.stopped or (None if self.done else self.bounded.asked),
            **self._load_info(),
            **({} if self._cluster is None else {"cluster": self._cluster}),
            **({} if self.done else {"running": True}),
            **({} if self.done or self.tasks.total is None else {"total": self.tasks.total}),
        }

    def _load_info(self) -> dict[str, Any]:
        """What is known of a load: `from` and `until` are its window (Unix seconds; until is None without a plan)."""
        over = self.ended is not None and not self.bounded.stopped
        window = self.records.window(None if over else self.ended or now())
        if window is None:
            return {}
        begin, end = (None if one == math.inf else self.anchor.wall_at(one) for one in window)
        return {"load": {"max_workers": self._plan.max_workers, "from": begin, "until": end}}


def _nothing() -> None:
    """What `at_end` is where nothing is to be called."""
