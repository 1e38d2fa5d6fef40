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
    problems = [(path, text) for path, value in parts if (text := _problem(value)) is not None]
    raise ConfigError(problems or [("task", "its function, on_done and config cannot be sent to a process together")])


def _problem(value: Any) -> str | None:
    """What keeps a value from being sent, and what to do; None if nothing does."""
    _, error = guarded(pack_large, value)
    if error is None:
        return None
    uses = [(name, used) for name, used in _names_in(value) if guarded(pack_large, used)[1] is not None]
    name, culprit = uses[0] if uses else (None, value)
    kind = f"{type(culprit).__module__}.{type(culprit).__qualname__}".removeprefix("builtins.")
    what = f"({kind})" if name is None else f"uses {name!r} ({kind}), which"
    why = f"{type(error).__name__}: {describe(error)[1][:200]}"
    del error  # it holds this frame, and would hold itself
    return f"{what} cannot be sent to a process; open it in worker.init, or use threads ({why})"


def _names_in(function: Any) -> list[tuple[str, Any]]:
    """The names outside of a Python function that it uses, and what they stand for: all that travels with it."""
    import inspect  # a run that can be sent does without

    if not inspect.isfunction(function):
        return []
    known, _ = guarded(inspect.getclosurevars, function)
    return [] if known is None else [*known.nonlocals.items(), *known.globals.items()]
