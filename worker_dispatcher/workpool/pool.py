"""WorkerPool: the public face of what is in this folder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from worker_dispatcher.clock import now
from worker_dispatcher.config.backend import parsed
from worker_dispatcher.config.signature import is_coroutine_function
from worker_dispatcher.errors import ConfigError
from worker_dispatcher.retry import Backoff
from worker_dispatcher.workpool import checks
from worker_dispatcher.workpool.calling import Beginning
from worker_dispatcher.workpool.control import PoolStats
from worker_dispatcher.workpool.future import DELAYED, Task, TaskFuture
from worker_dispatcher.workpool.group import TaskGroup
from worker_dispatcher.workpool.lending import lend
from worker_dispatcher.workpool.lifetime import keep_until_done
from worker_dispatcher.workpool.overflow import Overflow
from worker_dispatcher.workpool.results import chunk_of, results_of, run_chunk, run_chunk_softly
from worker_dispatcher.workpool.scheduler import Scheduler
from worker_dispatcher.workpool.settings import POOL_DEFAULT, Settings, TaskHooks, settings_of, whole
from worker_dispatcher.workpool.shapes import Shape

_AFTER_A_PRESS = 0.3  # seconds after Ctrl-C in which what was killed ends before the block is left
_BACKOFF: Callable[[int], float] = Backoff().wait


class WorkerPool(Executor):
    """Workers that are kept: a concurrent.futures.Executor with groups, delays, deadlines, retries and names for tasks.

    kind: 'thread', 'process', 'grid' (processes with `threads_per_process` threads each), 'coroutine' (up to
    max_workers coroutine functions at once on one event loop; other workers have a loop each, and await one at a time)
    or 'dask' (threads of the workers of a Dask cluster, which `backend` describes as worker.backend does).
    Workers are started as tasks come.

    * Every task ends once, with a named state: see TaskResult. Nothing starts after its end was told.
    * A dead process costs the task that it ran, with WorkerDied, and no other. In a grid it cannot be known which task
      did it: each that ran is run again alone, so there a task may run twice.
    * A task over its `timeout` ends at once. Its process is killed and replaced; its thread, which nothing can end, is
      left behind and counted as abandoned: its place is taken until it returns, unless `max_abandoned` allows others in
      its stead. In a grid its process takes nothing new and is killed when its other tasks have ended.
    * `deadline` is for the whole life of a task: past it a task never starts, and one that runs is ended.
    * A function goes once to each worker process, however often it is submitted; so do its closure and `options`. A
      bound method and an object with __call__ may have changed, and are sent with each task.
    * `with`: the end of the block waits for all tasks; an exception in it cancels those that have not begun; Ctrl-C
      kills what runs.
    * What a full pool has no room for goes to its `overflow`, any concurrent.futures.Executor. If that fails for a task
      (it refuses or cancels it, or breaks), the task comes home, beyond the capacity if need be; what the task itself
      raises is its end as always. An executor that has lost a worker may have begun what comes home: such a task runs
      at least once, all others exactly once. For what runs there `kill` and limits of time end the wait, not the work.
      What is delayed, has a limiter, or is of a group with max_workers stays here, and so does all while the pool is
      paused: for these a full pool does what `on_full` says. Another attempt is made here.

    Thread-safe, all of it. A pool belongs to the process that made it. A pool that is dropped, and the end of the
    program, wait until what was submitted is done; a task that is stuck holds up the end for 3 seconds.
    A full pool with on_full='block' blocks the thread that submits: on an event loop use on_full='raise'.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        kind: str = "thread",
        threads_per_process: int | None = 1,
        capacity: int | None = None,
        on_full: str = "block",
        timeout: float | None = None,
        deadline: float | None = None,
        retries: int = 0,
        backoff: Callable[[int], float] | None = _BACKOFF,
        retry_on: Any = Exception,
        options: Mapping[str, Any] | None = None,
        hooks: TaskHooks | None = None,
        overflow: Executor | None = None,
        on_overflow_failed: Callable[..., Any] | None = None,
        max_abandoned: int = 0,
        idle_timeout: float | None = None,
        max_tasks_per_child: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
        name: str = "",
        backend: Mapping[str, Any] | None = None,
        **unknown: Any,
    ) -> None:
        """max_workers: tasks that run at once; None: as many as concurrent.futures would, 1000 coroutines.
        capacity: tasks that may be unfinished; on_full: 'block', or 'raise' PoolFull. timeout to hooks: the defaults of
        each task, see `schedule`. max_abandoned: threads that may stand in for abandoned ones. idle_timeout: seconds
        after which a worker without a task leaves. max_tasks_per_child: tasks after which a
        process is replaced. mp_context: a multiprocessing context, or its name.
        on_overflow_failed(task, error): called for each Task that comes home from the overflow, in the callback thread.
        backend: of kind 'dask', {'type': 'dask', 'address': 'tcp://host:8786'}; None: a cluster of this machine.
        initializer(*initargs): called once in each worker before its first task; if it raises, the pool is broken.

        Raises ConfigError (a ValueError) with all that is wrong; TypeError for an initializer that is no function.
        """
        begin = None if initializer is None else Beginning(initializer, initargs)
        given = {"timeout": timeout, "deadline": deadline, "retries": retries, "backoff": backoff, **unknown}
        given |= {"retry_on": retry_on, "options": options, "hooks": hooks}
        others = checks.of_pool(
            max_workers, kind, threads_per_process, capacity, on_full, max_abandoned, idle_timeout, max_tasks_per_child,
            mp_context, overflow, on_overflow_failed, backend,
        )  # fmt: skip
        settings = settings_of("WorkerPool()", Settings(), given, others, checks.names_of(WorkerPool.__init__))
        method = mp_context if isinstance(mp_context, str) or mp_context is None else mp_context.get_start_method()
        cluster = None if backend is None else parsed(backend)
        shape = Shape(
            kind, threads_per_process, method, begin, max_tasks_per_child, max_abandoned, idle_timeout, cluster
        )
        self.kind, self.name = kind, name or f"{kind}-pool"
        self._scheduler = Scheduler(
            shape, shape.usual_size() if max_workers is None else max_workers, settings, capacity, on_full, self.name
        )
        if overflow is not None:
            self._scheduler.overflow = Overflow(self._scheduler, overflow, on_overflow_failed)
        self._control = self._scheduler.control
        keep_until_done(self, self._scheduler)

    # The standard face

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskFuture:
        """Have fn(*args, **kwargs) called. Raises PoolClosed (a RuntimeError) after shutdown, PoolFull."""
        scheduler = self._scheduler
        return scheduler.intake.submit(scheduler.intake.make(fn, args, kwargs, scheduler.settings))

    def _submit(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        settings: Settings,
        group: TaskGroup | None,
    ) -> TaskFuture:
        return self._take(self._scheduler.intake.make(fn, args, kwargs, settings), group, None, None)

    def _take(
        self, future: TaskFuture, group: TaskGroup | None, block: bool | None, put_timeout: float | None
    ) -> TaskFuture:
        if group is None:
            return self._scheduler.intake.submit(future, block=block, put_timeout=put_timeout)
        group.admit(future)
        try:
            return self._scheduler.intake.submit(future, block=block, put_timeout=put_timeout)
        except BaseException:
            group.refuse(future)
            raise

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        progress: bool = False,
    ) -> Iterator[Any]:
        """The results of fn(*args) for each set of arguments, in order; an exception comes where its result would.

        timeout: seconds from the call for all of it; TimeoutError. chunksize: sets of arguments that are one task; tiny
        tasks travel together anyway. buffersize: sets that are drawn ahead of the result that is waited for; None: all
        at once. progress: show how many tasks have ended. Results that are not taken cancel what has not begun.
        """
        checks.of_map(chunksize, buffersize)
        if chunksize > 1:
            chunks = chunk_of(zip(*iterables, strict=False), chunksize)
            ahead = None if buffersize is None else -(-buffersize // chunksize)
            run = run_chunk_softly if is_coroutine_function(fn) else run_chunk
            results = self.map(run, itertools.repeat(fn), chunks, timeout=timeout, buffersize=ahead, progress=progress)
            return itertools.chain.from_iterable(results)
        until = None if timeout is None else now() + timeout
        arguments = iter(zip(*iterables, strict=False))
        first = list(arguments if buffersize is None else itertools.islice(arguments, buffersize))
        futures = self._submit_all(fn, first)
        shown = self._scheduler.show_ends(len(futures), whole=buffersize is None) if progress else None
        return results_of(futures, until, lambda: next(arguments, None), lambda args: self.submit(fn, *args), shown)

    def _submit_all(self, fn: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[TaskFuture]:
        """One task for each; without a capacity, taken in together."""
        scheduler = self._scheduler
        if scheduler.capacity is not None:
            return [self.submit(fn, *args) for args in arguments]
        futures = [scheduler.intake.make(fn, args, {}, scheduler.settings) for args in arguments]
        scheduler.intake.submit_all(futures)
        return futures

    def shutdown(
        self, wait: bool = True, *, cancel_futures: bool = False, kill: bool = False, timeout: float | None = None
    ) -> None:
        """Take no more tasks, and end the workers once all is done: delayed tasks too, which may be hours away.

        wait: return when the workers are gone. cancel_futures: cancel what has not begun. kill: end what runs, too.
        timeout: seconds to wait; then what runs is killed, or in threads abandoned, with a warning that says how many.
        Idempotent. Raises RuntimeError where it would wait for its caller: in a task of the pool, or a callback.
        """
        self._control.shutdown(wait, cancel_futures=cancel_futures, kill=kill, timeout=timeout)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.shutdown()
        elif isinstance(error, (KeyboardInterrupt, SystemExit)):
            self.shutdown(wait=False, cancel_futures=True, kill=True)
            self._scheduler.over.wait(_AFTER_A_PRESS)
        else:
            self.shutdown(cancel_futures=True)

    # The one extra verb

    def schedule(
        self,
        fn: Callable[..., Any] | Task,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        id: Any = None,
        name: str | None = None,
        delay: float = POOL_DEFAULT,
        deadline: float | None = POOL_DEFAULT,
        timeout: float | None = POOL_DEFAULT,
        retries: int = POOL_DEFAULT,
        backoff: Callable[[int], float] | None = POOL_DEFAULT,
        retry_on: Any = POOL_DEFAULT,
        priority: int = POOL_DEFAULT,
        options: Mapping[str, Any] | None = POOL_DEFAULT,
        limiter: Any = None,
        hooks: TaskHooks | None = POOL_DEFAULT,
        on_done: Callable[..., Any] | None = None,
        block: bool | None = None,
        put_timeout: float | None = None,
        **unknown: Any,
    ) -> TaskFuture:
        """Have fn(*args, **kwargs) called, with settings of its own; or a Task that was rescued.

        id: by which the pool knows the task until it ends, anything hashable; DuplicateTask if one that has not ended
        has it. name: for messages. delay: seconds before it may start; deadline: seconds by which it must be done,
        delay, queue and retries included; timeout: seconds for each attempt while it runs. retries: attempts after the
        first; backoff: f(attempt) -> seconds; retry_on: exception types or a predicate; timeouts and dead workers are
        retried only where TaskTimeout or WorkerDied is named. priority: higher first. options: for current_task().
        limiter: a Limiter that lets it start. hooks, on_done: called in the pool's callback thread.
        block, put_timeout: of a full pool: wait for room (so many seconds), or raise PoolFull.

        What is given replaces the pool's value, nothing is merged; None switches it off. Raises ConfigError.
        """
        own: dict[str, Any] = {"delay": delay, "deadline": deadline, "timeout": timeout, "retries": retries}
        own |= {"backoff": backoff, "retry_on": retry_on, "priority": priority, "options": options, **unknown}
        own["hooks"] = hooks
        rest = {"id": id, "name": name, "limiter": limiter, "on_done": on_done}
        own |= {key: value for key, value in rest.items() if value is not None}
        return self._schedule(fn, args, kwargs, {**own, "block": block, "put_timeout": put_timeout}, None)

    def _schedule(
        self,
        fn: Any,
        args: Iterable[Any],
        kwargs: Mapping[str, Any] | None,
        given: Mapping[str, Any],
        group: TaskGroup | None,
    ) -> TaskFuture:
        future = self._made(fn, args, kwargs, given, group)
        return self._take(future, group, given.get("block"), given.get("put_timeout"))

    def _made(
        self,
        fn: Any,
        args: Iterable[Any],
        kwargs: Mapping[str, Any] | None,
        given: Mapping[str, Any],
        group: TaskGroup | None,
    ) -> TaskFuture:
        """The future of a scheduled task."""
        own = {name: value for name, value in given.items() if value is not POOL_DEFAULT}
        if isinstance(fn, Task):
            own = {**checks.settings_in(fn), **own}
            fn, args, kwargs = fn.fn, fn.args, fn.kwargs
        how = {name: own.pop(name, None) for name in ("id", "delay", "block", "put_timeout")}
        delay = how["delay"] or 0.0
        defaults = self._scheduler.settings if group is None else group.settings
        others = checks.of_task(fn, args, kwargs, how["id"], delay, how["block"], how["put_timeout"])
        settings = settings_of("schedule()", defaults, own, others, checks.names_of(WorkerPool.schedule))
        if settings.deadline is not None and 0 < delay >= settings.deadline:
            expected = f"expected less than the deadline of {settings.deadline:g} s"
            raise ConfigError([("delay", f"{expected}, got {delay:g} s: it would expire unstarted")], "schedule()")
        future = self._scheduler.intake.make(fn, tuple(args), kwargs or {}, settings)
        if how["id"] is not None:
            self._scheduler.intake.call_it(future, how["id"])
        if delay > 0:
            future.due, future.phase = future.submitted_at + delay, DELAYED
        return future

    def schedule_many(self, tasks: Iterable[Any]) -> list[TaskFuture]:
        """`schedule` for Tasks, or (fn, args, kwargs), all or none: what is wrong with any is raised before one starts.
        A pool whose capacity does not suffice for all raises PoolFull, or waits for room."""
        futures = [self._made(*checks.parts_of(task), {}, None) for task in tasks]
        self._scheduler.intake.submit_all(futures)
        return futures

    # Keyed tasks

    def get(self, id: Any) -> TaskFuture | None:
        """The future of a task that has not ended, by the id that it was given. Tasks without one, which are numbered,
        are known by their futures alone."""
        return self._scheduler.live.get(id.known_as if isinstance(id, TaskFuture) else id)

    def __contains__(self, id: Any) -> bool:
        return self.get(id) is not None

    def __len__(self) -> int:
        """Tasks that have not ended."""
        return len(self._scheduler.live)

    def __bool__(self) -> bool:
        return True  # also a pool without tasks

    def cancel(self, id: Any, *, kill: bool = False) -> bool:
        """End a task by its id, or its future; False if there is none. One that has not begun never runs, and its id is
        free again.
        One that runs ends as 'cancelled' at once; the function goes on, and may ask current_task().cancelled();
        kill: its process is killed, its coroutine cancelled."""
        future = self.get(id)
        return future is not None and self._control.cancel(future, kill=kill)

    def rescue(self, *, running: bool = False) -> list[Task]:
        """Take out what has not begun, as Tasks that `schedule` accepts, here or in another pool or program; their
        futures end as cancelled, and the pool stays open. on_rescue is called for each. running: what runs is taken,
        too, and ended: processes are killed."""
        return self._control.rescue(running=running)

    # Groups and control

    def group(
        self,
        *,
        name: str | None = None,
        max_workers: int | None = None,
        deadline: float | None = None,
        fail_fast: bool = False,
        progress: bool = False,
        **settings: Any,
    ) -> TaskGroup:
        """Tasks that belong together. max_workers: how many of them may run at once. deadline: seconds from now by
        which all must be done. progress: show how many have ended. settings: the defaults of its tasks, in the place
        of the pool's: see `schedule`."""
        others = checks.of_group(max_workers, deadline)
        own = settings_of("group()", self._scheduler.settings, settings, others, checks.GROUP_NAMES)
        return TaskGroup(
            self, own, name=name, max_workers=max_workers, deadline=deadline, fail_fast=fail_fast, progress=progress
        )

    def join(self, timeout: float | None = None) -> bool:
        """Wait until no task is left, delayed ones included; False if some are after so many seconds. The pool stays
        open."""
        return self._control.join(timeout)

    def resize(self, max_workers: int) -> None:
        """From now on, so many workers. Returns at once; those that are too many end their tasks first."""
        checks.refuse("resize()", {"max_workers": whole(max_workers, 1)})
        self._control.resize(max_workers)

    @contextmanager
    def _resuming(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.resume()

    def pause(self, timeout: float | None = None) -> Any:
        """Begin nothing more, from the call on, until `resume`. Returns when what runs has ended, or after so many
        seconds. As `with pool.pause():` it resumes at the end of the block."""
        self._control.pause(timeout)
        return self._resuming()

    def resume(self) -> None:
        """Undo `pause`; nothing where it is not paused."""
        self._control.resume()

    def stats(self) -> PoolStats:
        """What it has done and has to do, at one moment."""
        return self._control.stats()

    def lend(self, setup: Any, workers: int, named: Callable[[int, int], object]) -> Any:
        """For runs that have the pool as `worker.pool`: what their driver takes for a pool. Raises RunError."""
        return lend(self._scheduler, setup, workers, named)

    @property
    def closed(self) -> bool:
        """It takes no more tasks; so it is in a fork of the process that has made it."""
        return self._scheduler.closed or not self._scheduler.is_ours

    @property
    def max_workers(self) -> int:
        """How many tasks may run at once."""
        return self._scheduler.size

    def __reduce__(self) -> Any:
        raise TypeError("a WorkerPool belongs to its process and cannot be pickled: pass what the task needs instead")

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<WorkerPool {self.name} {state} workers={self.max_workers} tasks={len(self)}>"
