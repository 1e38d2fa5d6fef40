"""The descriptors that a worker speaks through and waits on, found from within a task of it.

By number or name they are not to be told from others: a fork has those of its parent, too.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

__all__ = ["descriptors_of"]


def descriptors_of(kind: str) -> list[int]:
    """channel; signal: by which a grid's crew wakes its main thread; loop, wakers: what an event loop waits on, and by
    which others wake it."""
    if kind in ("channel", "signal"):
        found = _locals_of_worker()
        return [found["channel"].fileno() if kind == "channel" else found["worker"]._wake]
    loop: Any = asyncio.get_running_loop()
    if kind == "loop":
        return [loop._selector.fileno()]
    return [sock.fileno() for sock in (loop._ssock, loop._csock)]


def _locals_of_worker() -> dict[str, Any]:
    frame = sys._current_frames()[threading.main_thread().ident or 0]
    while frame.f_back is not None and not {"channel", "worker"} <= set(frame.f_locals):
        frame = frame.f_back
    return frame.f_locals
