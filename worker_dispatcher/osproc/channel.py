"""A private channel between two processes: length-prefixed frames, with descriptors, over a socket pair.

A frame is a kind, a list of byte parts and a few descriptors. The parent's end never blocks: `send` queues
what does not fit, `receive` gives the frames that are whole. The child's end blocks.
"""

from __future__ import annotations

import array
import errno
import mmap
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence

from worker_dispatcher.clock import now, sleep
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.osproc.system import close_all, readable, writable
from worker_dispatcher.tracebacks import own

LAST_WORDS = (
    19  # the kind of a frame of one part: why a process cannot go on; other kinds are up to the user of a channel
)

_HEAD = struct.Struct("<IHHQ")  # mark and kind, descriptors, parts, bytes after this head
_MARK = 0x57440000  # in every head: a task that writes to a descriptor it does not own is noticed
_SIZE = 8  # bytes: after the head, the size of each part
_HEADS = [struct.Struct(f"{_HEAD.format}{count}Q") for count in range(8)]  # of frames of so many parts
_SIZES = [struct.Struct(f"<{count}Q") for count in range(8)]
_CHUNK = 1 << 18
_MOMENT = 0.001  # seconds until what the system had no room for is tried again
_AGE = 3600.0  # seconds: a wait of no known end
_NO_ROOM = (errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS)
_MOST_FDS = 8
_SPACE = socket.CMSG_SPACE(4 * _MOST_FDS)
# As plain numbers: to use a flag itself takes a microsecond.
_SOCKET, _RIGHTS = int(socket.SOL_SOCKET), int(socket.SCM_RIGHTS)
_CUT, _CLOEXEC = int(socket.MSG_CTRUNC), int(socket.MSG_CMSG_CLOEXEC)
# Without it the end of the other side kills a program that has set SIGPIPE to its default.
_QUIETLY = int(socket.MSG_NOSIGNAL)


class Gone(Exception):
    """The other end is closed, or what came from it are not frames."""


class Crowded(OSError):
    """The system takes no descriptors now, of which only so many may be on their way; nothing of the frame was sent."""


class Frame(NamedTuple):
    """fds: fewer than were sent if this process could not open more."""

    kind: int
    parts: list[memoryview]
    fds: list[int]


