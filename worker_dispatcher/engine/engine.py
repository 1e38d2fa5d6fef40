"""Engine: the public face of what is in this folder."""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from worker_dispatcher.clock import LONGEST_WAIT, now, wall
from worker_dispatcher.engine import default, pictures, table
from worker_dispatcher.engine.dispatcher import Dispatcher
from worker_dispatcher.engine.errors import ExecutorError, InvalidStateError
from worker_dispatcher.engine.events import Entry, Revoked, Submitted
from worker_dispatcher.engine.job import Job, check_jobs
from worker_dispatcher.engine.jobs import FILE, Jobs
from worker_dispatcher.engine.log import logger
from worker_dispatcher.engine.settings import EngineSetting
from worker_dispatcher.engine.status import CREATED, DONE, FINAL, PENDING, RUNNING, STATUSES
from worker_dispatcher.engine.users import failure_of, refuse_own_wait
from worker_dispatcher.errors import ConfigError, WorkerWarning
from worker_dispatcher.named_tuple import NamedTuple

if TYPE_CHECKING:
    from worker_dispatcher.engine.store import Store

_Select = Callable[[Jobs], Sequence[Job]]
_INFO = 20  # as in the module logging


class Resource(NamedTuple):
    """Slots that are left."""

    n_thread: float
    n_process: float
    n_dask: float
    n_job: float


