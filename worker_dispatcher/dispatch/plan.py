"""Plan = Config + this machine: which shape, how many workers, what each is told, and whether that can be sent.

Pure but for reading the machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from worker_dispatcher.call import Call, Hooks
from worker_dispatcher.clock import Anchor
from worker_dispatcher.config.describe import brief, input_text
from worker_dispatcher.config.options import Config, WorkerOptions
from worker_dispatcher.dispatch.schedule import AllAtOnce, Schedule
from worker_dispatcher.errors import ConfigError
from worker_dispatcher.execute import catch, describe
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.osproc.cores import blas_environment, usable_cores
from worker_dispatcher.pools.base import Name, Pool, Setup
from worker_dispatcher.retry import RetryPolicy
from worker_dispatcher.wire import WAY_OUT, WAYS_TO_SHARE, culprit, is_shared_by_inheritance, pack_large

if TYPE_CHECKING:
    from worker_dispatcher.config.backend import Backend
    from worker_dispatcher.dispatch.load import Load


class Shape(NamedTuple):
    """Where tasks run. name: in a config's words; place: what a worker is, in messages; title, unit: in the banner.

    has_processes: workers are in processes of their own; has_threads: several may share one.
    """

    name: str
    place: str
    title: str
    unit: str
    has_processes: bool
    has_threads: bool


THREADS = Shape("threads", "worker thread", "Threading", "Thread(s)", False, True)
PROCESSES = Shape("processes", "worker process", "Processing", "Process(es)", True, False)
GRID = Shape("grid", "worker", "Parallel Processing", "Process(es)", True, True)


class Lender(Protocol):
    """A pool that is kept, and lends its workers. kind: 'thread', 'process', 'grid' or 'coroutine'."""

    kind: str
    name: str

    @property
    def max_workers(self) -> int:
        """How many tasks may run at once."""

    def lend(self, setup: Setup, workers: int, named: Name) -> Pool:
        """So many of its workers, as a pool of one's own: to close it closes nothing else. Raises RunError."""


_LENT = {"thread": THREADS, "coroutine": THREADS, "process": PROCESSES, "grid": GRID}


class Plan(NamedTuple):
    """slots: threads (or coroutines) of each process; of this process alone where the shape has no others.

    workers: tasks that can run at once; tasks: how many there are, None if unknown.
    show_input: a failed task's item may be shown. number: what worker.number is, where it says nothing too.
    timeout: seconds that a task may run, or None. stop_at: nothing begins from then on (monotonic).
    lender: whose workers run the tasks, None for workers of the run's own. cluster: where these are, None for here; the
    slots are then those of all its Dask workers together, and only a guess where worker.number says nothing.
    raises: the run raises the exception of the task that ends it. allowed: how many tasks may fail before that.
    """

    schedule: Schedule
    shape: Shape
    slots: tuple[int, ...]
    tasks: int | None
    setup: Setup
    retry: RetryPolicy
    method: str | None
    environment: Mapping[str, str]
    load: Load | None
    show_input: bool = True
    number: int = 1
    timeout: float | None = None
    stop_at: float = math.inf
    raises: bool = False
    allowed: float = math.inf
    lender: Lender | None = None
    cluster: Backend | None = None

    @property
    def leaves(self) -> bool:
        """What a task is told is sent to another process."""
        return self.shape.has_processes or self.cluster is not None

    @property
    def workers(self) -> int:
        return sum(self.slots)

    def input_of(self, item: Any) -> str:
        """A failed task's item, where text may show it; else empty."""
        return input_text(item) if self.show_input else ""

    @property
    def max_workers(self) -> int | None:
        """Of a load: how many tasks may run at once, None without a cap."""
        from worker_dispatcher.dispatch.load import NO_CAP

        return None if self.workers == NO_CAP else self.workers


def make_plan(config: Config, tasks: int | None, anchor: Anchor) -> Plan:
    """tasks: how many there are, None if unknown."""
    lender = config.worker.pool
    processes = config.worker.use_processing or config.worker.parallel_processing.enabled
    cores = 1 if config.worker.number and not processes else usable_cores()  # which takes files to be read
    number = config.worker.number or cores
    if lender is not None:
        number = min(config.worker.number or lender.max_workers, lender.max_workers)
    schedule, number, load = _schedule(config, number, tasks)
    if tasks is not None:
        number = max(1, min(number, tasks))  # never more workers than tasks
    shape, slots = _shape(config, number, cores)
    return Plan(
        schedule,
        shape,
        slots,
        tasks,
        _setup(config, anchor, timed=schedule.timed),
        RetryPolicy(config.task.retries, config.task.backoff),
        config.worker.start_method,
        blas_environment(config.worker.blas_threads, cores, len(slots)) if processes else {},
        load,
        config.task.show_input,
        config.worker.number or (cores if load is not None else number),
        config.task.timeout,
        math.inf if config.runtime is None else anchor.monotonic + config.runtime,
        config.task.on_error == "raise",
        config.task.max_failures or (1 if config.task.on_error == "raise" else math.inf),
        lender,
        config.worker.backend,
    )


