"""Frames over a socket pair: whole, in order, each with its own descriptors, and Gone when there can be no more."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from worker_dispatcher.osproc.channel import Channel, Gone

MOST = 1 << 18  # bytes of a part that is still copied into one write with its head


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


@pytest.fixture
def ends(sockets) -> Iterator[tuple[Channel, Channel]]:
    """Two ends that do not block."""
    left, right = (Channel(sock, blocking=False) for sock in sockets)
    yield left, right
    left.close()
    right.close()


@pytest.fixture
def files() -> Iterator[list[int]]:
    """Ten descriptors of different files."""
    fds = [os.memfd_create(f"file {nth}") for nth in range(10)]
    yield fds
    for fd in fds:
        os.close(fd)


def identity(fd: int) -> int:
    return os.fstat(fd).st_ino


def closed_after(fds: list[int]) -> list[int]:
    """Which files the descriptors stand for; closes them."""
    found = [identity(fd) for fd in fds]
    for fd in fds:
        os.close(fd)
    return found


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def told(frames) -> list[tuple[int, list[bytes]]]:
    return [(frame.kind, [bytes(part) for part in frame.parts]) for frame in frames]


def pumped(sender: Channel, receiver: Channel) -> list:
    """All that is queued and its frames."""
    frames = []
    while sender.unsent:
        sender.flush()
        frames += receiver.receive()
    while more := receiver.receive():
        frames += more
    return frames


@contextlib.contextmanager
def only_so_many_more_descriptors(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = [os.dup(0) for _ in range(count + 1)]
    first_refused = spare[-1]
    for fd in spare:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first_refused, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


BIG = os.urandom(3_000_000)


@pytest.mark.parametrize("kind", [0, 1, 0xFFFF])
@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b""],
        [b"", b"", b""],
        [b"a", b"", b"bc"],
        [memoryview(b"abc")[1:], b"d"],
        [b"x" * MOST],
        [b"x" * (MOST + 1)],
        [b"a", BIG, b"", b"b", BIG[5:], b"c"],
        [b"%d" % nth for nth in range(5000)],
    ],
    ids=lambda parts: f"{len(parts)} parts",
)
def test_a_frame_arrives_as_it_was_sent(kind, parts, ends):
    left, right = ends
    left.send(kind, parts)
    (frame,) = pumped(left, right)
    assert told([frame]) == [(kind, [bytes(part) for part in parts])]
    assert frame.fds == []
    assert right.receive() == []


def test_both_directions_are_independent(ends):
    left, right = ends
    left.send(1, [b"a"])
    right.send(2, [b"b"])
    assert told(left.receive()) == [(2, [b"b"])]
    assert told(right.receive()) == [(1, [b"a"])]


def test_all_frames_that_are_there_come_at_once_and_in_order(ends):
    left, right = ends
    for nth in range(100):
        left.send(nth, [b"%d" % nth] * (nth % 3))
    assert told(right.receive()) == [(nth, [b"%d" % nth] * (nth % 3)) for nth in range(100)]


def test_nothing_there_is_no_frame(ends):
    assert ends[0].receive() == []


def test_what_does_not_fit_waits_and_keeps_its_order(ends):
    left, right = ends
    sent = 0
    while not left.unsent:
        left.send(sent, [b"x" * 10_000])
        sent += 1
    for kind in (sent, sent + 1):
        left.send(kind, [b"y", BIG])
    assert left.unsent
    frames = pumped(left, right)
    assert [frame.kind for frame in frames] == list(range(sent + 2))
    assert told(frames[sent:]) == [(sent, [b"y", BIG]), (sent + 1, [b"y", BIG])]
    assert {bytes(frame.parts[0]) for frame in frames[:sent]} == {b"x" * 10_000}
    assert not left.unsent


def test_a_frame_that_comes_byte_by_byte_is_given_when_it_is_whole(sockets):
    with contextlib.closing(Channel(sockets[1], blocking=False)) as channel:
        one, two = socket.socketpair()
        with one, two:
            Channel(one, blocking=True).send(7, [b"ab", b""])
            data = two.recv(1000)
        for nth, byte in enumerate(data):
            assert channel.receive() == []
            sockets[0].send(bytes([byte]))
            if nth < len(data) - 1:
                assert channel.receive() == []
        assert told(channel.receive()) == [(7, [b"ab", b""])]


# Blocking ends


def test_a_blocking_end_waits_for_a_whole_frame_and_writes_to_the_end(sockets):
    left, right = (Channel(sock, blocking=True) for sock in sockets)
    got = []

    def echo() -> None:
        for _ in range(3):
            (frame,) = right.receive()
            got.append(frame)
            right.send(frame.kind + 1, frame.parts)

    thread = threading.Thread(target=echo)
    thread.start()
    for kind, parts in ((1, [b"a"]), (3, [BIG, b"b"]), (5, [])):
        left.send(kind, parts)
        assert not left.unsent
        assert told(left.receive()) == [(kind + 1, parts)]
    thread.join()
    assert told(got) == [(1, [b"a"]), (3, [BIG, b"b"]), (5, [])]


# Descriptors


def test_a_descriptor_arrives_as_one_that_no_child_inherits(ends, files):
    left, right = ends
    left.send(1, [b"a"], files[:1])
    (frame,) = right.receive()
    assert frame.fds != files[:1]
    assert not os.get_inheritable(frame.fds[0])
    assert closed_after(frame.fds) == [identity(files[0])]


@pytest.mark.parametrize("parts", [[], [b"a"], [b"a", BIG]])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_as_many_descriptors_as_may_be_sent_arrive_in_order(count, parts, ends, files):
    left, right = ends
    left.send(1, parts, files[:count])
    (frame,) = pumped(left, right)
    assert told([frame]) == [(1, parts)]
    assert closed_after(frame.fds) == [identity(fd) for fd in files[:count]]


def test_each_frame_has_its_own_descriptors(ends, files):
    left, right = ends
    counts = [0, 1, 0, 0, 3, 8, 0, 1, 1, 0]
    for nth, count in enumerate(counts):
        left.send(nth, [b"%d" % nth], files[nth : nth + count])
    frames = []
    while len(frames) < len(counts):
        frames += right.receive()
    for nth, count in enumerate(counts):
        assert frames[nth].kind == nth
        assert closed_after(frames[nth].fds) == [identity(fd) for fd in files[nth : nth + count]]


def test_descriptors_of_a_frame_that_waits_are_the_channel_s_own(ends):
    left, right = ends
    before = open_descriptors()
    while not left.unsent:
        left.send(0, [b"x" * 10_000])
    expected = []
    for nth in range(1, 30):
        fds = [os.memfd_create("short"), os.memfd_create("lived")]
        expected.append([identity(fd) for fd in fds])
        left.send(nth, [b"y"], fds)
        for fd in fds:
            os.close(fd)
    assert len(open_descriptors()) == len(before) + 2 * 29
    frames = [frame for frame in pumped(left, right) if frame.kind]
    assert [frame.kind for frame in frames] == list(range(1, 30))
    assert [closed_after(frame.fds) for frame in frames] == expected
    assert open_descriptors() == before


@pytest.mark.parametrize("room", [0, 1])
def test_descriptors_that_this_process_cannot_open_are_missing_from_their_frame_only(room, ends, files):
    left, right = ends
    with only_so_many_more_descriptors(room):
        left.send(1, [b"a"], files[:2])
        left.send(2, [b"b"])
        frames = right.receive() + right.receive()
    left.send(3, [b"c"], files[2:3])
    frames += right.receive()
    assert told(frames) == [(1, [b"a"]), (2, [b"b"]), (3, [b"c"])]
    assert [closed_after(f.fds) for f in frames] == [[identity(files[0])][:room], [], [identity(files[2])]]


def test_descriptors_that_could_not_be_opened_are_not_made_up_for_by_the_next_frame_s(sockets, files):
    one, two = socket.socketpair()
    with one, two:
        Channel(one, blocking=True).send(1, [b"a"], files[:1])
        frame = two.recv(1000)
    channel = Channel(sockets[1], blocking=False)
    socket.send_fds(sockets[0], [frame[:20]], files[:1])
    with only_so_many_more_descriptors(0):
        assert channel.receive() == []
    sockets[0].send(frame[20:])
    socket.send_fds(sockets[0], [frame], files[1:2])
    frames = channel.receive()
    assert told(frames) == [(1, [b"a"])] * 2
    assert [closed_after(f.fds) for f in frames] == [[], [identity(files[1])]]


def test_a_frame_that_cannot_wait_for_want_of_descriptors_leaves_nothing_behind(ends, files):
    left, right = ends
    while not left.unsent:
        left.send(0, [b"x" * 10_000])
    before = open_descriptors()
    with only_so_many_more_descriptors(2), pytest.raises(OSError, match="Too many open files") as caught:
        left.send(1, [b"lost"], files[:4])
    assert caught.value.errno == errno.EMFILE
    assert open_descriptors() == before
    left.send(2, [b"b"], files[:1])
    frames = [frame for frame in pumped(left, right) if frame.kind]
    assert told(frames) == [(2, [b"b"])]
    assert closed_after(frames[0].fds) == [identity(files[0])]


# Gone


def test_frames_before_the_end_are_given_first(ends):
    left, right = ends
    left.send(1, [b"a"])
    left.send(2)
    left.close()
    assert told(right.receive()) == [(1, [b"a"]), (2, [])]
    for _ in range(2):
        with pytest.raises(Gone):
            right.receive()


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("keep", [1, 15, 16, 23, 24, -1])
def test_the_end_in_the_middle_of_a_frame_is_the_end(keep, blocking, sockets):
    head = struct.pack("<IHHQQ", 0x57440001, 0, 1, 8 + 100, 100)
    sockets[0].send((head + b"a" * 100)[:keep])
    sockets[0].close()
    channel = Channel(sockets[1], blocking=blocking)
    with pytest.raises(Gone):
        channel.receive()
    channel.close()


def test_the_end_after_the_frame_s_descriptors_have_come_leaves_none_of_them(sockets, files):
    head = struct.pack("<IHHQQ", 0x57440001, 2, 1, 8 + 100, 100)
    before = open_descriptors()
    socket.send_fds(sockets[0], [head + b"a"], files[:2])
    sockets[0].shutdown(socket.SHUT_WR)
    channel = Channel(sockets[1], blocking=False)
    with pytest.raises(Gone):
        channel.receive()
    assert len(open_descriptors()) == len(before) + 2
    channel.close()
    assert len(open_descriptors()) == len(before) - 1  # the socket


def test_writing_to_who_is_gone_is_gone(ends, files):
    left, right = ends
    right.close()
    for fds in ([], files[:1]):
        with pytest.raises(Gone) as caught:
            left.send(1, [b"a"], fds)
        assert isinstance(caught.value.__cause__, OSError)


def test_what_waits_for_who_is_gone_is_let_go(ends, files):
    left, right = ends
    before = open_descriptors()
    while not left.unsent:
        left.send(0, [b"x" * 10_000])
    left.send(1, [b"a"], files[:3])
    right.close()
    with pytest.raises(Gone):
        left.flush()
    with pytest.raises(Gone):
        left.send(1, [b"a"], files[:3])
    left.close()
    assert len(open_descriptors()) == len(before) - 2
    assert not left.unsent


def test_a_socket_closed_under_the_channel_is_gone(ends, sockets):
    sockets[0].close()
    with pytest.raises(Gone):
        ends[0].receive()
    with pytest.raises(Gone):
        ends[0].send(1)
    ends[0].hang_up()


def test_hanging_up_lets_the_other_end_read_what_was_sent_and_answer(ends):
    left, right = ends
    left.send(1, [b"a"])
    left.hang_up()
    left.hang_up()
    right.send(2, [b"b"])
    assert told(right.receive()) == [(1, [b"a"])]
    with pytest.raises(Gone):
        right.receive()
    assert told(left.receive()) == [(2, [b"b"])]
    with pytest.raises(Gone):
        left.send(3)


def test_closing_again_is_nothing(ends):
    assert ends[0].fileno() >= 0
    ends[0].close()
    ends[0].close()
    assert ends[0].fileno() == -1
    with pytest.raises(Gone):
        ends[0].receive()


# What are not frames


@pytest.mark.parametrize(
    "data",
    [
        b"hello from a task that writes where it should not\n",
        b"\0" * 16,
        struct.pack("<IHHQ", 0x57450001, 0, 0, 0),
        struct.pack("<IHHQ", 0x57440001, 0, 1, 0),  # its only part has no size
        struct.pack("<IHHQ", 0x57440001, 0, 3, 20) + b"\0" * 20,
        struct.pack("<IHHQQ", 0x57440001, 0, 1, 10, 3) + b"ab",  # a part that is longer than its frame
        struct.pack("<IHHQQ", 0x57440001, 0, 1, 10, 1) + b"ab",
        struct.pack("<IHHQ", 0x57440001, 0, 0, 1) + b"a",
    ],
    ids=range(8),
)
def test_what_is_no_frame_is_gone_and_what_came_before_it_is_not_lost(data, sockets, files):
    before = open_descriptors()
    one, two = socket.socketpair()
    with one, two:
        Channel(one, blocking=True).send(1, [b"a"])
        frame = bytearray(two.recv(1000))
    frame[4] = 1  # descriptors
    channel = Channel(sockets[1], blocking=False)
    socket.send_fds(sockets[0], [frame[:20]], files[:1])
    assert channel.receive() == []
    sockets[0].send(frame[20:] + data)
    (received,) = channel.receive()
    assert told([received]) == [(1, [b"a"])]
    assert closed_after(received.fds) == [identity(files[0])]
    Channel(sockets[0], blocking=True).send(2, [b"b"], files[1:2])
    for _ in range(2):
        with pytest.raises(Gone):
            channel.receive()
    channel.close()
    assert len(open_descriptors()) == len(before) - 1


def test_bytes_written_in_front_of_a_frame_are_noticed(sockets):
    channel = Channel(sockets[1], blocking=False)
    sockets[0].send(b"x")
    Channel(sockets[0], blocking=True).send(1, [b"a"])
    with pytest.raises(Gone):
        channel.receive()


def test_a_severed_channel_is_told_from_one_that_was_hung_up_whatever_is_still_to_be_read(ends):
    left, right = ends
    left.send(1, [b"unread"])
    assert not right.severed()
    left.hang_up()
    assert not right.severed()
    left.close()
    assert right.severed()
    assert bytes(right.receive()[0].parts[0]) == b"unread"
