"""The log that on_done is given, and what becomes of what it adds to that; floor 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from worker_dispatcher.clock import Anchor
from worker_dispatcher.records import ADDED, OK, OUTPUT, STATUS_NAMES


@contextmanager
def log_for(
    anchor: Anchor | None,
    task_id: int,
    result: Any,
    started: float,
    ended: float,
    metadata: dict[Any, Any],
    attempt: int = 1,
) -> Iterator[dict[Any, Any]]:
    """The log of a task that has returned, as it stands; what is added to it while inside goes along with the metadata,
    from a worker process too. Keys of ours stay what they are."""
    anchor = anchor or Anchor(0.0, 0.0)
    own = {
        "task_id": task_id,
        "started_at": anchor.wall_at(started),
        "ended_at": anchor.wall_at(ended),
        "duration": ended - started,
        "result": result,
        "metadata": metadata,
        "status": STATUS_NAMES[OK],
        "attempts": attempt,
    }
    if OUTPUT in metadata:
        own["output"] = metadata.pop(OUTPUT)
    log: dict[Any, Any] = dict(own)
    try:
        yield log
    finally:
        if added := {key: value for key, value in log.items() if key not in own}:
            metadata[ADDED] = added
        if "output" in own:
            metadata[OUTPUT] = own["output"]
