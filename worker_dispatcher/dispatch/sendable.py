"""What of a config must be sent to worker processes, and whether it can be."""

from __future__ import annotations

from typing import Any

from worker_dispatcher import home
from worker_dispatcher.config import Config, brief
from worker_dispatcher.errors import ConfigError
from worker_dispatcher.execute import describe, guarded
from worker_dispatcher.wire import WAY_OUT, WAYS_TO_SHARE, culprit, is_shared_by_inheritance, pack_large

__all__ = ["check_sendable"]


def check_sendable(config: Config) -> None:
    """Refuse, before anything starts, what cannot be sent to a process. Names the part of task.config at fault."""
    if config.worker.start_method == "fork":
        return  # it is not sent: a fork has it
    task = config.task
    functions = {
        "task.function": task.function,
        "task.callback.on_done": task.callback.on_done,
        "worker.init": config.worker.init,
        "worker.exit": config.worker.exit,
    }
    reader = home.FRESH
    if guarded(pack_large, (*functions.values(), task.config), reader)[1] is None:
        return
    parts: list[tuple[str, Any]] = [(path, function) for path, function in functions.items() if function is not None]
    if type(task.config) is dict:
        parts += [(f"task.config[{brief(key) or type(key).__name__}]", value) for key, value in task.config.items()]
    else:
        parts.append(("task.config", task.config))
    problems = [(path, text) for path, value in parts if (text := _problem(value, reader)) is not None]
    raise ConfigError(problems or [("task", "its function, on_done and config cannot be sent to a process together")])


def _problem(value: Any, reader: home.Reader) -> str | None:
    """What keeps a value from being sent, and what to do; None if nothing does."""
    _, error = guarded(pack_large, value, reader)
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