class Channel:
    """One end of a socket pair. Used by one thread at a time. unsent: what is queued until there is room to write.

    Owns its socket and the descriptors in frames not yet taken; `close` is idempotent.
    """

    def __init__(self, sock: socket.socket, *, blocking: bool) -> None:
        self._sock, self._blocking = sock, blocking
        self.fileno: Callable[[], int] = sock.fileno  # who waits for many asks often
        self.garbled = False  # what came are no frames
        sock.setblocking(blocking)
        self.unsent: deque[tuple[memoryview, list[int]]] = deque()
        # What is read comes here first: memory that is new for each read costs several times what the read does.
        self._inbox = memoryview(mmap.mmap(-1, _CHUNK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        self._buffer = bytearray()
        self._fds: deque[list[int]] = deque()  # one list for each frame with descriptors
        self._closed = self._refused = False  # refused: the system took no descriptors when it was asked last
        self._watch: select.poll | None = None  # for the other end's end alone

    def send(self, kind: int, parts: Sequence[bytes | memoryview] = (), fds: Sequence[int] = ()) -> None:
        """Send or queue a frame. fds are duplicated when queued; the caller keeps its own. Raises Gone,
        and Crowded if it has fds."""
        sizes = [*map(len, parts)]
        count = len(sizes)
        total = sum(sizes) + _SIZE * count
        form = _HEADS[count] if count < len(_HEADS) else struct.Struct(f"{_HEAD.format}{count}Q")
        head = form.pack(_MARK | kind, len(fds), count, total, *sizes)
        if total <= _CHUNK and not (fds or self.unsent):  # what nearly all frames are
            data = b"".join([head, *parts])
            try:
                sent = self._write(data, ())
            except Crowded:
                sent = 0
            if sent < len(data):
                self._queue(memoryview(data)[sent:], ())
        elif max(sizes, default=0) <= _CHUNK:
            self._queue(memoryview(b"".join([head, *parts])), fds)
        else:
            self._queue(memoryview(head), fds)
            for part in parts:
                self._queue(memoryview(part), ())

    def send_soon(self, kind: int, parts: Sequence[bytes | memoryview], fds: Sequence[int], within: float) -> None:
        """`send`; where the system takes no descriptors, tries again for so many seconds before it raises Crowded."""
        until = now() + within
        while True:
            try:
                return self.send(kind, parts, fds)
            except Crowded:
                if now() >= until:
                    raise
                sleep(_MOMENT)

    def _queue(self, data: memoryview, fds: Sequence[int]) -> None:
        if self.unsent:
            self.flush()
        if self.unsent and fds and self._refused:  # behind the others they would hold up all that comes after them
            raise Crowded(errno.ETOOMANYREFS, os.strerror(errno.ETOOMANYREFS))
        if not self.unsent and len(data):  # most of the time all of it goes at once, and nothing is duplicated
            try:
                sent = self._write(data, fds)
            except Crowded:
                if fds:
                    raise
                sent = 0
            data, fds = data[sent:], () if sent else fds
        if len(data):
            self.unsent.append((data, _duplicates(fds)))
            self.flush()

    def _write(self, data: bytes | memoryview, fds: Sequence[int]) -> int:
        try:
            if not fds:
                return self._sock.send(data, _QUIETLY)
            rights = [(_SOCKET, _RIGHTS, array.array("i", fds))]
            sent = self._sock.sendmsg([data], rights, _QUIETLY)
            self._refused = False
            return sent
        except (BlockingIOError, InterruptedError):
            return 0
        except own(OSError) as error:
            if error.errno in _NO_ROOM:
                self._refused = self._refused or bool(fds)
                raise Crowded(error.errno, error.strerror) from error
            raise Gone from error

    def flush(self) -> None:
        """Write what is queued, as far as it goes without blocking (to the end on a blocking channel)."""
        while self.unsent:
            data, fds = self.unsent[0]
            try:
                sent = self._write(data, fds)
            except Crowded:
                sleep(_MOMENT)  # nothing tells when there is room
                sent = 0
            if not sent:
                if not self._blocking:
                    return
                writable(self.fileno(), _AGE)
                continue
            close_all(fds)
            if sent == len(data):
                self.unsent.popleft()
            else:
                self.unsent[0] = (data[sent:], [])

    def receive(self) -> list[Frame]:
        """Every whole frame that is there (a blocking channel waits for one). Raises Gone at the end of the stream
        or where what comes is no frame; frames that came before it are given first."""
        while True:
            if self._buffer and (frames := self._parse()):
                return frames
            try:
                more = self._read()
                if type(more) is Frame:
                    return [more]
            except (BlockingIOError, InterruptedError):
                if not self._blocking:
                    return []
                readable(self.fileno(), _AGE)  # code of the user has made it one that does not block
                continue
            if not more:
                raise Gone

    def _read(self) -> bool | Frame:
        """Add to the buffer; False at the end. What comes is a frame, and nothing else, for the most part: then it."""
        missing, data = 0, b""  # type: int, bytes | memoryview
        if len(self._buffer) >= _HEAD.size:
            missing = _HEAD.size + _HEAD.unpack_from(self._buffer)[3] - len(self._buffer)
        try:
            if missing > _CHUNK:
                data, ancillary, cut, _ = self._sock.recvmsg(min(missing, 1 << 24), _SPACE, _CLOEXEC)
            else:
                count, ancillary, cut, _ = self._sock.recvmsg_into((self._inbox,), _SPACE, _CLOEXEC)
                if not (ancillary or self._buffer) and (frame := _only_frame(self._inbox, count)) is not None:
                    return frame
                data = self._inbox[:count]
        except (BlockingIOError, InterruptedError):
            raise
        except own(OSError):  # reset, or closed under us by a task that closes all descriptors
            return False
        if cut & _CUT and not ancillary:
            self._fds.append([])  # no room for even one of the frame's descriptors
        for level, kind, payload in ancillary:
            if level == _SOCKET and kind == _RIGHTS:
                found = array.array("i")
                found.frombytes(payload[: len(payload) - len(payload) % found.itemsize])
                self._fds.append(list(found))
        self._buffer += data
        return bool(data)

    def _parse(self) -> list[Frame]:
        frames: list[Frame] = []
        at, end = 0, len(self._buffer)
        while end - at >= _HEAD.size:
            kind, fd_count, part_count, total = _HEAD.unpack_from(self._buffer, at)
            start, offset = at + _HEAD.size, _SIZE * part_count
            sound = kind & ~0xFFFF == _MARK and offset <= total and fd_count <= _MOST_FDS
            if sound and end - start < total:
                break
            parts = []
            if sound:
                whole = memoryview(bytes(memoryview(self._buffer)[start : start + total]))
                for size in struct.unpack_from(f"<{part_count}Q", whole):
                    parts.append(whole[offset : offset + size])
                    offset += size
            if not sound or offset != total:
                if frames:  # they are given first; what is wrong comes up again
                    break
                self.garbled = True
                raise Gone
            frames.append(Frame(kind & 0xFFFF, parts, self._fds.popleft() if fd_count and self._fds else []))
            at = start + total
        if at:
            del self._buffer[:at]
        return frames

    def severed(self) -> bool:
        """True if the other end is gone, whatever it sent before; not yet if it has only hung up. A microsecond."""
        if self._watch is None:
            self._watch = select.poll()
            self._watch.register(self._sock, 0)
        return bool(self._watch.poll(0))

    def hang_up(self) -> None:
        """Let the other end read to the end of what was sent, and then nothing more."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except own(OSError):
            pass

    def abandon(self) -> None:
        """Let go of everything and close nothing: what the numbers stand for is not ours."""
        self._closed = True
        self._sock.detach()
        self.unsent.clear()
        self._fds.clear()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            self._sock.close()
        finally:
            for _, fds in self.unsent:
                close_all(fds)
            for fds in self._fds:
                close_all(fds)
            self.unsent.clear()
            self._fds.clear()


def _only_frame(data: memoryview, count: int) -> Frame | None:
    """The frame that is all of so many bytes, if it has no descriptors."""
    if count < _HEAD.size:
        return None
    kind, fd_count, part_count, total = _HEAD.unpack_from(data)
    offset = _SIZE * part_count
    if kind & ~0xFFFF != _MARK or fd_count or total != count - _HEAD.size or offset > total or part_count > 7:
        return None
    whole = memoryview(bytes(data[_HEAD.size : count]))
    parts = []
    for size in _SIZES[part_count].unpack_from(whole):
        parts.append(whole[offset : offset + size])
        offset += size
    return Frame(kind & 0xFFFF, parts, []) if offset == total else None


def _duplicates(fds: Sequence[int]) -> list[int]:
    found: list[int] = []
    try:
        for fd in fds:
            found.append(os.dup(fd))
    except own(OSError) as error:
        close_all(found)
        raise Crowded(error.errno, error.strerror) from error
    return found
