"""What worker processes are told of a config, and whether it can be sent to them."""

from __future__ import annotations

from typing import Any, cast

from worker_dispatcher.config import Config, brief
from worker_dispatcher.errors import ConfigError
from worker_dispatcher.execute import catch, describe
from worker_dispatcher.pools.base import Setup
from worker_dispatcher.wire import WAY_OUT, WAYS_TO_SHARE, Packed, culprit, is_shared_by_inheritance, pack_large

__all__ = ["pack_setup"]


def pack_setup(config: Config, setup: Setup) -> Packed | None:
    """What each worker process is told, packed; None where a fork has it. Refuses, before anything starts, what cannot
    be sent: only then it is looked which option, or which part of task.config, is at fault."""
    if config.worker.start_method == "fork":
        return None
    packed, error = catch(pack_large, setup)
    if error is None:
        return cast(Packed, packed)
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
    problems = [(path, text) for path, value in parts.items() if (text := _problem(value)) is not None]
    raise ConfigError(problems or [("task", "its function, on_done and config cannot be sent to a process together")])


def _problem(value: Any) -> str | None:
    """What keeps a value from being sent, and what to do; None if nothing does."""
    _, error = catch(pack_large, value)
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
