"""A runner: the threads of one process that claim tasks and run them.

The same runner works for a thread pool (in the user's process) and inside each process of a grid; so does the runner of
coroutines in loop.py.
"""

from __future__ import annotations

import _thread
import itertools
import math
import os
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from worker_dispatcher.clock import now
from worker_dispatcher.contexts import branch
from worker_dispatcher.errors import RunError
from worker_dispatcher.execute import Seal, catch_settled, exit_text, run_tasks
from worker_dispatcher.marks import own_marks
from worker_dispatcher.osproc.system import start_thread
from worker_dispatcher.pools.base import Batch, Setup
from worker_dispatcher.pools.runners.kept_loop import with_loop
from worker_dispatcher.pools.runners.task_queue import (
    Claim,
    Columns,
    Runner,
    Slot,
    TaskQueue,
    TimedTaskQueue,
    WorkerThread,
    forked,
)
from worker_dispatcher.task_span import TaskSpan

__all__ = ["ThreadRunner", "runner_kind"]

_STRETCH = 0.001  # seconds from the beginning of a thread's first unreported task in which others may begin
_MANY = 64  # tasks of a stretch that are worth a step of their own for those who hear of them
_ROUSED = 2  # idle threads that are woken at once; each wakes as many when it has come to run
_GROW = 0.002  # seconds of starting threads after which the runner's driver looks at what else there is to do
_TRY_AGAIN = 1.0  # seconds from one thread that the system refuses to the next one that is asked for
_LOOK_AFTER = 0.01  # seconds from a report until it is looked for what may never be reported


def runner_kind(setup: Setup) -> Callable[..., Runner]:
    """The runner that runs the setup's function."""
    if setup.coroutine:
        from worker_dispatcher.pools.runners.coroutines import (
            CoroutineRunner,  # and with it asyncio, which takes 25 ms to load
        )

        return CoroutineRunner
    return ThreadRunner


