"""What of a config must be sent to worker processes, and whether it can be."""

from __future__ import annotations

from typing import Any

from worker_dispatcher.config import Config, brief
from worker_dispatcher.errors import ConfigError
from worker_dispatcher.execute import describe, guarded
from worker_dispatcher.wire import pack_large

__all__ = ["check_sendable"]


def check_sendable(config: Config) -> None:
    """Refuse, before anything starts, what cannot be sent to a process. Names the part of task.config at fault."""
    task = config.task
    functions = {
        "task.function": task.function,
        "task.callback.on_done": task.callback.on_done,
        "worker.init": config.worker.init,
        "worker.exit": config.worker.exit,
    }
    if guarded(pack_large, (*functions.values(), task.config))[1] is None:
        return
    parts: list[tuple[str, Any]] = [(path, function) for path, function in functions.items() if function is not None]
    if type(task.config) is dict:
        parts += [(f"task.config[{brief(key) or type(key).__name__}]", value) for key, value in task.config.items()]
    else:
        parts.append(("task.config", task.config))
    problems = []
    for path, value in parts:
        _, error = guarded(pack_large, value)
        if error is not None:
            kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
            why = f"{type(error).__name__}: {describe(error)[1][:200]}"
            text = f"({kind}) cannot be sent to a process; open it in worker.init, or use threads ({why})"
            problems.append((path, text))
    raise ConfigError(problems or [("task", "its function, on_done and config cannot be sent to a process together")])
