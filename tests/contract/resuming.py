"""What the tests of resumed runs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import worker_dispatcher as wd


def work(id):
    return id


THREADS = {"number": 3}


def start(path: Path, function: Any, items: Any, worker: Any = None, top: Any = None, **task: Any) -> list[Any]:
    return wd.start(
        {
            "task": {"list": items, "function": function, **task},
            "worker": worker or THREADS,
            "journal": path,
            "verbose": False,
            **(top or {}),
        }
    )


def noting(notes: Any) -> Callable[..., Any]:
    """A task that says that it ran; the tasks named in the notes as broken raise."""

    def work(id: int, task: Any, metadata: dict[str, Any]) -> Any:
        notes.add(id)
        metadata["by"] = id
        if f"broken {id}" in notes.all():
            raise ValueError(f"task {id} is broken")
        return [task, id]

    return work
