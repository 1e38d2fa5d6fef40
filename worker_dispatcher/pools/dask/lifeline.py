"""A host ends when its pool is gone, though nobody could say so: the program was killed, or its machine is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["follow", "key_of"]

_MISSES = 2  # looks that have to find nothing: what the scheduler was told a moment ago it may not know yet


def key_of(pool: str) -> str:
    """Of a task of Dask whose result the pool's client holds, and nobody else: the scheduler forgets it with the
    client."""
    return f"{pool}-lifeline"


async def follow(
    worker: Any, pool: str, every: float, lives: Callable[[], bool], end: Callable[[], Awaitable[Any]]
) -> None:
    """On the loop of a Dask worker: look every so many seconds whether a pool is there, as long as its host lives; end
    the host if it is not."""
    key, misses = key_of(pool), 0
    while lives():
        await asyncio.sleep(every)
        try:
            found = await worker.scheduler.get_task_status(keys=[key])
        except OSError:  # Dask's errors of connections are OSErrors: a worker that has lost its scheduler ends itself
            continue
        misses = 0 if found.get(key) is not None else misses + 1
        if misses >= _MISSES and lives():
            await end()
            return
