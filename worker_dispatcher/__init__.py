"""worker_dispatcher: run many calls and never lose the run.

    import worker_dispatcher
    results = worker_dispatcher.start({"task": {"list": [1, 2, 3], "function": f}})

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers know the name; `typing`, which has it too, takes 9 ms to load
if TYPE_CHECKING:
    from typing import Any

    from worker_dispatcher.config import callback_sample, task_function_sample
    from worker_dispatcher.config.dicts import (
        BackoffDict,
        CallbackDict,
        ConfigDict,
        FrequencyModeDict,
        ParallelProcessingDict,
        StageDict,
        TaskDict,
        WorkerDict,
    )
    from worker_dispatcher.dispatch.banner import print as print
    from worker_dispatcher.dispatch.run import Run
    from worker_dispatcher.errors import (
        ConfigError,
        JournalError,
        RunError,
        TaskError,
        TaskFailuresWarning,
        TaskTimeout,
        WorkerDispatcherError,
        WorkerWarning,
    )
    from worker_dispatcher.journal import read_journal
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
    from worker_dispatcher.max_rate import MaxRate, find_max_rate
    from worker_dispatcher.records import TaskFailure
    from worker_dispatcher.reporting import check, compare, report
    from worker_dispatcher.reports.report import Report
    from worker_dispatcher.reports.verdict import result_is_success
    from worker_dispatcher.worker_died import WorkerDied

    default_config: dict[str, Any]

_HOMES = {
    "BackoffDict": "config.dicts",
    "CallbackDict": "config.dicts",
    "ConfigDict": "config.dicts",
    "ConfigError": "errors",
    "FrequencyModeDict": "config.dicts",
    "JournalError": "errors",
    "MaxRate": "max_rate",
    "ParallelProcessingDict": "config.dicts",
    "Report": "reports.report",
    "Run": "dispatch.run",
    "RunError": "errors",
    "StageDict": "config.dicts",
    "TaskDict": "config.dicts",
    "TaskError": "errors",
    "TaskFailure": "records",
    "TaskFailuresWarning": "errors",
    "TaskTimeout": "errors",
    "WorkerDict": "config.dicts",
    "WorkerDied": "worker_died",
    "WorkerDispatcherError": "errors",
    "WorkerWarning": "errors",
    "callback_sample": "config",
    "check": "reporting",
    "compare": "reporting",
    "find_max_rate": "max_rate",
    "get_dropped": "last_run",
    "get_duration": "last_run",
    "get_last_config": "last_run",
    "get_logs": "last_run",
    "get_result_info": "last_run",
    "get_results": "last_run",
    "get_tps": "last_run",
    "launch": "last_run",
    "print": "dispatch.banner",
    "read_journal": "journal",
    "report": "reporting",
    "result_is_success": "reports.verdict",
    "start": "last_run",
    "task_function_sample": "config",
}

__all__ = [
    "BackoffDict",
    "CallbackDict",
    "ConfigDict",
    "ConfigError",
    "FrequencyModeDict",
    "JournalError",
    "MaxRate",
    "ParallelProcessingDict",
    "Report",
    "Run",
    "RunError",
    "StageDict",
    "TaskDict",
    "TaskError",
    "TaskFailure",
    "TaskFailuresWarning",
    "TaskTimeout",
    "WorkerDict",
    "WorkerDied",
    "WorkerDispatcherError",
    "WorkerWarning",
    "callback_sample",
    "check",
    "compare",
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

__version__ = "2.0.0.dev0"


def __getattr__(name: str) -> Any:
    if name == "default_config":
        from worker_dispatcher.config import merged

        return merged()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
