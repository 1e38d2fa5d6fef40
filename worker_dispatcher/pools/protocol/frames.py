"""The words that a pool and its worker processes exchange: kinds of frames, and what heads them."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Sequence

from worker_dispatcher.osproc.channel import Channel, Crowded, Frame
from worker_dispatcher.osproc.system import close_all
from worker_dispatcher.pools.base import Batch
from worker_dispatcher.wire import inlined

__all__ = [
    "BROKEN",
    "COMPLAINT",
    "DROP",
    "DROPPED",
    "ENDED",
    "EXCEPTION",
    "FUNCTION",
    "IMPORTED",
    "INIT_FAILED",
    "READY",
    "REPORT",
    "SETUP",
    "UNLOADABLE",
    "WORK",
    "head_of",
    "open_head",
    "send_packed",
]

SETUP, WORK, DROP, FUNCTION = range(1, 5)  # to the worker
IMPORTED = 21  # from the worker: the names of modules that were imported in it, marshalled
ENDED = 20  # from the worker, too: the report of one task that ended ok
READY, BROKEN, REPORT, DROPPED, UNLOADABLE, EXCEPTION, INIT_FAILED, COMPLAINT = range(11, 19)  # from the worker

# seq of the first task, its id, how many, attempt, number of the call, timeout, stop_at; then the dues, or nothing
_HEAD = struct.Struct("<QQQQQdd")


def head_of(seq: int, batch: Batch, number: int = 0) -> bytes:
    """The first part of a WORK or UNLOADABLE frame. number: of the call, as a FUNCTION frame has told it."""
    dues = b"" if batch.dues is None else batch.dues.tobytes()
    timeout = math.inf if batch.timeout is None else batch.timeout
    return _HEAD.pack(seq, batch.first, len(batch.items), batch.attempt, number, timeout, batch.stop_at) + dues


def send_packed(
    channel: Channel,
    kind: int,
    heads: Sequence[bytes | memoryview],
    packed: Sequence[bytes | memoryview],
    fds: Sequence[int],
) -> None:
    """Send a frame of parts that stand by themselves, then what `to_parts` gave once or more often. Closes fds."""
    try:
        try:
            channel.send(kind, [*heads, *packed], fds)
        except Crowded:
            channel.send(kind, [*heads, *inlined(packed, fds)])
    finally:
        close_all(fds)


def open_head(frame: Frame) -> tuple[int, int, int, Batch]:
    """Of a WORK or UNLOADABLE frame: the seq, how many tasks, the number of the call, and the batch without items and
    call."""
    head = frame.parts[0]
    seq, first, count, attempt, number, timeout, stop_at = _HEAD.unpack_from(head)
    dues = array("d", bytes(head[_HEAD.size :])) if len(head) > _HEAD.size else None
    limit = None if timeout == math.inf else timeout
    return seq, count, number, Batch(first, (), False, dues, attempt, None, limit, stop_at)
