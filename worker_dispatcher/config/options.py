"""The config: every option with its default, rule and meaning, declared once. Frozen; `parse` makes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeAlias

from worker_dispatcher.config.declare import Options, option, section
from worker_dispatcher.config.pacing import pacing, rate, stages
from worker_dispatcher.config.rules import (
    anything,
    backend,
    callback,
    flag,
    hook,
    items,
    lender,
    number,
    one_of,
    path,
    retryable,
    seconds,
    size,
    task_function,
    texts,
    whole,
)
from worker_dispatcher.config.signature import Styles
from worker_dispatcher.retry import Backoff

RetryOn: TypeAlias = tuple[type[BaseException], ...] | Callable[[BaseException], object] | None


_BACKOFF = Backoff()


# What stands in where a config names no function: they do nothing but show the shape to write.


def task_function_sample(id: int, config: Any = None, task: Any = None, metadata: dict[Any, Any] | None = None) -> Any:
    """A task function: gets its number (from 1), `task.config`, its item and a dict to note things in."""
    return {"taskId": id}


def callback_sample(id: int, config: Any = None, result: Any = None, log: dict[str, Any] | None = None) -> Any:
    """A callback: what it returns becomes the task's result."""
    return result


class BackoffOptions(Options):
    """Declares the options of retry.Backoff, which is what the config holds."""

    initial: float = option(
        _BACKOFF.initial,
        seconds("0 tries again at once", least=0),
        "Seconds to wait before the second attempt; 0 tries again at once.",
    )
    factor: float = option(
        _BACKOFF.factor,
        number("2 doubles the wait with each attempt, 1 keeps it", least=1),
        "How much longer each further wait is than the one before.",
    )
    maximum: float = option(
        _BACKOFF.maximum,
        seconds("give the longest wait in seconds"),
        "The longest wait, in seconds.",
    )
    jitter: float = option(
        _BACKOFF.jitter,
        number("0.1 spreads each wait by 10 %", least=0, most=1),
        "Share by which each wait is spread at random, so that failed tasks do not come back together.",
    )


class CallbackOptions(Options):
    """Functions called with a task's result; what they return becomes the result."""

    on_done: Callable[..., Any] | None = option(
        False,
        callback(),
        "Called in the worker for each task that returned: `on_done(id, config, result, log)`; returns what to keep.",
    )
    on_all_done: Callable[..., Any] | None = option(
        False,
        callback(),
        "Called in the calling process for each task, in order, once all have ended; returns the result to keep.",
    )


class TaskOptions(Options):
    """What to run, and what to do when it fails."""

    list: Iterable[Any] | int | None = option(
        [],
        items(),
        "An iterable whose items come as `task`, or a count: `task` is `{}`, and `id` tells tasks apart; None: no end.",
        private=True,
    )
    function: Callable[..., Any] = option(
        task_function_sample,
        task_function(),
        "The function run for each task; it gets those of `id`, `config`, `task`, `metadata` that it names.",
        shown="(sample)",
    )
    config: Any = option({}, anything(), "Handed to every call as `config`: endpoints, tables, settings.", private=True)
    show_input: bool = option(
        True,
        flag(),
        "A failed task's item is shown where it is a short text, a path or a number; False keeps it out of all text.",
    )
    callback: CallbackOptions = section(
        CallbackOptions, hint="the function to run goes in 'task.function', one for its results in 'on_done'"
    )
    timeout: float | None = option(
        None,
        seconds("give seconds such as 2.5, or None for no limit", optional=True),
        "Seconds that one attempt may run before it is stopped.",
    )
    retries: int = option(
        0,
        whole("0 means that a failed task is not tried again", least=0),
        "How often a failed task is tried again at most.",
    )
    backoff: Backoff = section(BackoffOptions, made=Backoff)
    retry_on: RetryOn = option(
        None,
        retryable(),
        "Which failures are tried again: exception classes, or a function that gets the exception; None for all.",
    )
    on_error: Literal["record", "raise"] = option(
        "record",
        one_of("record", "raise"),
        "What a failed task does: `'record'` notes it and goes on, `'raise'` stops the run and raises its exception.",
    )
    max_failures: int | None = option(
        None,
        whole("give how many failed tasks stop the run, or None for no limit", least=1, optional=True),
        "Stop the run after this many failed tasks.",
    )


class ParallelProcessing(Options):
    """Processes of several threads each. Where enabled, `worker.use_processing` does not matter."""

    enabled: bool = option(False, flag(), "Run threads in several processes; goes before `worker.use_processing`.")
    use_queue: bool = option(
        False, flag(), "Kept for older configs: workers always share the tasks evenly; only the verbose text changes."
    )
    processes: int | None = option(
        None,
        whole("give a number of processes, or None for one per usable core", least=1, optional=True),
        "Over how many processes the workers are spread; None for one per usable core, never more than workers.",
    )


