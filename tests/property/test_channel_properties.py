"""Frames over a stream that takes and gives any number of bytes: each arrives once, whole, in order, with its own
descriptors; and whenever both ends close, no descriptor is left."""

from __future__ import annotations

import array
import os
import socket
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounds import examples

from worker_dispatcher.osproc import channel as module
from worker_dispatcher.osproc.channel import Channel, Gone

FILES = 8


class Stream:
    """A one-way stream with the kernel's rules: descriptors come with the first byte of their write, and a read that
    meets some stops at the end of that write. room, ready: bytes it will still take and give; refusals: how many
    writes it takes nothing of."""

    def __init__(self) -> None:
        self.writes: deque[tuple[bytes, list[int]]] = deque()
        self.room = self.ready = self.refusals = 0
        self.ended = False

    def write(self, data: memoryview, fds: list[int]) -> int:
        if self.refusals:
            self.refusals -= 1
            raise InterruptedError
        taken = bytes(data[: self.room])
        if not taken:
            raise BlockingIOError
        self.room -= len(taken)
        self.writes.append((taken, [os.dup(fd) for fd in fds]))
        return len(taken)

    def read(self, most: int) -> tuple[bytes, list[int]]:
        if not self.writes and self.ended:
            return b"", []
        data, fds, most = b"", [], min(most, self.ready)
        while self.writes and len(data) < most and not fds:
            piece, fds = self.writes.popleft()
            cut = most - len(data)
            data += piece[:cut]
            if piece[cut:]:
                self.writes.appendleft((piece[cut:], []))
        if not data:
            raise BlockingIOError
        self.ready -= len(data)
        return data, fds

    def close(self) -> None:
        for _, fds in self.writes:
            for fd in fds:
                os.close(fd)
        self.writes.clear()


class End:
    """What a channel uses of a socket, over a Stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def setblocking(self, blocking: bool) -> None:
        assert not blocking

    def fileno(self) -> int:
        return -1

    def send(self, data: memoryview, flags: int) -> int:
        assert flags == socket.MSG_NOSIGNAL
        return self.stream.write(data, [])

    def sendmsg(self, buffers: list[memoryview], ancillary: list[tuple[int, int, array.array[int]]], flags: int) -> int:
        assert flags == socket.MSG_NOSIGNAL
        ((_, _, fds),) = ancillary
        return self.stream.write(buffers[0], list(fds))

    def recvmsg(self, size: int, room: int, flags: int) -> tuple:
        assert flags & socket.MSG_CMSG_CLOEXEC
        data, fds = self.stream.read(size)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())] if fds else []
        return data, rights, 0, None

    def recvmsg_into(self, buffers: tuple[memoryview], room: int, flags: int) -> tuple:
        data, *rest = self.recvmsg(len(buffers[0]), room, flags)
        buffers[0][: len(data)] = data
        return len(data), *rest

    def close(self) -> None:
        self.stream.ended = True


@pytest.fixture(scope="module")
def files():
    fds = [os.memfd_create(f"file {nth}") for nth in range(FILES)]
    yield fds
    for fd in fds:
        os.close(fd)


@pytest.fixture(autouse=True, scope="module")
def _parts_are_large_from_forty_bytes_on():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", 40)
        yield


def open_descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")


frames = st.tuples(
    st.integers(0, 0xFFFF),
    st.lists(st.one_of(st.binary(max_size=6), st.binary(min_size=30, max_size=100)), max_size=4),
    st.lists(st.integers(0, FILES - 1), max_size=FILES),
)
steps = st.one_of(
    st.tuples(st.just("send"), frames),
    st.tuples(st.sampled_from(["flush", "receive"]), st.integers(0, 120)),
    st.tuples(st.just("refuse"), st.integers(1, 3)),
)


def exchange(sender: Channel, receiver: Channel, stream: Stream, files: list[int], steps) -> tuple[list, list]:
    sent, received = [], []
    for what, value in steps:
        if what == "send":
            kind, parts, numbers = value
            sender.send(kind, parts, [files[n] for n in numbers])
            sent.append((kind, parts, [os.fstat(files[n]).st_ino for n in numbers]))
        elif what == "refuse":
            stream.refusals = value
        elif what == "flush":
            stream.room += value
            sender.flush()
        else:
            stream.ready += value
            assert not take(receiver, received)
    return sent, received


def take(receiver: Channel, received: list) -> bool:
    """Adds what is there to `received`; True if there can be no more."""
    try:
        while more := receiver.receive():
            for kind, parts, fds in more:
                received.append((kind, [bytes(part) for part in parts], [os.fstat(fd).st_ino for fd in fds]))
                for fd in fds:
                    os.close(fd)
    except Gone:
        return True
    return False


@settings(max_examples=examples(150))
@given(steps=st.lists(steps, max_size=40))
def test_frames_arrive_as_sent_however_the_stream_cuts_them(steps, files):
    before = open_descriptors()
    stream = Stream()
    sender, receiver = Channel(End(stream), blocking=False), Channel(End(stream), blocking=False)
    sent, received = exchange(sender, receiver, stream, files, steps)
    assert received == sent[: len(received)]

    stream.room, stream.ready, stream.refusals = 1 << 20, 1 << 20, 0
    sender.flush()
    assert not sender.unsent
    assert not take(receiver, received)
    assert received == sent

    sender.close()
    assert take(receiver, received)
    assert received == sent
    receiver.close()
    assert open_descriptors() == before


@settings(max_examples=examples(150))
@given(steps=st.lists(steps, max_size=25))
def test_whenever_both_ends_close_the_frames_were_whole_and_no_descriptor_is_left(steps, files):
    before = open_descriptors()
    stream = Stream()
    sender, receiver = Channel(End(stream), blocking=False), Channel(End(stream), blocking=False)
    sent, received = exchange(sender, receiver, stream, files, steps)
    assert received == sent[: len(received)]
    sender.close()
    stream.ready = 1 << 20
    assert take(receiver, received)
    assert received == sent[: len(received)]
    receiver.close()
    stream.close()
    assert open_descriptors() == before


def whole_bytes(kind: int, parts: list[bytes]) -> bytes:
    stream = Stream()
    stream.room = 1 << 20
    Channel(End(stream), blocking=False).send(kind, parts)
    return b"".join(data for data, _ in stream.writes)


@given(
    parts=st.lists(st.binary(max_size=5), max_size=4), at=st.integers(0, 60), junk=st.binary(min_size=1, max_size=30)
)
def test_bytes_of_another_in_the_stream_never_make_anything_but_frames_or_gone(parts, at, junk):
    data = whole_bytes(1, parts)
    at = min(at, len(data))
    stream = Stream()
    stream.ready = 1 << 20
    receiver = Channel(End(stream), blocking=False)
    stream.writes.append((whole_bytes(5, []) + data[:at] + junk + data[at:] + whole_bytes(2, [b"after"]), []))
    stream.ended = True
    received = []
    assert take(receiver, received)
    assert received[0] == (5, [], [])
