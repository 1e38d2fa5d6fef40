"""Which processes still live; one may end between two looks at it."""

from __future__ import annotations

from collections.abc import Iterable

import psutil

__all__ = ["any_alive"]


def any_alive(processes: Iterable[psutil.Process]) -> bool:
    """One of them has not ended; a zombie has."""
    return any(map(_is_alive, processes))


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
