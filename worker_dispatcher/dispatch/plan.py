"""Plan = Config + this machine: which shape, how many workers, what each is told. Pure but for reading the machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from worker_dispatcher.call_style import STATE_NAME, CallStyle
from worker_dispatcher.clock import Anchor
from worker_dispatcher.config import CALLBACK_NAMES, TASK_NAMES, Config, call_style, hook_style, is_coroutine_function
from worker_dispatcher.dispatch.machine import usable_cores
from worker_dispatcher.dispatch.schedule import AllAtOnce, Curve, Growing, Paced, Schedule, Stage, Stages, Steady, Trace
from worker_dispatcher.execute import Call, Hooks
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.pools.base import Pool, Setup
from worker_dispatcher.retry import RetryPolicy

__all__ = ["NO_CAP", "Load", "Plan", "make_plan", "open_pool"]

NO_CAP = 10_000  # workers where the user sets no cap: more than a machine of today gives
_SHORTEST_INTERVAL = 1e-6  # seconds: no task starts more exactly than that, and intervals can be counted for 31 years
_BLAS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Load(NamedTuple):
    """What frequency mode adds to a run. duration: seconds from its first due time to its end, None if unknown.

    drops: a task that finds all workers busy is not run. warmup, cooldown: seconds left out of the statistics.
    """

    duration: float | None
    drops: bool
    warmup: float
    cooldown: float
    abort_on: tuple[str, ...]


class Plan(NamedTuple):
    """kind: 'threads', 'processes' or 'grid'; slots: threads (or coroutines) of each process, one entry for threads.

    workers: tasks that can run at once; tasks: how many there are, None if unknown.
    """

    schedule: Schedule
    kind: str
    slots: tuple[int, ...]
    cores: int
    tasks: int | None
    setup: Setup
    retry: RetryPolicy
    method: str | None
    environment: Mapping[str, str]
    load: Load | None

    @property
    def workers(self) -> int:
        return sum(self.slots)


def make_plan(config: Config, tasks: int | None, anchor: Anchor) -> Plan:
    """tasks: how many there are, None if unknown."""
    cores = usable_cores()
    number = config.worker.number or cores
    schedule, number = _schedule(config, number, tasks)
    if tasks is not None:
        number = max(1, min(number, tasks))  # never more workers than tasks
    kind, slots = _shape(config, number, cores)
    processes = len(slots) if kind != "threads" else 1
    return Plan(
        schedule,
        kind,
        slots,
        cores,
        tasks,
        _setup(config, anchor, timed=schedule.timed),
        RetryPolicy(config.task.retries, config.task.backoff),
        config.worker.start_method,
        _environment(config.worker.blas_threads, cores, processes),
        _load(config) if schedule.timed else None,
    )


def _schedule(config: Config, number: int, tasks: int | None) -> tuple[Schedule, int]:
    """The schedule, and how many workers there may be: in frequency mode they grow with what is running."""
    frequency = config.worker.frequency_mode
    if not frequency.enabled:
        return AllAtOnce(), number
    interval, duration = max(frequency.interval, _SHORTEST_INTERVAL), frequency.duration
    most = frequency.max_workers or NO_CAP
    if isinstance(frequency.pacing, tuple):
        return Trace(frequency.pacing, interval, duration), most
    curve: Curve = Growing(number, frequency.accumulated_workers)
    if frequency.rate is not None:
        curve = Steady(frequency.rate)
    elif frequency.stages is not None:
        curve = _stages(frequency.stages)
    pacing = frequency.pacing or ("burst" if isinstance(curve, Growing) else "even")
    return Paced(curve, pacing, interval, duration, frequency.seed), most


def _stages(given: Iterable[tuple[float, float, bool]]) -> Stages:
    stages, before = [], 0.0
    for duration, rate, step in given:
        stages.append(Stage(duration, rate if step else before, rate))
        before = rate
    return Stages(tuple(stages))


def _load(config: Config) -> Load:
    frequency = config.worker.frequency_mode
    duration = frequency.duration
    if frequency.stages is not None:
        whole = _stages(frequency.stages).duration
        duration = whole if duration is None else min(whole, duration)
    drops = frequency.on_saturation == "drop"
    return Load(duration, drops, frequency.warmup, frequency.cooldown, frequency.abort_on)


def _shape(config: Config, number: int, cores: int) -> tuple[str, tuple[int, ...]]:
    parallel = config.worker.parallel_processing
    if parallel.enabled:
        processes = min(number, parallel.processes or min(number, cores))
        each, more = divmod(number, processes)
        return "grid", tuple(each + (at < more) for at in range(processes))
    if config.worker.use_processing:
        return "processes", (1,) * number
    return "threads", (number,)


def _setup(config: Config, anchor: Anchor, *, timed: bool) -> Setup:
    task = config.task
    on_done = task.callback.on_done
    call = Call(
        task.function,
        call_style(task.function, TASK_NAMES if config.worker.init is None else (*TASK_NAMES, STATE_NAME)),
        task.config,
        on_done,
        call_style(on_done, CALLBACK_NAMES) if on_done else None,
        task.retry_on,
        task.on_error == "raise",
        anchor,
    )
    stop_at = anchor.monotonic + config.runtime if config.runtime is not None else None
    return Setup(
        call,
        is_coroutine_function(task.function),
        task.timeout,
        stop_at,
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
    nothing = CallStyle()
    return Hooks(
        init,
        nothing if init is None else hook_style(init, "config"),
        end,
        nothing if end is None else hook_style(end, STATE_NAME),
    )


def _environment(blas_threads: int | None, cores: int, processes: int) -> dict[str, str]:
    """Variables that keep workers x BLAS threads within the cores; what the user set himself stands."""
    limit = str(blas_threads or max(1, cores // processes))
    return {name: limit for name in _BLAS if blas_threads or name not in os.environ}


def open_pool(plan: Plan) -> Pool:
    """The pool of the plan's shape."""
    if plan.kind == "threads":
        from worker_dispatcher.pools.threads import ThreadPool

        return ThreadPool(plan.setup, plan.workers)
    from worker_dispatcher.pools.processes import ProcessPool

    return ProcessPool(plan.setup, plan.slots, method=plan.method, environment=dict(plan.environment))
