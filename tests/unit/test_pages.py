"""Shared pages: who may change them, how many are mapped, and what travels where there are none to be had."""

from __future__ import annotations

import errno
import gc
import mmap
import os
import resource

import numpy as np
import pytest

from worker_dispatcher import wire
from worker_dispatcher.osproc.shared_status import SharedStatus
from worker_dispatcher.wire import (
    LARGE,
    LARGE_PICKLE,
    from_parts,
    inlined,
    map_buffers,
    pack,
    pack_large,
    share_buffers,
    to_parts,
    unpack,
)


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def limit_of(count: int):
    return lambda which: (count, count)


@pytest.fixture
def pages():
    fd = share_buffers([memoryview(b"a" * LARGE)])
    yield fd
    os.close(fd)


@pytest.mark.parametrize("size", [0, 1, LARGE - 1, 2 * LARGE])
def test_nobody_changes_the_length_of_what_was_sent(size, pages):
    with pytest.raises(PermissionError):
        os.ftruncate(pages, size)


def test_nobody_writes_to_what_was_sent_and_each_may_write_to_his_own(pages):
    for write in (lambda: os.pwrite(pages, b"b", 0), lambda: os.write(pages, b"b"), lambda: mmap.mmap(pages, LARGE)):
        with pytest.raises(PermissionError):
            write()
    (one,), (two,) = (map_buffers(os.dup(pages), [LARGE]) for _ in range(2))
    one[0] = ord("b")
    assert (bytes(one[:2]), bytes(two[:2])) == (b"ba", b"aa")


def test_a_slate_is_written_only_by_who_has_mapped_it_at_its_start():
    parent = SharedStatus.shared(2)
    worker = SharedStatus.of(os.dup(parent.fd))
    for write in (lambda: os.pwrite(worker.fd, b"b" * 8, 0), lambda: os.ftruncate(worker.fd, 0)):
        with pytest.raises(PermissionError):
            write()
    worker.running[1], parent.halt[0] = 7, 1
    assert (parent.running[1], worker.halt[0]) == (7, 1)
    worker.close()
    parent.close()


def test_a_system_that_seals_nothing_shares_all_the_same(monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EINVAL, "no seals")

    monkeypatch.setattr(wire.fcntl, "fcntl", refuse)
    assert map_buffers(share_buffers([memoryview(b"a" * LARGE)]), [LARGE]) == [b"a" * LARGE]


ROOM = 200  # mappings; more than this process has descriptors open besides


def test_as_many_are_mapped_as_leave_most_descriptors_to_others_and_the_rest_is_copied(monkeypatch):
    gc.collect()
    before = open_descriptors()
    monkeypatch.setattr(wire, "_mapped", set())
    monkeypatch.setattr(resource, "getrlimit", limit_of(4 * ROOM))
    views = [map_buffers(share_buffers([memoryview(b"%08d" % nth * LARGE)]), [8 * LARGE])[0] for nth in range(ROOM + 5)]
    assert [bytes(view[:8]) for view in views] == [b"%08d" % nth for nth in range(ROOM + 5)]
    assert [isinstance(view.obj, mmap.mmap) for view in views] == [True] * ROOM + [False] * 5
    assert len(open_descriptors()) <= len(before) + ROOM
    del views[3:]
    (view,) = map_buffers(share_buffers([memoryview(b"a" * LARGE)]), [LARGE])
    assert isinstance(view.obj, mmap.mmap)  # what has been freed does not count
    del view, views
    assert open_descriptors() == before


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.ENODEV])
def test_what_the_system_refuses_to_map_is_copied(number, monkeypatch):
    def refuse(*arguments, **named):
        raise OSError(number, os.strerror(number))

    before = open_descriptors()
    fd = share_buffers([memoryview(b"ab" * LARGE)])
    monkeypatch.setattr(mmap, "mmap", refuse)
    (view,) = map_buffers(fd, [2 * LARGE])
    assert view == b"ab" * LARGE
    assert open_descriptors() == before


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EACCES])
def test_where_the_system_gives_no_pages_all_travels_in_the_frame(number, monkeypatch):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "memfd_create", refuse)
    parts, fds = to_parts(pack(np.arange(LARGE)))
    assert fds == []
    assert (unpack(*from_parts([memoryview(part) for part in parts], [])) == np.arange(LARGE)).all()


VALUES = [
    1,
    b"x" * 100,
    np.arange(10),
    np.arange(LARGE),
    [np.arange(LARGE), np.zeros((3, 5)), np.ones(LARGE, np.uint8)],
    b"y" * LARGE_PICKLE,
    {"bytes": b"y" * LARGE_PICKLE, "array": np.arange(LARGE), "small": np.arange(3)},
    {"bytes": b"y" * LARGE_PICKLE, "small": np.arange(3)},
]


def test_what_was_made_to_be_shared_can_go_into_the_frame():
    before = open_descriptors()
    parts, fds = [], []
    for value in VALUES:
        more, its = to_parts(pack_large(value))
        parts += more
        fds += its
    assert len(fds) == 5
    whole = [memoryview(bytes(part)) for part in inlined(parts, fds)]
    for fd in fds:
        os.close(fd)
    for nth, value in enumerate(VALUES):
        found = unpack(*from_parts(whole[3 * nth : 3 * nth + 3], []))
        np.testing.assert_equal(found, value)
    del found
    assert open_descriptors() == before