class FrequencyMode(Options):
    """Tasks are released by the clock, `worker.number` at each tick, whether or not earlier ones have ended."""

    enabled: bool = option(False, flag(), "Release `worker.number` tasks at each tick instead of keeping workers busy.")
    interval: float = option(1, seconds("one tick per second is interval=1"), "Seconds from one tick to the next.")
    accumulated_workers: float = option(
        0,
        number("5 releases 5 more tasks at each tick, -5 releases 5 fewer"),
        "How many more tasks each tick releases than the one before; may be negative.",
    )
    max_workers: int | None = option(
        None,
        whole("give the most tasks that may run at once, or None for no cap", least=1, optional=True),
        "The most tasks that may run at the same time.",
    )
    pacing: str | tuple[float, ...] | None = option(
        None,
        pacing(),
        "How the tasks of one interval lie in it, or when each task is due; None is `'burst'`, with a rate `'even'`.",
    )
    rate: float | None = option(
        None,
        rate(),
        "Tasks per second instead of `worker.number` per interval, such as 250 or `'90/min'`.",
    )
    stages: tuple[tuple[float, float, bool], ...] | None = option(
        None,
        stages(),
        "Ramps `(seconds, rate)` from the rate before, and steps `{'duration': 10, 'rate': 50, 'step': True}`.",
    )
    duration: float | None = option(
        None,
        seconds("give seconds such as 60, or None for no end", optional=True),
        "Seconds after which no task is released; a list that is shorter begins again.",
    )
    seed: int | None = option(
        None,
        whole("give a number that makes random pacings the same each time, or None", least=0, optional=True),
        "Makes `'random'` and `'poisson'` the same each time.",
    )
    on_saturation: Literal["queue", "drop"] = option(
        "queue",
        one_of("queue", "drop"),
        "What happens to a task that is due while all workers are busy: `'queue'` starts it late, `'drop'` never.",
    )
    warmup: float = option(0.0, seconds("0 is none", least=0), "Seconds at the start that the statistics leave out.")
    cooldown: float = option(0.0, seconds("0 is none", least=0), "Seconds at the end that the statistics leave out.")
    abort_on: tuple[str, ...] = option(
        (),
        texts("give checks such as 'error_rate>50% for 10s'"),
        "Stop the run when one of these comes true, such as `'error_rate>50% for 10s'`.",
    )


class WorkerOptions(Options):
    """Where tasks run, and how many at once."""

    number: int | None = option(
        None,
        whole("give a number of workers, or None for one per usable core", least=1, optional=True),
        "How many workers run tasks at the same time; None for one per usable core.",
        shown="(auto)",
    )
    pool: Any = option(
        None,
        lender(),
        "A WorkerPool whose workers run the tasks, beside whatever else it does; it is left open.",
    )
    backend: Any = option(
        "local",
        backend(),
        "Where workers are: `'local'`, or a Dask cluster: `{'type': 'dask', 'address': 'tcp://host:8786'}`.",
    )
    use_processing: bool = option(
        False, flag(), "Workers are processes instead of threads, for work that keeps Python itself busy."
    )
    parallel_processing: ParallelProcessing = section(ParallelProcessing)
    frequency_mode: FrequencyMode = section(FrequencyMode)
    start_method: Literal["fork", "forkserver", "spawn"] | None = option(
        None,
        one_of("fork", "forkserver", "spawn", optional=True),
        "How worker processes are started; None for the safe way of this platform.",
    )
    blas_threads: int | None = option(
        None,
        whole("give a number of threads, or None for an even share of the cores", least=1, optional=True),
        "Threads that linear algebra may use in each worker process; None for an even share of the cores.",
    )
    init: Callable[..., Any] | None = option(
        None,
        hook(),
        "Called once in each worker before its tasks, as `init(config)`; tasks get its result as `worker_state`.",
    )
    exit: Callable[..., Any] | None = option(
        None,
        hook(),
        "Called once in each worker after its last task, as `exit(worker_state)`; not in one that is killed.",
    )
    max_tasks_per_worker: int | None = option(
        None,
        whole("give after how many tasks a process ends and another takes its place, or None", least=1, optional=True),
        "How many tasks a worker process runs before another takes its place; in a grid all its threads together.",
    )
    memory_limit: int | None = option(
        None,
        size("give bytes, or a text such as '500MB' or '1.5GiB', or None for no limit"),
        "Memory (resident, as `top` shows it) over which a worker process is killed; its task is then `crashed`.",
    )
    forward_logging: bool | Literal["drop"] = option(
        True,
        flag(word="drop"),
        "What workers log reaches the handlers of this process; `'drop'` loses what these cannot take at once.",
    )
    capture_output: bool = option(
        False, flag(), "What a task prints goes into its log as `output`, its last 1 MB, instead of to the terminal."
    )


class Config(Options):
    """What the user asked, complete and checked. styles: how his functions are called."""

    styles: Styles

    def __init__(self, styles: Styles | None = None, **values: Any) -> None:
        super().__init__(**values)
        self.__dict__["styles"] = styles or Styles()

    debug: bool = option(False, flag(), "Print the plan and each worker's start and end; never values of tasks.")
    verbose: bool = option(True, flag(), "Print what will run, when it starts and ends, and a summary.")
    runtime: float | None = option(
        None,
        seconds("give seconds such as 2.5, or None for no limit", optional=True),
        "Seconds after which no task starts and those still running are stopped.",
    )
    progress: bool | None = option(
        None,
        flag("None shows it where the run is verbose"),
        "Show how the run goes, on stderr: a bar in a terminal or notebook, else a line every 10 s; None if verbose.",
    )
    task: TaskOptions = section(TaskOptions, hint="write {'function': fn, 'list': items}")
    worker: WorkerOptions = section(WorkerOptions, hint="write {'number': 4}, or leave it out for the defaults")
    journal: str | None = option(
        None,
        path("give the path of a file such as 'run.db', or None for no journal"),
        "A file that records how each task ends; the same call with the same file runs only what is not ok in it.",
    )
