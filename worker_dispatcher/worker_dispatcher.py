"""The module in which 1.x kept everything, for programs that import from it; floor 6."""

from __future__ import annotations

from worker_dispatcher.config.options import callback_sample, task_function_sample
from worker_dispatcher.config.parse import merged
from worker_dispatcher.last_run import (
    get_duration,
    get_last_config,
    get_logs,
    get_result_info,
    get_results,
    get_tps,
    start,
)
from worker_dispatcher.reports.verdict import result_is_success

__all__ = [
    "callback_sample",
    "default_config",
    "get_duration",
    "get_last_config",
    "get_logs",
    "get_result_info",
    "get_results",
    "get_tps",
    "result_is_success",
    "start",
    "task_function_sample",
]

default_config = merged()
