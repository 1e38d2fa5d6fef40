"""The words that a pool and its worker processes exchange: kinds of frames, and what heads them."""

from __future__ import annotations

import struct
from array import array

from worker_dispatcher.osproc.channel import Frame
from worker_dispatcher.pools.base import Batch

__all__ = [
    "BROKEN",
    "COMPLAINT",
    "DROP",
    "DROPPED",
    "EXCEPTION",
    "INIT_FAILED",
    "LOGS",
    "LOST",
    "READY",
    "REPORT",
    "SETUP",
    "UNLOADABLE",
    "WORK",
    "head_of",
    "open_head",
]

SETUP, WORK, DROP = range(1, 4)  # to the worker
READY, BROKEN, REPORT, DROPPED, UNLOADABLE, EXCEPTION, INIT_FAILED, COMPLAINT, LOGS = range(11, 20)  # from the worker

LOST = 74  # exit code of a worker whose channel was closed under it

_HEAD = struct.Struct("<QQQ")  # seq of the first task, its id, how many; then when each is due, or nothing


def head_of(seq: int, batch: Batch) -> bytes:
    """The first part of a WORK or UNLOADABLE frame."""
    dues = b"" if batch.dues is None else batch.dues.tobytes()
    return _HEAD.pack(seq, batch.first, len(batch.items)) + dues


def open_head(frame: Frame) -> tuple[int, int, int, array[float] | None]:
    """Seq, id, count and dues of a WORK or UNLOADABLE frame."""
    head = frame.parts[0]
    seq, first, count = _HEAD.unpack(head[: _HEAD.size])
    return seq, first, count, array("d", bytes(head[_HEAD.size :])) if len(head) > _HEAD.size else None
