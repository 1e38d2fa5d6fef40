"""The file in which a process is told what it is to be: nameless pages, which, unlike a pipe, wait for no reader.

Whoever reads it while it is written anew finds one of the two, whole: the place of what holds now stands in the first
eight bytes, which are written last.
"""

from __future__ import annotations

import marshal
import os
from typing import Any

from worker_dispatcher.osproc.system import given

__all__ = ["as_file", "read", "reads", "write"]

_PLACE = 8  # bytes


def as_file(told: Any) -> int:
    """A descriptor of a new one."""
    fd = given("memfd_create", lambda: os.memfd_create("worker_dispatcher", os.MFD_CLOEXEC))
    try:
        write(fd, told)
    except BaseException:
        os.close(fd)
        raise
    return fd


def write(fd: int, told: Any) -> None:
    """Put it in the place of what was told before."""
    at = end = max(_PLACE, os.fstat(fd).st_size)
    data = memoryview(marshal.dumps(told))
    while len(data):
        end += (written := os.pwrite(fd, data, end))
        data = data[written:]
    os.pwrite(fd, at.to_bytes(_PLACE, "little"), 0)


def read(fd: int) -> bytes:
    """What holds now, marshalled; more may come after it, of which `marshal` takes no notice."""
    at = int.from_bytes(os.pread(fd, _PLACE, 0), "little")
    return os.pread(fd, os.fstat(fd).st_size - at, at)


def reads(fd: int) -> str:
    """The source of the same for an interpreter that cannot import this yet: it has marshal, os and sys, and then
    `told`."""
    return (
        f"at = int.from_bytes(os.pread({fd}, {_PLACE}, 0), 'little')\n"
        f"told = marshal.loads(os.pread({fd}, os.fstat({fd}).st_size - at, at))\n"
    )
