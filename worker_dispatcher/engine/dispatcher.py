"""The inside of an engine: it tells the board what happens, and carries out what the board says."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from worker_dispatcher.clock import now, wall
from worker_dispatcher.engine.board import Board
from worker_dispatcher.engine.errors import ExecutorError, StoreError
from worker_dispatcher.engine.events import (
    Answered,
    Ask,
    Command,
    Event,
    Fire,
    Moved,
    Raised,
    Returned,
    Revoked,
    Ticked,
)
from worker_dispatcher.engine.future import JobFuture, JobReference
from worker_dispatcher.engine.job import Job
from worker_dispatcher.engine.keeper import Keeper
from worker_dispatcher.engine.lifetime import end_with_the_program
from worker_dispatcher.engine.log import logger
from worker_dispatcher.engine.output import surrounded
from worker_dispatcher.engine.status import CANCELLED, CREATED, DONE, FAILED, FINAL, PENDING, RUNNING
from worker_dispatcher.engine.users import call_user, failure_of, injected, told_stuck, wait_after
from worker_dispatcher.engine.waiting import Waiters
from worker_dispatcher.engine.watches import OfAnswer
from worker_dispatcher.engine.workers import MOST, Workers
from worker_dispatcher.execute import catch
from worker_dispatcher.pools.runners.task_queue import forked
from worker_dispatcher.signals import held
from worker_dispatcher.workpool.callbacks import Callbacks

if TYPE_CHECKING:
    from worker_dispatcher.engine.engine import Engine
    from worker_dispatcher.engine.store import Store

_INFO = 20  # as in the module logging
_LAST_CALLBACKS = 1.0  # seconds that a close waits for callbacks that have not been called
_UNKEPT = "the store of its engine cannot be written"


class Dispatcher:
    """Feeds the board, and carries out what it says. Thread-safe.

    Shared, under mutex: board, jobs, claimed, _todo, left; _ends: appends and pops. Whoever has something to tell the
    board carries out what it says, unless another thread is at that: then that one does.
    claimed: jobs that somebody is about to submit, by id. left: jobs that have not ended, endless ones aside, which are
    counted in `endless`; untold: ends of which not all callbacks have been called.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, setting = engine, engine.setting
        limits = {"thread": setting.max_thread_jobs, "process": setting.max_process_jobs, "dask": setting.max_dask_jobs}
        most = setting.max_jobs or float("inf")
        slots = {name: limit or MOST.get(name) or float("inf") for name, limit in limits.items()}
        self.board = Board({**slots, "job": most, "local": 1})
        self._sizes = {name: int(min(slots[name], most)) for name in ("thread", "process")}
        self._name = f"engine-{engine.id[:8]}"
        self.jobs = engine.jobs
        self.mutex = threading.RLock()
        self.claimed: dict[str, Job] = {}
        self.left = self.endless = self.untold = 0
        self.waiters = Waiters()
        self._todo: deque[Command] = deque()
        self._ends: deque[Returned | Raised] = deque()  # of attempts, of which the board has not heard
        self._acting, self._actor = threading.Lock(), 0
        self.workers = Workers(self._name, self._sizes, self.attempt_ended)
        self._callbacks = Callbacks(self._name)
        self._keeper = Keeper(self._name, self._tick)
        self._forked = forked()
        self._abandoned = False
        self.store: Store | None = None
        self._left_store: Store | None = None
        self._written = 0  # how many of those in _todo, from the first on, are on disk
        self._leaves = False  # it is closed: the store goes once nothing runs any more
        end_with_the_program(self)

    @property
    def is_ours(self) -> bool:
        """It belongs to this process, and not to one that this is a fork of."""
        return not self._forked[0]

    def check_ours(self) -> None:
        """Raises ExecutorError in a fork of the program: its threads are not there, and its locks may be held."""
        if self._forked[0]:
            raise ExecutorError("this engine belongs to the process that has made it; make one here")

    def open(self) -> None:
        """Begin what may. Raises StoreError."""
        self._leaves = False
        self.store = self.store or self._left_store
        if self.store is not None:
            self.store.open()
        self._keeper.open()
        if self.board.paused:
            self.board.paused = False
            self.feed()

    def close(self, *, kill: bool) -> None:
        """Begin nothing more, and end all threads. kill: end what runs, too, which else goes on."""
        with self.mutex:
            self.board.paused = True
        self._keeper.close()
        with self._alone():  # what has begun is with its workers, and what has ended with the callbacks
            self.workers.close(kill=kill)
            callbacks, self._callbacks = self._callbacks, Callbacks(self._name)
        callbacks.close(_LAST_CALLBACKS)
        self._leaves = True
        self._leave()

    def abandon(self) -> None:
        """The program ends: end what runs, and tell nobody."""
        self._abandoned = True
        for job in self.jobs.running.values():
            catch(job.give_up)
        self.close(kill=True)

    def leave_store(self) -> None:
        """From now on, until it is opened again, what becomes of jobs is not kept: who resumes finds them as they are
        now."""
        if self.store is not None:
            with self._alone():
                self._left_store, self.store = self.store, None
                self._left_store.release()

    def _leave(self) -> None:
        """Let the store go, if it is not needed."""
        if self.store is not None and self._leaves and all(job.endless for job in self.jobs.running.values()):
            self.store.release()

    @property
    def is_here(self) -> bool:
        """The caller is what others wait for: a callback, or a condition of the user's own."""
        return self._keeper.is_here or self._callbacks.is_here

    # What a store brings back

    def pause(self) -> None:
        """Begin nothing until `open`."""
        with self.mutex:
            self.board.paused = True

    def restore(self, job: Job, status: str) -> None:
        """A job had ended before."""
        with self.mutex:
            self.board.restore(job.entry, status)
            self.jobs.move(job, CREATED, status)

    def withdraw(self, job: Job) -> None:
        """Another job takes the place of one that does not run."""
        with self.mutex:
            if job.status == PENDING:
                self._count(job, -1)
            self.board.forget(job.entry)
            self.jobs.drop(job)
        job.is_told = True
        if not job.future.done():
            job.future.show(None, None, cancelled=True)

    # Events in

    def feed(self, *events: Event) -> None:
        """Tell the board what has happened, and carry out what it says."""
        self.check_ours()
        with held():
            self._tell(events)
            self._act()

    def _tell(self, events: Iterable[Event]) -> None:
        """Tell the board, and write down what it says."""
        with self.mutex:
            commands = self.board.feed(*events)
            for command in commands:
                if type(command) is Moved:
                    self._book(command)
            self._todo.extend(commands)
            due = self.board.next_due()
        self._keeper.wake(due)

    def _book(self, move: Moved) -> None:
        job: Job = move.entry.job
        self.jobs.move(job, move.old, move.new)
        if move.new == RUNNING:
            job.note_begin()
        elif move.new in FINAL:
            self.untold += 1
            self._count(job, -1)
        elif move.new == PENDING and move.old != RUNNING:
            self.claimed.pop(job.id, None)
            job.note_submit(move.old)
            self._count(job, 1)

    def unclaim(self, jobs: Iterable[Job]) -> None:
        """They were not submitted after all."""
        with self.mutex:
            for job in jobs:
                self.claimed.pop(job.id, None)

    def _count(self, job: Job, by: int) -> None:
        if job.endless:
            self.endless += by
        else:
            self.left += by

    def attempt_ended(self, job: Job, attempt: int, value: Any, error: BaseException | None) -> None:
        """Called by the thread that hears of the end of an attempt."""
        if job.entry.attempt != attempt or job.status != RUNNING or self._abandoned:
            return
        failure = job.judge(value, error)
        self._ends.append(
            Returned(job.entry, attempt, value) if failure is None
            else Raised(job.entry, attempt, failure, wait_after(job, failure), now())
        )  # fmt: skip
        with held():
            self._act()

    # Commands out

    def _act(self) -> None:
        """Carry out commands, one after the other, in one thread at a time."""
        while (self._todo or self._ends) and self._acting.acquire(blocking=False):
            self._actor = threading.get_ident()
            try:
                self._drain()
                self._leave()
            finally:
                self._actor = 0
                self._acting.release()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other thread carries out commands, and none is left. Not for who carries out one."""
        if self._actor == threading.get_ident():
            raise RuntimeError("the engine is in the midst of what it does next: have another thread do that")
        with self._acting:
            self._actor = threading.get_ident()
            try:
                self._drain()
                yield
            finally:
                self._actor = 0
        self._act()  # what came meanwhile from threads that found another one at it

    def tell_ends(self, jobs: Iterable[Job]) -> None:
        """Have the ends of jobs told that have ended, before anything of them changes for their next run."""
        if any(job.status != CREATED and not job.future.done() for job in jobs):
            with held(), self._alone():
                pass  # to have been alone is enough

    def _drain(self) -> None:
        while self._todo or self._ends:
            if self._ends:
                self._tell([self._ends.popleft() for _ in range(len(self._ends))])
            if self._todo:
                if self.store is not None:
                    self._keep(self.store)
                self._carry_out(self._todo.popleft())

    def _keep(self, store: Store) -> None:
        """Have on disk what is to be carried out, before any of it is: the next command, and all that stand behind it
        by now. Where that fails nothing new begins: what runs goes on, and its end is told, but not kept."""
        if not self._written:
            with self.mutex:
                commands = list(self._todo)
            self._written = len(commands)
            try:
                store.write(commands)
            except StoreError as error:
                logger.error("nothing begins any more: %s", error)
                self.feed(*(Revoked(job.entry, _UNKEPT) for job in self.jobs.pending.values()))
        self._written -= 1

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, Moved):
            self._follow(command)
        elif isinstance(command, Ask):
            self._keeper.do(partial(self._ask, command.watch))
        else:
            self._keeper.do(partial(self._fire, command))

    def _follow(self, move: Moved) -> None:
        """Do what the new status of a job means."""
        job: Job = move.entry.job
        if move.new not in FINAL and self.store is not None and self.store.broken is not None:
            self.feed(Revoked(move.entry, _UNKEPT))
        elif move.new == RUNNING:
            if not move.entry.fires:
                self._run(job, move.entry.attempt)
            return
        if move.old == RUNNING:
            job.give_up()
            if job.running is not None:
                self.workers.stop(job)
        if isinstance(move.what, BaseException) and move.new != DONE:
            self._note_failure(job, move.what)
        if move.new in FINAL:
            self._settle(job, move)

    def _run(self, job: Job, attempt: int) -> None:
        """Begin an attempt."""
        call, error = catch(job.call, partial(self._result_of, job))
        if error is None:
            _, error = catch(self._begin, job, *call)
        if error is not None:
            self.feed(Raised(job.entry, attempt, error, None, now()))

    def _begin(self, job: Job, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        kwargs = injected(self._engine, function, kwargs)
        if job.stream is not None:
            self._callbacks.call(bool, None)  # its thread is there, before a garbage collector needs it
            served = job.stream.begin((function, args, kwargs))
            if served is None:
                return
            function, args, kwargs = served
        if (job.redirect_out_err or job.change_dir) and job.where != "command":
            function = surrounded(job, function)
        self.workers.begin(job, function, args, kwargs)

    def _result_of(self, asks: Job, future: JobFuture | JobReference) -> Any:
        """What a job that begins gets for a future. Never waits: nobody else would tell the end that is waited for."""
        job = future.job_in(self._engine)
        lost = job is not None and asks.on_upstream == "run" and job.status in (FAILED, CANCELLED)
        return None if job is None or lost else job.gave()

    def _note_failure(self, job: Job, error: BaseException) -> None:
        job.note_error(error)
        if self._engine.setting.print_traceback:
            logger.error("%s failed", job, exc_info=error)
        if job.error_callback is not None:
            self._callbacks.call(partial(call_user, job.error_callback), error)

    def _settle(self, job: Job, move: Moved) -> None:
        """Tell the end of a job."""
        job.note_end()
        error, value = None, move.what if move.new == DONE else None
        if job.stream is not None and move.new == DONE:
            value = job.stream.wrapper()
        if move.new == FAILED:
            error = move.what
            if not isinstance(error, BaseException):
                error = failure_of(job, move.what)
                self._note_failure(job, error)
        elif move.new == CANCELLED and logger.isEnabledFor(_INFO):
            logger.info("%s was cancelled%s", job, f": {move.what}" if move.what else "")
        elif move.new == DONE and job.callback is not None:
            self._callbacks.call(partial(call_user, job.callback), value)
        if job.stream is not None:
            job.stream.finish(move.what, error, cancelled=move.new == CANCELLED)
        future = job.future
        if future.show(value, error, cancelled=move.new == CANCELLED):  # from here on it may be submitted again
            self._callbacks.call(JobFuture.call_callbacks, future)
        if job.callback is not None or job.error_callback is not None or future.has_callbacks:
            self._callbacks.call(partial(self._told, job), future)
        else:
            self._told(job, future)

    def cancel_soon(self, job: Job) -> None:
        """Have a job cancelled by the callback thread. For who may hold any lock."""
        if self.is_ours and not self._abandoned:
            self._callbacks.call(self._engine.cancel, job)

    def _told(self, job: Job, future: JobFuture) -> None:
        with self.mutex:
            if job.future is future:  # else it runs again
                job.is_told = True
            self.untold -= 1
        self.waiters.announce()

    # Time, and conditions of the user's own: in the engine's thread

    def _tick(self) -> float:
        self.feed(Ticked(now(), wall()))
        with self.mutex:
            return self.board.next_due()

    def _ask(self, watch: OfAnswer) -> None:
        answer, error = catch(lambda: bool(watch.condition.satisfy(self._engine)))
        if watch.is_news(error):
            logger.error("a condition raised, which counts as False: %r of %s", *watch.whose, exc_info=error)
        self.feed(Answered(watch, error is None and answer, now(), wall()))

    def _fire(self, command: Fire) -> None:
        job = command.entry.job
        if job.status == RUNNING:
            _, error = catch(job.fire, self._engine)
            if error is not None:
                logger.error("%s could not submit a job", job, exc_info=error)

    # What is there

    def is_quiet(self) -> bool:
        """All jobs have ended and all callbacks were called, or nothing can begin any more."""
        return self.may_leave() and (not self.endless or self.is_stuck())

    def may_leave(self) -> bool:
        """The same, but for endless jobs."""
        return not self.untold and (not self.left or self.is_stuck())

    def is_stuck(self) -> bool:
        """Jobs wait for what will never come."""
        with self.mutex:
            return not self.untold and self.board.is_stuck()

    def stuck_text(self) -> str:
        """What they wait for; empty if it can come."""
        with self.mutex:
            if not self.board.is_stuck():
                return ""
            waits = [(job, self.board.waits_of(job.entry)) for job in self.jobs.pending.values()]
        return told_stuck(waits)