def _schedule(config: Config, number: int, tasks: int | None) -> tuple[Schedule, int, Load | None]:
    """The schedule, how many workers there may be, and the load: in frequency mode they grow with what is running."""
    if not config.worker.frequency_mode.enabled:
        return AllAtOnce(), number, None
    from worker_dispatcher.dispatch.load import load_of, timed_schedule  # 1 ms, for load only

    schedule, most = timed_schedule(config.worker.frequency_mode, number)
    return schedule, most, load_of(config.worker.frequency_mode, schedule, tasks)


def _shape(config: Config, number: int, cores: int) -> tuple[Shape, tuple[int, ...]]:
    parallel = config.worker.parallel_processing
    if config.worker.pool is not None:
        shape = _LENT[config.worker.pool.kind]
        return shape, (1,) * number if shape is PROCESSES else (number,)
    if parallel.enabled:
        processes = min(number, parallel.processes or min(number, cores))
        each, more = divmod(number, processes)
        return GRID, tuple(each + (at < more) for at in range(processes))
    if config.worker.use_processing:
        return PROCESSES, (1,) * number
    return THREADS, (number,)


def _setup(config: Config, anchor: Anchor, *, timed: bool) -> Setup:
    task = config.task
    on_done = task.callback.on_done
    call = Call(
        task.function,
        config.styles.function,
        task.config,
        on_done,
        config.styles.on_done if on_done else None,
        task.retry_on,
        task.on_error == "raise",
        anchor,
    )
    return Setup(
        call,
        config.styles.coroutine,
        timed,
        _hooks(config),
        config.worker.max_tasks_per_worker,
        config.worker.memory_limit,
        config.worker.forward_logging,
        config.journal is not None,
        config.worker.capture_output,
    )


def _hooks(config: Config) -> Hooks | None:
    init, end = config.worker.init, config.worker.exit
    if init is None and end is None:
        return None
    return Hooks(init, config.styles.init, end, config.styles.exit)


def open_pool(plan: Plan, config: WorkerOptions, named: Name, packed: Any) -> Any:
    """The pool of the plan's shape. packed: the plan's setup, as `pack_setup` gave it."""
    if plan.lender is not None:
        return plan.lender.lend(plan.setup, plan.workers, named)
    if plan.cluster is not None:
        from worker_dispatcher.pools.dask.pool import DaskPool, Place

        grid = config.parallel_processing.processes
        most = config.number if plan.load is None else plan.workers
        place = Place(plan.shape.name, most, grid, plan.method, config.blas_threads)
        return DaskPool(plan.setup, plan.cluster, place, named, packed)
    if not plan.shape.has_processes:
        from worker_dispatcher.pools.threads import ThreadPool

        return ThreadPool(plan.setup, plan.workers, named)
    from worker_dispatcher.pools.processes import ProcessPool

    return ProcessPool(
        plan.setup,
        plan.slots,
        method=plan.method,
        environment=dict(plan.environment),
        place=plan.shape.place,
        named=named,
        packed=packed,
    )


def pack_setup(config: Config, setup: Setup) -> Any:
    """What each worker process or Dask worker is told, packed; None where a fork has it. Refuses, before anything
    starts, what cannot be sent: only then it is looked which option, or which part of task.config, is at fault."""
    pack: Callable[[Any], Any] = pack_large
    if config.worker.backend is not None:
        from worker_dispatcher.pools.dask.messages import pack
    elif config.worker.start_method == "fork":
        return None
    packed, error = catch(pack, setup.told())
    if error is None:
        return packed
    del error  # it holds this frame, and would hold itself
    task, worker = config.task, config.worker
    parts: dict[str, Any] = {
        "task.function": task.function,
        "task.callback.on_done": task.callback.on_done,
        "worker.init": worker.init,
        "worker.exit": worker.exit,
        "task.retry_on": task.retry_on,
    }
    if type(task.config) is dict:
        parts |= {f"task.config[{brief(key) or type(key).__name__}]": value for key, value in task.config.items()}
    else:
        parts["task.config"] = task.config
    problems = [(path, text) for path, value in parts.items() if (text := _problem(pack, value)) is not None]
    raise ConfigError(problems or [("task", "its function, on_done and config cannot be sent to a process together")])


def _problem(pack: Callable[[Any], Any], value: Any) -> str | None:
    """What keeps a value from being sent, and what to do; None if nothing does."""
    _, error = catch(pack, value)
    if error is None:
        return None
    if (where := culprit(error)) is None:
        what = f"({type(value).__module__}.{type(value).__qualname__})".replace("(builtins.", "(")
    else:
        own = f" of {getattr(value, '__qualname__', None)} ("  # of what is at fault itself that is said already
        what = f"uses {where.replace(own, ' (', 1)}, which"
    why = f"{type(error).__name__}: {describe(error)[1][:200]}"
    way = WAYS_TO_SHARE if is_shared_by_inheritance(error) else WAY_OUT
    del error  # it holds this frame, and would hold itself
    return f"{what} cannot be sent to a process; {way} ({why})"
