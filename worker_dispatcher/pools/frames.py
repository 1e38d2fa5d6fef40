"""The words that a pool and its worker processes exchange: kinds of frames, and what heads them."""

from __future__ import annotations

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
    "EXCEPTION",
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

SETUP, WORK, DROP = range(1, 4)  # to the worker
READY, BROKEN, REPORT, DROPPED, UNLOADABLE, EXCEPTION, INIT_FAILED, COMPLAINT = range(11, 19)  # from the worker

_HEAD = struct.Struct("<QQQQ")  # seq of the first task, its id, how many, attempt; then when each is due, or nothing


def head_of(seq: int, batch: Batch) -> bytes:
    """The first part of a WORK or UNLOADABLE frame."""
    dues = b"" if batch.dues is None else batch.dues.tobytes()
    return _HEAD.pack(seq, batch.first, len(batch.items), batch.attempt) + dues


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


def open_head(frame: Frame) -> tuple[int, int, Batch]:
    """Of a WORK or UNLOADABLE frame: the seq, how many tasks, and the batch without its items."""
    head = frame.parts[0]
    seq, first, count, attempt = _HEAD.unpack(head[: _HEAD.size])
    dues = array("d", bytes(head[_HEAD.size :])) if len(head) > _HEAD.size else None
    return seq, count, Batch(first, (), dues=dues, attempt=attempt)