class ThreadRunner:
    """Up to `size` daemon threads, started as tasks come.

    Shared: queue (its own lock), done, bailed, broken and complaints (appends only), _idle,
    _early, _alive and opening (_mutex).
    Waits: an idle thread on its slot's lock, which feed, offer or close releases; one that has claimed a task before it
    is due, on another until then, which close releases.
    new_slot: the next thread's slot; halt: a one-cell row, nothing begins while it is not 0;
    wake: tells the driver that there is something in done or bailed.
    seal: the last step of a task, in its own thread and on its own time: what a worker process does to send its result.

    A thread reports its tasks by the stretch. What a stretch holds when it comes upon a long task is looked for by the
    driver, once, a moment after the stretch has begun: so that nothing that has ended waits for something that has not.
    Threads are started and woken a few at a time: a thousand at once would be in each other's way, and in the way of
    those few that could do what there is to do meanwhile.
    short: how many threads `grow` has yet to start.
    """

    def __init__(
        self,
        setup: Setup,
        size: int,
        new_slot: Callable[[], Slot],
        halt: Any,
        wake: Callable[[], None],
        seal: Seal | None = None,
    ) -> None:
        self._setup, self._size, self._new_slot, self._halt, self._wake = setup, size, new_slot, halt, wake
        self._seal = seal
        self._context = branch()  # what each thread begins with
        self.done: deque[tuple[int, TaskSpan]] = deque()  # number of the slot, what it has to report
        self.look_at = math.inf
        self.short = 0
        self._last = self._claimed = 0  # seq of the last task fed; of one that is claimed, as are all before it
        self._slots: list[Slot] = []
        self.bailed: deque[int] = deque()
        self._queue = TimedTaskQueue() if setup.timed else TaskQueue()
        self._mutex = threading.Lock()
        self._idle: list[Slot] = []
        self._early: set[Any] = set()  # locks of threads whose tasks are not due yet
        self._alive = 0
        self._fed = 0
        self._closed = False
        self._orderly = True
        self.broken: deque[BaseException] = deque()
        self.complaints: deque[str] = deque()
        self.opening = 0
        self.lost: OSError | None = None  # only a loop can be
        self.left: deque[Slot] = deque()
        self._try_at = 0.0  # no thread is asked for before (monotonic): the system has refused one

    def feed(self, seq: int, batch: Batch) -> None:
        count = len(batch.items)
        self._queue.add(seq, batch)
        with self._mutex:
            self._last = seq + count - 1
            self._fed += 1
            if not self._setup.timed:
                self.short = max(0, self._last - self._claimed - len(self._idle) - self.opening)
        self._rouse(count if self._setup.timed else _ROUSED)
        if self._setup.timed:
            self.hire()
        else:
            self.grow()
            self.look_at = min(self.look_at, now() + _LOOK_AFTER)

    def _rouse(self, most: int) -> None:
        """Wake some idle threads."""
        with self._mutex:
            woken = [self._idle.pop() for _ in range(min(most, len(self._idle)))]
        for slot in woken:
            slot.rest.release()

    def offer(self, claim: Claim) -> bool:
        """Hand a task to an idle thread; False if there is none. From any thread."""
        with self._mutex:
            if not self._idle or self._closed:
                return False
            slot = self._idle.pop()
        slot.handed = claim
        slot.rest.release()
        return True

    def grow(self) -> None:
        """Start the threads that are `short`, as far as a moment suffices, and as there are tasks for them."""
        until = now() + _GROW
        while self.short and now() < until:
            with self._mutex:
                enough = self._alive >= self._size or self._last - self._claimed <= len(self._idle)
                if enough or now() < self._try_at:
                    self.short = 0
                    return
                self.short -= 1
                self._alive += 1
            self._start()

    def hire(self, least: int = 0) -> None:
        """Start threads for the tasks that are due next and that no waiting thread will take, or so many at least.
        Grows on demand: a thread whose task will have ended by then is not counted."""
        crowd = self._queue.crowd()
        with self._mutex:
            short = max(crowd - len(self._early) - len(self._idle) - self.opening, least - self._alive)
            fresh = min(short, self._size - self._alive) if now() >= self._try_at else 0
            self._alive += max(0, fresh)
        for _ in range(fresh):
            self._start()

    def _start(self) -> None:
        slot = self._new_slot()
        self._slots.append(slot)
        if self._setup.hooks is not None:
            with self._mutex:
                self.opening += 1
        live = self._run if self._setup.hooks is None else self._run_between_hooks
        life = partial(branch(self._context).run, live, slot)
        if self._setup.kept:
            life = partial(with_loop, life)
        thread = WorkerThread(life, f"worker-{slot.number}", self._wake)
        try:
            start_thread(thread)
            slot.thread = thread
        except RunError:  # the system gives no more threads: those that run do the work
            with self._mutex:
                self.opening -= self._setup.hooks is not None
                self._alive -= 1
                self._try_at = now() + _TRY_AGAIN
                if not self._alive:
                    raise

    def replace(self, slot: Slot) -> None:
        """A thread in the place of one that was given up; what that one had to report is told."""
        self.leave_behind(slot)
        if not self._closed:
            self._start()

    def leave_behind(self, slot: Slot) -> None:
        """One that was given up, and holds its place until it has `returned`; what it had to report is told."""
        self._slots.remove(slot)
        if slot.stretch is not None:
            self.done.append((slot.number, slot.stretch))

    def returned(self, slot: Slot) -> None:
        """The thread of one that was left behind has ended."""
        with self._mutex:
            self._alive -= 1
        if slot.thread is not None and slot.thread is not threading.current_thread():
            slot.thread.join()

    def _run_between_hooks(self, slot: Slot) -> None:
        """A thread's life where it has more than tasks: worker.init, the tasks, worker.exit."""
        setup, pid = self._setup, os.getpid()
        assert setup.hooks is not None
        slot.open_init()
        state, error = catch_settled(setup.hooks.begin, setup.call.config)
        if os.getpid() != pid:
            os._exit(0)  # worker.init forked and its child came back here
        heard = slot.close_init()
        with self._mutex:
            self.opening -= 1
        failed = error is not None
        if error is not None and heard:
            self.broken.append(error)
        del error  # it holds this frame, and would hold itself
        self._wake()
        if failed or not heard:
            return
        self._run(slot, state)
        if self._orderly and not slot.abandoned:
            _, error = catch_settled(setup.hooks.finish, state)
            if error is not None:
                self.complaints.append(exit_text(error))
            del error

    def _run(self, slot: Slot, state: Any = None) -> None:
        setup, halt, in_child = self._setup, self._halt, forked()
        usual = call, caller = setup.call, setup.caller(setup.call, state)
        own_marks.set(slot)
        claim: Claim | None = None
        went = slot.stretch = TaskSpan()
        while claim is not None or (claim := self._claim(slot)) is not None:
            task, _, batch, rest, done = claim
            call, caller = usual if batch.call is None else (batch.call, setup.caller(batch.call, state))
            until = now() + _STRETCH
            run_tasks(
                call, caller, itertools.chain((task,), rest), slot, went, self._seal, timeout=batch.timeout,
                stop_at=min(batch.stop_at, until), until=until, forked=in_child, attempt=batch.attempt,
            )  # fmt: skip
            if in_child[0]:
                os._exit(0)  # the task forked and its child came back here: it is not one of this runner
            fresh, ahead = TaskSpan(), went.unbegun
            if done is not None and ahead is None and not went.apart:
                if not slot.settle(None, None, fresh):
                    return
                if done(slot.number, went):
                    went, claim = fresh, None
                    del task, batch, rest, done, call, caller  # a waiting thread must keep nothing alive
                    continue
                self.done.append((slot.number, went))
                heard = True
            else:
                heard = slot.settle(self.done, (slot.number, went), fresh)
            went = fresh  # a waiting thread must not keep a result alive, nor items, nor what a function holds
            claim = None
            if ahead is not None:
                if heard and not halt[0] and now() < batch.stop_at:
                    claim = Claim(ahead, 0.0, batch, rest)
                elif ahead[0] != slot.abandoned:
                    self.bailed.append(ahead[0])
            del task, batch, rest, done, call, caller
            self._wake()
            if not heard:
                return

    def resize(self, size: int) -> None:
        """From now on, so many threads. Those that are too many leave when they have nothing to do."""
        with self._mutex:
            self._size = size
            woken = [self._idle.pop() for _ in range(min(len(self._idle), self._alive - size))]
            if not self._setup.timed:  # what was fed while there were enough threads waits, where there may be more now
                self.short = max(0, self._last - self._claimed - len(self._idle) - self.opening)
        for slot in woken:
            slot.rest.release()
        if self._setup.timed:
            self.hire()
        else:
            self.grow()

    def retire(self, since: float) -> float:
        """Let threads go that have been idle since a moment; since when the next one has been, infinite if none is."""
        with self._mutex:
            gone = [slot for slot in self._idle if slot.started[0] <= since]
            self._idle = self._idle[len(gone) :]  # the one that has been idle for longest is the first
            self._alive -= len(gone)
            self.left += gone
            rest = self._idle[0].started[0] if self._idle else math.inf
        for slot in gone:
            slot.retired = True
            slot.rest.release()
        return rest

    def _leaves(self, slot: Slot) -> bool:
        """True if there are too many threads, so that this one goes."""
        if self._alive <= self._size:
            return False
        with self._mutex:
            if self._alive <= self._size or self._closed:
                return False
            self._alive -= 1
        self.left.append(slot)
        return True

    def forget(self, slot: Slot) -> None:
        """A thread in `left` has ended."""
        self._slots.remove(slot)
        if slot.thread is not None and slot.thread is not threading.current_thread():  # which brings the word itself
            slot.thread.join()

    def cancel(self, seq: int) -> bool:
        """Nothing can end what a thread runs."""
        return False

    def _claim(self, slot: Slot) -> Claim | None:
        """A task, at its time; waits for one; None if the thread of this slot is to end."""
        while not self._leaves(slot):
            fed = self._fed
            if (claim := self._queue.next()) is not None:
                if claim.due:
                    self._await(claim.due)
                elif self._idle and claim.task[0] < self._last:
                    self._rouse(_ROUSED)
                self._claimed = max(self._claimed, claim.task[0])
                return claim
            if not self._rest(slot, fed):
                break
            if (claim := slot.handed) is not None:
                slot.handed = None
                return claim
        return None

    def harvest(self, *, all_there_is: bool = False) -> list[Columns]:
        """What has ended, and is told only once: some in any order, then in order of seq. all_there_is: also what no
        thread has reported yet."""
        # A stretch of many tasks is left by itself: they are neighbours, for the most part, and one worker's.
        done, at, others, found = self.done, now(), Columns.empty(), []
        for _ in range(len(done)):
            number, went = done.popleft()
            if went.ended - went.taken < _MANY:
                others.take(number, went)
            else:
                found.append(Columns.of_stretch(number, went))
        if all_there_is or at >= self.look_at:
            self._look(others, at)
        elif not self._setup.timed:
            self.look_at = min(self.look_at, at + _LOOK_AFTER)
        return [others, *found]

    def _look(self, found: Columns, at: float) -> None:
        """Take what threads have to report that may be in a long task by now; look again if any may come to that."""
        still = len(self._idle) + self.opening
        for slot in self._slots:
            if (went := slot.stretch) is not None and went.starts:
                found.take(slot.number, went)
                # What it runs now is the last task of its stretch, after which it reports.
                still += went.starts[0] + _STRETCH <= at
        self.look_at = math.inf if still >= self._alive else at + _LOOK_AFTER

    def _await(self, due: float) -> None:
        """Wait for a task's time. The last thread to leave off waiting asks for another."""
        lock = _thread.allocate_lock()
        lock.acquire()
        with self._mutex:
            self._early.add(lock)
        if not self._halt[0] and (ahead := due - now()) > 0:
            lock.acquire(timeout=ahead)
        with self._mutex:
            self._early.discard(lock)
            short = not self._early and not self._idle and self._alive < self._size
        if short:
            self._wake()

    def _rest(self, slot: Slot, fed: int) -> bool:
        """Wait for work, unless more was fed than `fed`; False if there will be none."""
        with self._mutex:
            if self._closed:
                return False
            if self._fed != fed:
                return True
            self._claimed = self._last
            slot.started[0] = now()
            self._idle.append(slot)
        slot.rest.acquire()
        return not slot.retired

    def blocked_by(self) -> None:
        """No thread stands in another's way."""

    def excuse(self, by: float) -> None:
        """No thread is late through another's fault."""

    def leave(self) -> None:
        self.close(orderly=False)

    def drop(self) -> list[int]:
        return self._queue.drop()

    def close(self, *, orderly: bool = True) -> None:
        """Let idle threads go; those that run a task go when it ends. orderly: they run worker.exit."""
        with self._mutex:
            self._closed, self._orderly = True, orderly
            locks, self._idle = [*self._early, *(slot.rest for slot in self._idle)], []
            self._early.clear()
        for lock in locks:
            lock.release()

    def ending(self) -> list[WorkerThread]:
        """After `close`: the threads that run no task, and so come to their end."""
        return [slot.thread for slot in self._slots if slot.thread is not None and not slot.running[0]]
