"""worker_dispatcher: run many calls and never lose the run.

    import worker_dispatcher
    results = worker_dispatcher.start({"task": {"list": [1, 2, 3], "function": f}})

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from worker_dispatcher.version import VERSION

TYPE_CHECKING = False  # type checkers know the name; `typing`, which has it too, takes 9 ms to load
if TYPE_CHECKING:
    from typing import Any

    from worker_dispatcher.config.dicts import (
        BackendDict,
        BackoffDict,
        CallbackDict,
        ConfigDict,
        FrequencyModeDict,
        ParallelProcessingDict,
        StageDict,
        TaskDict,
        WorkerDict,
    )
    from worker_dispatcher.config.options import callback_sample, task_function_sample
    from worker_dispatcher.dispatch.banner import print as print
    from worker_dispatcher.dispatch.run import Run
    from worker_dispatcher.errors import (
        ConfigError,
        DeadlineExceeded,
        DuplicateTask,
        JournalError,
        PoolClosed,
        RunError,
        TaskError,
        TaskFailure,
        TaskFailuresWarning,
        TaskTimeout,
        WorkerDispatcherError,
        WorkerWarning,
    )
    from worker_dispatcher.journal.reading import read_journal
    from worker_dispatcher.last_run import (
        get_dropped,
        get_duration,
        get_last_config,
        get_logs,
        get_result_info,
        get_results,
        get_tps,
        launch,
        start,
    )
    from worker_dispatcher.limiter import Limiter
    from worker_dispatcher.max_rate import MaxRate, find_max_rate
    from worker_dispatcher.pool_full import PoolFull
    from worker_dispatcher.reporting import check, compare, report
    from worker_dispatcher.reports.report import Report
    from worker_dispatcher.reports.verdict import result_is_success
    from worker_dispatcher.retry import Backoff
    from worker_dispatcher.worker_died import WorkerDied
    from worker_dispatcher.workpool.calling import current_task
    from worker_dispatcher.workpool.control import PoolStats
    from worker_dispatcher.workpool.future import Task, TaskFuture, TaskResult
    from worker_dispatcher.workpool.group import TaskGroup
    from worker_dispatcher.workpool.pool import WorkerPool
    from worker_dispatcher.workpool.settings import POOL_DEFAULT, TaskHooks

    default_config: dict[str, Any]

# Where each name is declared.
_HOMES = {
    name: home
    for home, names in {
        "config.dicts": (
            "BackendDict BackoffDict CallbackDict ConfigDict FrequencyModeDict ParallelProcessingDict StageDict "
            "TaskDict WorkerDict"
        ),
        "config.options": "callback_sample task_function_sample",
        "dispatch.banner": "print",
        "dispatch.run": "Run",
        "errors": (
            "ConfigError DeadlineExceeded DuplicateTask JournalError PoolClosed RunError TaskError TaskFailure "
            "TaskFailuresWarning TaskTimeout WorkerDispatcherError WorkerWarning"
        ),
        "journal.reading": "read_journal",
        "last_run": (
            "get_dropped get_duration get_last_config get_logs get_result_info get_results get_tps launch start"
        ),
        "max_rate": "MaxRate find_max_rate",
        "reporting": "check compare report",
        "reports.report": "Report",
        "reports.verdict": "result_is_success",
        "limiter": "Limiter",
        "pool_full": "PoolFull",
        "retry": "Backoff",
        "worker_died": "WorkerDied",
        "workpool.calling": "current_task",
        "workpool.future": "Task TaskFuture TaskResult",
        "workpool.group": "TaskGroup",
        "workpool.control": "PoolStats",
        "workpool.pool": "WorkerPool",
        "workpool.settings": "POOL_DEFAULT TaskHooks",
    }.items()
    for name in names.split()
}

__all__ = [
    "POOL_DEFAULT",
    "BackendDict",
    "Backoff",
    "BackoffDict",
    "CallbackDict",
    "ConfigDict",
    "ConfigError",
    "DeadlineExceeded",
    "DuplicateTask",
    "FrequencyModeDict",
    "JournalError",
    "Limiter",
    "MaxRate",
    "ParallelProcessingDict",
    "PoolClosed",
    "PoolFull",
    "PoolStats",
    "Report",
    "Run",
    "RunError",
    "StageDict",
    "Task",
    "TaskDict",
    "TaskError",
    "TaskFailure",
    "TaskFailuresWarning",
    "TaskFuture",
    "TaskGroup",
    "TaskHooks",
    "TaskResult",
    "TaskTimeout",
    "WorkerDict",
    "WorkerDied",
    "WorkerDispatcherError",
    "WorkerPool",
    "WorkerWarning",
    "callback_sample",
    "check",
    "compare",
    "current_task",
    "default_config",
    "find_max_rate",
    "get_dropped",
    "get_duration",
    "get_last_config",
    "get_logs",
    "get_result_info",
    "get_results",
    "get_tps",
    "launch",
    "read_journal",
    "report",
    "result_is_success",
    "start",
    "task_function_sample",
]

__version__ = VERSION


def __getattr__(name: str) -> Any:
    if name == "default_config":
        from worker_dispatcher.config.parse import merged

        return merged()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