class Engine:
    """Runs jobs, each once what it waits for has come and there is a slot for it.

    store: a file that the jobs are kept in, so that Engine(store=..., resume=True) goes on after any end of the
    program: what was done is done, with its result; the rest is pending until `start`. A job with an id that the store
    knows as done, and that this process submits for the first time, is not run again. Endless jobs are not kept. Raises
    StoreError where the file cannot be used, and, without resume, where jobs in it have not ended. Once it cannot be
    written any more, nothing begins, and `submit`, `wait` and the end of the block raise that.

    `with Engine() as engine:` starts it; the end of the block does what `on_exit` of its setting says, by default it
    waits for all jobs but endless ones, which it cancels; an exception in the block, Ctrl-C too, cancels what has not
    ended. In a store such a job has not: `resume` goes on with it.

    Thread-safe; the async methods may be used on several event loops at once. It has a thread for time and for
    conditions of your own, one for callbacks, and pools of workers; each is there once it is needed.
    """

    def __init__(
        self,
        setting: EngineSetting | None = None,
        jobs: Jobs | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        store: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> None:
        self.id = str(uuid.uuid4())
        self.setting = EngineSetting() if setting is None else setting
        if not isinstance(self.setting, EngineSetting):
            raise TypeError(f"Engine: expected an EngineSetting, such as EngineSetting(max_jobs=4), got {setting!r}")
        self.setting.check()
        self.jobs = Jobs() if jobs is None else jobs
        self.loop = loop
        self._dispatcher = Dispatcher(self)
        self._started = False
        self._told = ""  # what is stuck, as it was warned of
        self._switching = threading.RLock()  # held by who starts or stops it
        self._keep_in(self._store_path(store), resume or self.jobs.is_from_cache)

    def _store_path(self, store: str | os.PathLike[str] | None) -> str | os.PathLike[str] | None:
        """The file that jobs are kept in, if they are."""
        if self.setting.cache_type == "none":
            if store is None and self.jobs.cache_path is not None:
                os.makedirs(self.jobs.cache_path, exist_ok=True)
                return Path(self.jobs.cache_path) / FILE
            return store
        if store is not None:
            text = "the jobs are kept in one file: give either this or cache_type"
            raise ConfigError([("store", text)], "Engine()")
        return self.get_cache_dir() / FILE

    def _keep_in(self, path: str | os.PathLike[str] | None, resume: bool) -> None:
        if path is None:
            if resume:
                text = "there is nothing to resume: give store='jobs.sqlite', or a setting with cache_type='disk'"
                raise ConfigError([("resume", text)], "Engine()")
            return
        from worker_dispatcher.engine.resume import bring_back, refuse_unfinished
        from worker_dispatcher.engine.store import Store

        store = Store(path, failure_of)
        try:
            if resume:
                self.jobs.forget_all()
                self._dispatcher.store = store
                bring_back(self, self._dispatcher, store)
            else:
                refuse_unfinished(store)
        except BaseException:
            store.release()
            raise
        store.rows = []
        self._dispatcher.store = store

    # Start and stop

    def start(self) -> None:
        """Take jobs from `submit`, and begin what waits. Possible again after `stop`; twice is a warning."""
        self._dispatcher.check_ours()
        with self._switching:
            if not self._started:
                self._started = True
                self._dispatcher.open()
                return
        warnings.warn(f"{self} has been started already", WorkerWarning, stacklevel=2)

    def stop(self) -> None:
        """Take no more jobs from `submit`, and begin none. Waits for nothing and cancels nothing: what runs goes on, in
        threads until the program ends; what is pending stays so until the next `start`. Twice is a warning."""
        with self._switching:
            if self._started:
                self._started = False
                self._dispatcher.close(kill=False)
                return
        warnings.warn(f"{self} is not running", WorkerWarning, stacklevel=2)

    def __enter__(self) -> Engine:
        self.start()
        default.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        default.leave(self)
        how = "cancel" if error is not None else self.setting.on_exit
        try:
            if how == "wait":
                self._await(self._dispatcher.may_leave, self.setting.exit_timeout)
                self._tell_if_stuck(again=False)
                self.cancel(*(job for job in self.jobs.running.values() if job.endless))
            elif how == "cancel" and error is None:
                self.cancel_all()
        finally:
            if how != "detach":
                self._dispatcher.leave_store()
                self.cancel_all()
            with self._switching:
                self._started = False
                self._dispatcher.close(kill=how != "detach")
        if error is None:
            self._raise_if_unkept()

    # Jobs

    def submit(self, *jobs: Job) -> None:
        """Have jobs run; one that has ended is run again. On return, a job that waits for nothing and has a slot is
        running. Takes all of them or none. Raises RuntimeError if the engine was not started, and DependencyCycle."""
        if not self._started:
            raise RuntimeError(f"{self} is not running: use it in a `with` block, or call engine.start()")
        self.take(jobs)

    async def submit_async(self, *jobs: Job) -> None:
        """The same on an event loop. The engine need not be started."""
        with self._switching:
            self._dispatcher.open()
        self.take(jobs)

    def take(self, jobs: Sequence[Job]) -> None:
        """`submit`, whether the engine was started or not. For jobs that submit others."""
        check_jobs("submit", jobs)
        at, mine = now(), self._claim(jobs)
        try:
            self._dispatcher.tell_ends(mine)
            entries = [job.prepare(self, at) for job in mine]
            if (store := self._dispatcher.store) is not None:
                entries = self._kept(store, entries)
            for job in mine:
                job.engine = self
            if logger.isEnabledFor(_INFO):
                for job in mine:
                    logger.info("submit %s", job)
            self._dispatcher.feed(Submitted(entries, at, wall()))
        except BaseException:
            self._dispatcher.unclaim(mine)
            raise

    def _claim(self, jobs: Sequence[Job]) -> list[Job]:
        """Those that are to be submitted: they have not been, or have ended, and no other thread is about to. Raises
        ExecutorError for the id of another job that has not ended."""
        mine, claimed = dict[str, Job](), self._dispatcher.claimed
        with self._dispatcher.mutex:
            for job in jobs:
                taken = mine.get(job.id) or claimed.get(job.id)
                other = taken or self.jobs.find(job.id)
                if other not in (None, job) and (taken or self._is_alive(other)):
                    text = "has not ended yet; cancel it first, or choose another id"
                    raise ExecutorError(f"a job with id {job.id!r} {text}")
                if job.status not in (PENDING, RUNNING) and taken is None:
                    mine[job.id] = job
            claimed.update(mine)
        return list(mine.values())

    @staticmethod
    def _is_alive(job: Job) -> bool:
        """It has not ended, and is not one of the store whose place another may take."""
        return job.status not in FINAL and (job.kept is None or not job.kept.is_back)

    def _kept(self, store: Store, entries: Sequence[Entry]) -> list[Entry]:
        """Those that are to run, ready to be written; a job that the store knows to be done, by its id, is done."""
        from worker_dispatcher.engine.resume import take_place

        self._raise_if_unkept()
        placed = {entry for entry in entries if take_place(self._dispatcher, entry.job)}
        self._dispatcher.unclaim(entry.job for entry in placed)
        left = [entry for entry in entries if entry not in placed]
        for entry in left:
            if not entry.job.endless:
                store.pack(entry.job)
        return left

    def _raise_if_unkept(self) -> None:
        """Raises StoreError where jobs can be kept no more."""
        store = self._dispatcher.store
        if store is not None and store.broken is not None:
            raise store.broken

    def cancel(self, *jobs: Job) -> bool:
        """Cancel jobs; False if any had ended, or was never submitted. A pending one never runs. A process that runs
        one is killed. A thread cannot be: its slot is free at once, and the function may ask
        current_task().cancelled()."""
        check_jobs("cancel", jobs)
        mine = [job for job in jobs if job.engine is self and job.status in (PENDING, RUNNING)]
        if mine:
            self._dispatcher.feed(*(Revoked(job.entry) for job in mine))
        return len(mine) == len(jobs)

    def cancel_all(self) -> None:
        """Cancel all that has not ended."""
        self.cancel(*self.jobs.pending.values(), *self.jobs.running.values())

    async def cancel_all_async(self) -> None:
        """The same on an event loop."""
        self.cancel_all()

    def remove(self, job: Job) -> None:
        """Forget a job; one that has not ended is cancelled first. Nothing to do for one that was not submitted, or
        whose id another one has now. Raises ExecutorError for a job of another engine."""
        if job.engine not in (None, self):
            raise ExecutorError(f"{job} belongs to another engine")
        while self.jobs.find(job.id) is job:
            self.cancel(job)
            with self._dispatcher.mutex:
                if job.status not in FINAL or self.jobs.find(job.id) is not job:
                    continue  # another thread has submitted it again, or removed it
                self._dispatcher.board.forget(job.entry)
                self.jobs.drop(job)
                if self._dispatcher.store is not None and self._dispatcher.claimed.get(job.id) is not job:
                    self._dispatcher.store.forget(job)  # else it is about to be submitted again, in its row

    def status_of(self, job_id: str) -> str | None:
        """The status of a job; None if the engine has none of this id."""
        entry = self._dispatcher.board.entries.get(job_id)
        return None if entry is None else entry.status

    def end_attempt(self, job: Job, attempt: int, error: BaseException | None, value: Any = None) -> None:
        """An attempt of a job has ended, and is to be stopped. For jobs that see so themselves."""
        self._dispatcher.attempt_ended(job, attempt, value, error)

    def cancel_soon(self, job: Job) -> None:
        """`cancel`, a little later: for who may hold any lock."""
        self._dispatcher.cancel_soon(job)

    @property
    def resource(self) -> Resource:
        """Slots that are left; infinite where there is no limit."""
        free = self._dispatcher.board.free
        return Resource(free["thread"], free["process"], free["dask"], free["job"])

    @property
    def dask_client(self) -> Any:
        """The distributed.Client of DaskJobs. Unless one was set, the first look starts a cluster on this machine,
        which ends with the engine's threads."""
        return self._dispatcher.workers.cluster.client()

    @dask_client.setter
    def dask_client(self, client: Any) -> None:
        self._dispatcher.workers.use_cluster(client)

    @property
    def print_traceback(self) -> bool:
        return self.setting.print_traceback

    @property
    def cache_dir(self) -> Path:
        """The folder of the engine, made by the first look."""
        return self.get_cache_dir()

    def get_cache_dir(self) -> Path:
        """The same."""
        path = Path(self.setting.cache_path or f".executor/{self.id}")
        path.mkdir(parents=True, exist_ok=True)
        return path

    # What is there, to look at

    def to_mermaid(self) -> str:
        """The graph of all jobs with their statuses, as a flowchart of mermaid."""
        return pictures.mermaid(self._nodes())

    def to_dot(self) -> str:
        """The same for graphviz."""
        return pictures.dot(self._nodes())

    def _nodes(self) -> list[pictures.Node]:
        return [pictures.Node(job.id, job.name, job.status, job.waits_for) for job in self.jobs]

    def table(self) -> str:
        """All jobs as a table in plain text: name, kind, status, attempts, how long each has run."""
        return table.text_of(self.jobs.all_jobs())

    def live(self, stream: TextIO | None = None) -> AbstractContextManager[None]:
        """`with engine.live():` shows the jobs while the block runs, on a terminal: a table if the package rich is
        there, else one line of counts. stream: None: standard error."""
        return table.live(self.jobs.all_jobs, stream)

    # Waiting

    def wait_job(self, job: Job, timeout: float | None = None, raise_: bool = False) -> Any:
        """Wait for the end of a job, retries and callbacks included. Its result if it is done, else None; raise_: what
        it raised, CancelledError, or TimeoutError, instead of None. Raises InvalidStateError if it was never submitted.
        """
        check_jobs("wait_job", [job])
        if job.engine is not self or job.status == CREATED:
            raise InvalidStateError(job, STATUSES[1:])
        refuse_own_wait(self.jobs, job, timeout)
        self._await(lambda: job.is_told or self._dispatcher.is_stuck(), timeout)
        future = job.future
        if job.status != DONE or not future.done():  # a result that is not on disk yet is not told
            self._raise_if_unkept()
            if not raise_:
                return None
        return future.result(0)

    def wait(self, timeout: float | None = None, time_delta: float = 0.2, select_jobs: _Select | None = None) -> None:
        """Wait until all jobs have ended, and all callbacks were called: for endless ones, such as a CronJob, until
        somebody cancels them. Or until select_jobs(jobs) is empty, which is asked at each end of a job and each
        time_delta seconds. Returns when the time is over, and, with a warning that says what they wait for, when no job
        can begin any more."""
        if select_jobs is None:
            refuse_own_wait(self.jobs, None, timeout)
            self._await(self._dispatcher.is_quiet, timeout)
        else:
            self._await(partial(self._selects_none, select_jobs), timeout, time_delta)
        self._tell_if_stuck()

    async def wait_async(
        self, timeout: float | None = None, time_delta: float = 0.2, select_jobs: _Select | None = None
    ) -> None:
        """`wait` on an event loop."""
        waiters = self._dispatcher.waiters
        if select_jobs is None:
            await waiters.wait_async(self._dispatcher.is_quiet, timeout)
        else:
            await waiters.wait_async(partial(self._selects_none, select_jobs), timeout, time_delta)
        self._tell_if_stuck()

    async def join(self, jobs: Sequence[Job] | None = None, timeout: float | None = None) -> None:
        """Wait until jobs have ended, retries and callbacks included; those that have not yet, if none are given.
        Returns when the time is over, and when no job can begin any more."""
        if jobs is None:
            jobs = [*self.jobs.running.values(), *self.jobs.pending.values()]
        left = list(jobs)

        def fact() -> bool:
            while left and left[-1].is_told:
                left.pop()
            return not left or self._dispatcher.is_stuck()

        await self._dispatcher.waiters.wait_async(fact, timeout)

    def _selects_none(self, select_jobs: _Select) -> bool:
        return not select_jobs(self.jobs) or self._dispatcher.is_stuck()

    def _await(self, fact: Callable[[], bool], timeout: float | None, step: float = LONGEST_WAIT) -> None:
        self._dispatcher.check_ours()
        if self._dispatcher.is_here and not fact():
            raise RuntimeError("a callback, or a condition, of the engine would wait for itself")
        self._dispatcher.waiters.wait(fact, timeout, step)

    def _tell_if_stuck(self, *, again: bool = True) -> None:
        """again: also what was told before."""
        if self._dispatcher.is_quiet():
            self._raise_if_unkept()
        text = self._dispatcher.stuck_text()
        if text and (again or text != self._told):
            self._told = text
            warnings.warn(text, WorkerWarning, stacklevel=3)

    def __repr__(self) -> str:
        return f"<Engine id={self.id}>"

    def __reduce__(self) -> Any:
        raise TypeError("an Engine cannot be sent to another process; have the job return what is to be done next")
