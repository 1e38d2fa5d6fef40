"""The functions that stand in where the config names none; they do nothing but show the shape to write."""

from __future__ import annotations

from typing import Any

__all__ = ["callback_sample", "task_function_sample"]


def task_function_sample(id: int, config: Any = None, task: Any = None, metadata: dict[Any, Any] | None = None) -> Any:
    """A task function: gets its number (from 1), `task.config`, its item and a dict to note things in."""
    return {"taskId": id}


def callback_sample(id: int, config: Any = None, result: Any = None, log: dict[str, Any] | None = None) -> Any:
    """A callback: what it returns becomes the task's result."""
    return result
