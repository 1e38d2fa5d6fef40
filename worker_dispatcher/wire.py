"""How values become bytes between processes; floor 1.

`pack` gives a pickle and its large buffers apart (protocol 5, out of band), so that arrays are never copied
into a pickle stream. The C pickler takes what it can; what a worker could not import goes by cloudpickle, so that
functions and classes of `__main__`, and those inside functions, travel by value.
Packing and unpacking run user code: callers do it inside the guard.
"""

from __future__ import annotations

import errno
import mmap
import os
import pickle
import resource
import struct
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = ["LARGE", "Packed", "from_parts", "is_plain", "map_buffers", "pack", "share_buffers", "to_parts", "unpack"]

LARGE = 64 * 1024  # bytes; what is larger in sum travels as shared pages, what is smaller in the frame
_PLAIN = frozenset({type(None), bool, int, float, str, bytes, complex})
_NAMES_A_GLOBAL = b"\x93"  # STACK_GLOBAL: without it a protocol 5 pickle cannot call anything when loaded
_MAIN = b"__main__"
_BY_VALUE = b"cloudpickle"  # its functions are named by what it has packed by value


class Packed(NamedTuple):
    """A pickle and its out-of-band buffers, in order. plain: made of builtins, safe to load anywhere."""

    head: bytes
    buffers: Sequence[memoryview]
    plain: bool

    @property
    def size(self) -> int:
        return len(self.head) + sum(len(b) for b in self.buffers)

    @property
    def by_value(self) -> bool:
        """True if it holds functions or classes themselves, so that cloudpickle is imported where it is loaded."""
        return not self.plain and _BY_VALUE in self.head


def is_plain(values: Sequence[Any]) -> bool:
    """True if every value is a builtin scalar: nothing of it can run code when packed or loaded."""
    return _PLAIN.issuperset(map(type, values))


def pack(value: Any) -> Packed:
    """Pickle a value. Raises whatever its classes raise."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        head = pickle.dumps(value, 5, buffer_callback=buffers.append)
        plain = _NAMES_A_GLOBAL not in head
        portable = plain or not _names_what_stays_here(head)
    except Exception:  # cloudpickle may know better; if it does not, its error is the one to show
        plain = portable = False
    if not portable:
        import cloudpickle  # 10 ms, most of it for `inspect` and `logging`

        buffers = []
        head = cloudpickle.dumps(value, 5, buffer_callback=buffers.append)
    return Packed(head, [b.raw() for b in buffers] if buffers else (), plain)


def _names_what_stays_here(head: bytes) -> bool:
    """True if a pickle may name what a worker cannot import, or is not to: what lives in `__main__`, or anything at
    all once the user has told cloudpickle to send some module by value."""
    if _MAIN in head:
        return True
    cloudpickle = sys.modules.get("cloudpickle.cloudpickle")
    return cloudpickle is not None and bool(cloudpickle.list_registry_pickle_by_value())


def unpack(head: bytes | memoryview, buffers: Sequence[memoryview] = ()) -> Any:
    """The value again; arrays stand on the buffers given, without a copy."""
    return pickle.loads(head, buffers=buffers)


def share_buffers(buffers: Sequence[memoryview]) -> int:
    """Write buffers one after the other (each on a 64-byte boundary) into nameless shared pages; the descriptor."""
    total = sum(_padded(len(b)) for b in buffers)
    fd = os.memfd_create("worker_dispatcher", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, total)
        at = 0
        for one in buffers:
            done = 0
            while done < len(one):  # a single write moves at most 2 GiB
                done += os.pwrite(fd, one[done : done + 2**30], at + done)
            at += _padded(len(one))
    except BaseException:
        os.close(fd)
        raise
    return fd


def map_buffers(fd: int, sizes: Sequence[int]) -> list[memoryview]:
    """The buffers of `share_buffers`, mapped and private on write; copied once many are alive. Closes fd."""
    total = sum(_padded(size) for size in sizes)
    try:
        if fd < resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4:  # a mapping holds a descriptor as long as it lives
            view = memoryview(mmap.mmap(fd, total, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE))
        else:
            view = _read(fd, total)
    finally:
        os.close(fd)
    return _split(view, sizes)


def _read(fd: int, total: int) -> memoryview:
    view, done = memoryview(bytearray(total)), 0
    while done < total:
        count = os.preadv(fd, [view[done : done + 2**30]], done)
        if not count:
            raise EOFError(f"a payload of {total} bytes ends after {done}")
        done += count
    return view


def _join(buffers: Sequence[memoryview]) -> bytes:
    """Small buffers as one string of bytes, laid out as `_split` reads them."""
    parts: list[bytes | memoryview] = []
    for one in buffers:
        parts += [one, bytes(_padded(len(one)) - len(one))]
    return b"".join(parts)


def _split(view: memoryview, sizes: Sequence[int]) -> list[memoryview]:
    """The buffers in a view, given their sizes in bytes."""
    found, at = [], 0
    for size in sizes:
        found.append(view[at : at + size])
        at += _padded(size)
    return found


def to_parts(packed: Packed) -> tuple[list[bytes | memoryview], list[int]]:
    """(three byte parts, descriptors to send and then close) for a frame; see `from_parts`."""
    sizes = struct.pack(f"<{len(packed.buffers)}Q", *map(len, packed.buffers))
    if sum(map(len, packed.buffers)) < LARGE:
        return [packed.head, sizes, _join(packed.buffers)], []
    return [packed.head, sizes, b""], [share_buffers(packed.buffers)]


def from_parts(parts: Sequence[memoryview], fds: list[int]) -> tuple[memoryview, list[memoryview]]:
    """(head, buffers) for `unpack`. Takes its descriptor, if it needs one, from the front of fds.
    Raises OSError where that descriptor could not be received or mapped."""
    head, sizes, inline = parts
    lengths = struct.unpack(f"<{len(sizes) // 8}Q", sizes)
    if sum(lengths) < LARGE:
        return head, _split(memoryview(bytearray(inline)), lengths)
    if not fds:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return head, map_buffers(fds.pop(0), lengths)


def _padded(size: int) -> int:
    return (size + 63) & ~63
