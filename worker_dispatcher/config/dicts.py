"""The nested config as types, for editors and type checkers: they complete its keys, and check what is declared as one.

    config: worker_dispatcher.ConfigDict = {"task": {"list": [1, 2], "function": f}, "worker": {"nubmer": 3}}
                                                                                                 ^ no such key

Nothing here runs: `parse` knows more than a type can say (ranges, names of parameters) and has the last word. Declared
once more, because checkers read source; a test compares each key and type with options.py. No key is required.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Concatenate, Literal, NotRequired, Protocol, TypeAlias, TypedDict


class _ByName(Protocol):
    """Takes the arguments of a task by keyword only; `**kwargs` does too."""

    def __call__(self, *, id: Any, config: Any, task: Any, metadata: Any) -> Any: ...


class _ByNameWithState(Protocol):
    """The same with what `worker.init` makes."""

    def __call__(self, *, id: Any, config: Any, task: Any, metadata: Any, worker_state: Any) -> Any: ...


class _CallbackByName(Protocol):
    """The same for a callback."""

    def __call__(self, *, id: Any, config: Any, result: Any, log: Any) -> Any: ...


class _Pool(Protocol):
    """A WorkerPool."""

    def lend(self, setup: Any, workers: int, named: Callable[[int, int], object]) -> Any: ...


class _Array(Protocol):
    """An array of numpy, or one like it."""

    def tolist(self) -> Any: ...


# At least one parameter. Which names several of them may have would take a type for each combination.
_AtLeastOne: TypeAlias = Callable[Concatenate[Any, ...], Any]
_Callback: TypeAlias = _AtLeastOne | _CallbackByName | Literal[False] | None
_Seconds: TypeAlias = float | str  # 2.5, '250ms'
_Stage: TypeAlias = "tuple[_Seconds, float | str] | StageDict"


class BackoffDict(TypedDict, total=False):
    """`task.backoff`: how long to wait before the next attempt."""

    initial: _Seconds
    factor: float
    maximum: _Seconds
    jitter: float


class CallbackDict(TypedDict, total=False):
    """`task.callback`: functions called with a task's result."""

    on_done: _Callback
    on_all_done: _Callback


class TaskDict(TypedDict, total=False):
    """`task`: what to run, and what to do when it fails."""

    list: Iterable[Any] | int | None
    function: _AtLeastOne | _ByName | _ByNameWithState
    config: Any
    show_input: bool
    callback: CallbackDict
    timeout: _Seconds | None
    retries: int
    backoff: BackoffDict
    retry_on: type[BaseException] | Sequence[type[BaseException]] | Callable[[BaseException], object] | None
    on_error: Literal["record", "raise"]
    max_failures: int | None


class ParallelProcessingDict(TypedDict, total=False):
    """`worker.parallel_processing`: processes of several threads each."""

    enabled: bool
    use_queue: bool
    processes: int | None


class StageDict(TypedDict):
    """One of `worker.frequency_mode.stages`. duration: 30, '5min'; rate: tasks a second; step: at once, no ramp."""

    duration: _Seconds
    rate: float | str
    step: NotRequired[bool]


class FrequencyModeDict(TypedDict, total=False):
    """`worker.frequency_mode`: tasks are released by the clock."""

    enabled: bool
    interval: _Seconds
    accumulated_workers: float
    max_workers: int | None
    pacing: Literal["burst", "even", "random", "poisson"] | Sequence[float] | _Array | None
    rate: float | str | None
    stages: Sequence[_Stage] | None
    duration: _Seconds | None
    seed: int | None
    on_saturation: Literal["queue", "drop"]
    warmup: _Seconds
    cooldown: _Seconds
    abort_on: str | Sequence[str]


class BackendDict(TypedDict, total=False):
    """`worker.backend`: a Dask cluster."""

    type: Literal["dask"]
    address: str | None
    security: Mapping[str, str | os.PathLike[str]] | None
    client: Any
    timeout: _Seconds


class WorkerDict(TypedDict, total=False):
    """`worker`: where tasks run, and how many at once."""

    number: int | None
    pool: _Pool | None
    backend: Literal["local"] | BackendDict | None
    use_processing: bool
    parallel_processing: ParallelProcessingDict
    frequency_mode: FrequencyModeDict
    start_method: Literal["fork", "forkserver", "spawn"] | None
    blas_threads: int | None
    init: Callable[..., Any] | None
    exit: Callable[..., Any] | None
    max_tasks_per_worker: int | None
    memory_limit: int | str | None
    forward_logging: bool | Literal["drop"]
    capture_output: bool


class ConfigDict(TypedDict, total=False):
    """The config of `start`, `launch` and `find_max_rate`."""

    debug: bool
    verbose: bool
    runtime: _Seconds | None
    progress: bool | None
    task: TaskDict
    worker: WorkerDict
    journal: str | os.PathLike[str] | None
