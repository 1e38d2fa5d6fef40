"""How values become bytes between processes; floor 1.

`pack` gives a pickle and its large buffers apart (protocol 5, out of band), so that arrays are never copied into a
pickle stream; `pack_large` gives the pickle itself in pieces, so that a large `bytes` is not copied into it either.
What is large in sum travels as shared pages: arrays are mapped where they arrive, a pickle is read from there straight
into the values that it makes. The C pickler takes what it can; what a worker could not import goes by cloudpickle, so
that functions and classes of `__main__`, and those inside functions, travel by value.
Packing and unpacking run user code: callers do it inside the guard.
"""

from __future__ import annotations

import errno
import fcntl
import io
import mmap
import os
import pickle
import resource
import struct
import sys
import weakref
from collections.abc import Sequence
from typing import Any

from worker_dispatcher.loaded import loaded
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.script.main_module import FRESH, Reader
from worker_dispatcher.tracebacks import own

LARGE = 64 * 1024  # bytes; buffers larger in sum travel as shared pages, smaller ones in the frame
LARGE_PICKLE = 1 << 18  # the same for a pickle: it is copied out of the pages too, so they pay off later
WAY_OUT = "open it in worker.init, or use threads"
_USES = "  it uses "
_PLAIN = frozenset({type(None), bool, int, float, str, bytes, complex})
_NAMES_A_GLOBAL = b"\x93"  # STACK_GLOBAL: without it a protocol 5 pickle cannot call anything when loaded
# Limits on files, and a system that gives no shared pages at all: what was to go there goes into the frame.
_ROOMY = 32  # descriptors: who may have fewer cannot take in the few that come together
_NO_PAGES = (errno.EMFILE, errno.ENFILE, errno.EFBIG, errno.ENOSYS, errno.EPERM, errno.EACCES)
_MAPPINGS_MOST = 1 << 14  # a process may have 65 530, most of which are not ours to take
# From Python 3.13 on a mapping need not hold a descriptor of its own.
UNTRACKED: Any = {"trackfd": False} if sys.version_info >= (3, 13) else {}
# No other length, and no writing but by mappings that are there: what the other process reads stands still, also where
# a task writes to descriptors that are not its own, or cuts them off.
_SEALS = 0x2 | 0x4 | 0x10  # F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE
_OLD_SEALS = 0x2 | 0x4  # before Linux 5.1
_mapped: set[weakref.ref[mmap.mmap]] = set()  # mappings that are alive; to add and to discard are atomic under the GIL
# Ends the name of the script, here and in children of multiprocessing; names the class of `object()`, which may be a
# mark of the script's.
_MARKS = b"_main__", b"\x8c\x06object\x94\x93"
# What is imported for a pickle that names functions of a module.
_BY_VALUE = {
    b"worker_dispatcher.script.main_module": "worker_dispatcher.script.pickler",
    b"cloudpickle": "cloudpickle",
}


# What to do about a lock, queue or array of `multiprocessing`.
WAYS_TO_SHARE = (
    "share it through multiprocessing.Manager(), make it in worker.init, or give it in task.config to workers with "
    "start_method: 'fork', which have all that this process has"
)


def is_shared_by_inheritance(error: BaseException) -> bool:
    """True if what could not be packed is something that `multiprocessing` hands on only to a process it starts."""
    return isinstance(error, RuntimeError) and "inheritance" in str(error)


class Packed(NamedTuple):
    """A pickle and its out-of-band buffers, in order. plain: made of builtins, safe to load anywhere.

    head, rest: the pickle, in pieces that follow each other; `pack` makes one.
    """

    head: bytes
    buffers: Sequence[memoryview]
    plain: bool
    rest: Sequence[bytes | bytearray] = ()

    @property
    def head_size(self) -> int:
        return len(self.head) + sum(map(len, self.rest))

    @property
    def size(self) -> int:
        return self.head_size + sum(map(len, self.buffers))

    @property
    def libraries(self) -> list[str]:
        """What loading it imports, and packing what comes of it: there are functions or classes by value in it."""
        found: dict[str, None] = {}
        for piece in () if self.plain else (self.head, *self.rest):
            for mark, name in _BY_VALUE.items():
                if mark in piece:
                    found[name] = None
        return list(found)


def is_plain(values: Sequence[Any]) -> bool:
    """True if every value is a builtin scalar: nothing of it can run code when packed or loaded."""
    return _PLAIN.issuperset(map(type, values))


def pack(value: Any, reader: Reader = FRESH) -> Packed:
    """Pickle a value. Raises whatever its classes raise."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        head = pickle.dumps(value, 5, buffer_callback=buffers.append)
        plain = _NAMES_A_GLOBAL not in head
        portable = plain or not names_what_stays_here([head])
    except own(Exception):  # the script's own may be the reason; if it is not, the second error is the one to show
        plain = portable = False
    if not portable:
        buffers = []
        into = io.BytesIO()
        _dump(into, value, reader, buffers)
        head = into.getvalue()
    return Packed(head, list(map(pickle.PickleBuffer.raw, buffers)) if buffers else (), plain)


class _Pieces(list[Any]):
    """A file to the pickler: what it writes, as it is; a large `bytes` comes as the object itself."""

    write = list.append


def pack_large(value: Any, reader: Reader = FRESH) -> Packed:
    """`pack` for what may be large: 1 us slower, and no copy of any `bytes` is made. Send it before these change."""
    buffers: list[pickle.PickleBuffer] = []
    pieces = _Pieces()
    try:
        pickle.Pickler(pieces, 5, buffer_callback=buffers.append).dump(value)
        # The data, too, may have the byte that marks a name; of scalars there is no need to look.
        plain = is_plain(value if type(value) in (list, tuple) else (value,))
        plain = plain or not any(_NAMES_A_GLOBAL in piece for piece in pieces)
        portable = plain or not names_what_stays_here(pieces)
    except own(Exception):  # as in `pack`
        plain = portable = False
    if not portable:
        buffers, pieces = [], _Pieces()
        _dump(pieces, value, reader, buffers)
    return Packed(pieces[0], list(map(pickle.PickleBuffer.raw, buffers)), plain, pieces[1:])


def _dump(into: Any, value: Any, reader: Reader, buffers: list[pickle.PickleBuffer]) -> None:
    from worker_dispatcher.script.pickler import ScriptPickler

    pickler = ScriptPickler(into, reader, buffers.append)
    try:
        pickler.dump(value)
    except RecursionError:
        raise pickle.PicklingError("it is nested too deeply to be pickled") from None
    except Exception as error:
        if (where := pickler.where()) is not None:
            error.add_note(f"{_USES}{where}; {WAY_OUT}")
        raise


def culprit(error: BaseException) -> str | None:
    """Of an error of packing: the name that stands for what cannot be sent, whose it is, and its type."""
    notes: list[str] = getattr(error, "__notes__", [])
    found = next((note for note in notes if note.startswith(_USES)), None)
    return None if found is None else found.removeprefix(_USES).removesuffix(f"; {WAY_OUT}")


def names_what_stays_here(pieces: Sequence[bytes]) -> bool:
    """True if a pickle may name what a worker cannot import, or is not to: what lives in the script, or anything at
    all once the user has told cloudpickle to send some module by value."""
    for piece in pieces:
        for mark in _MARKS:
            if mark in piece:
                return True
    cloudpickle = loaded("cloudpickle.cloudpickle")
    return cloudpickle is not None and bool(cloudpickle.list_registry_pickle_by_value())


def unpack(head: bytes | memoryview | io.BufferedReader[Any], buffers: Sequence[memoryview] = ()) -> Any:
    """The value again; arrays stand on the buffers given, without a copy. Closes a head that is read."""
    if isinstance(head, io.BufferedReader):
        with head:
            return pickle.load(head, buffers=buffers)
    return pickle.loads(head, buffers=buffers)


def share_buffers(buffers: Sequence[memoryview], pickled: Sequence[bytes | bytearray] = ()) -> int:
    """Write buffers one after the other (each on a 64-byte boundary), then a pickle without gaps, into nameless shared
    pages; the descriptor."""
    total = sum(_padded(len(b)) for b in buffers)
    fd = os.memfd_create("worker_dispatcher", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, total + sum(map(len, pickled)))
        at = 0
        for one in buffers:
            _write_at(fd, one, at)
            at += _padded(len(one))
        for piece in pickled:
            _write_at(fd, memoryview(piece), at)
            at += len(piece)
        seal(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def seal(fd: int) -> None:
    """Let nobody change shared pages any more, but through mappings that are there; as far as this system can."""
    try:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except own(OSError):
        try:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _OLD_SEALS)
        except own(OSError):
            pass


def _write_at(fd: int, data: memoryview, at: int) -> None:
    done = 0
    while done < len(data):  # a single write moves at most 2 GiB
        done += os.pwrite(fd, data[done : done + 2**30], at + done)


def map_buffers(fd: int, sizes: Sequence[int]) -> list[memoryview]:
    """The buffers of `share_buffers`, mapped and private on write; copied once many are alive, or where the system
    refuses to map them. Closes fd."""
    total = sum(_padded(size) for size in sizes)
    try:
        view = _map(fd, total)
    finally:
        os.close(fd)
    return _split(view, sizes)


def _map(fd: int, total: int) -> memoryview:
    # A mapping holds a descriptor as long as it lives, and the rest of this process needs some too; a new one has the
    # lowest number that is free.
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if fd < limit // 2 and len(_mapped) < min(limit // 4, _MAPPINGS_MOST):
        try:
            pages = mmap.mmap(fd, total, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE, **UNTRACKED)
        except own(OSError):
            return _read(fd, total)
        _mapped.add(weakref.ref(pages, _mapped.discard))
        return memoryview(pages)
    return _read(fd, total)


def _read(fd: int, total: int, at: int = 0) -> memoryview:
    view, done = memoryview(bytearray(total)), 0
    while done < total:
        count = os.preadv(fd, [view[done : done + 2**30]], at + done)
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


class _Pages(io.RawIOBase):
    """Reads shared pages from a place on; at a position of its own, since others read the same descriptor. Owns fd."""

    def __init__(self, fd: int, at: int) -> None:
        self._fd, self._at = fd, at

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        count = os.preadv(self._fd, [into], self._at)
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()


def to_parts(packed: Packed) -> tuple[list[bytes | memoryview], list[int]]:
    """(three byte parts, descriptors to send and then close) for a frame; see `from_parts`.

    What is large goes into shared pages; where a limit on files, on their number or size, or the system forbids that,
    all of it goes into the parts. Raises OSError where there is no memory for the pages.
    """
    lengths = list(map(len, packed.buffers))
    sizes = struct.pack(f"<{len(lengths)}Q", *lengths)
    pickled = (packed.head, *packed.rest)
    aside = packed.head_size >= LARGE_PICKLE, sum(lengths) >= LARGE
    fds: list[int] = []
    if any(aside) and resource.getrlimit(resource.RLIMIT_NOFILE)[0] < _ROOMY:
        aside = False, False
    if any(aside):
        try:
            fds = [share_buffers(packed.buffers if aside[1] else (), pickled if aside[0] else ())]
        except own(OSError) as error:
            if error.errno not in _NO_PAGES:
                raise
            aside = False, False
    head = b"" if aside[0] else b"".join(pickled)
    return [head, sizes, b"" if aside[1] or not lengths else _join(packed.buffers)], fds


def inlined(parts: Sequence[bytes | memoryview], fds: Sequence[int]) -> list[bytes | memoryview]:
    """What one or more `to_parts` gave, without a descriptor: for a system that takes none to be sent at the moment.
    Leaves fds open."""
    found: list[bytes | memoryview] = []
    left = list(fds)
    for head, sizes, inline in zip(*[iter(parts)] * 3, strict=True):
        lengths = struct.unpack(f"<{len(sizes) // 8}Q", sizes)
        end = sum(map(_padded, lengths)) if not inline else 0
        if end or not head:
            fd = left.pop(0)
            inline = _read(fd, end) if end else inline
            head = head or _read(fd, os.fstat(fd).st_size - end, end)
        found += [head, sizes, inline]
    return found


def from_parts(
    parts: Sequence[memoryview], fds: list[int]
) -> tuple[memoryview | io.BufferedReader[Any], list[memoryview]]:
    """(head, buffers) for `unpack`. Takes its descriptor, if it needs one, from the front of fds.
    Raises OSError where that descriptor could not be received or mapped."""
    head, sizes, inline = parts
    if head and not sizes:
        return head, []
    lengths = struct.unpack(f"<{len(sizes) // 8}Q", sizes)
    mapped = bool(sum(lengths)) and not inline
    if head and not mapped:
        return head, _split(memoryview(bytearray(inline)), lengths)
    if not fds:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    fd = fds.pop(0)
    if head:
        return head, map_buffers(fd, lengths)
    reader = io.BufferedReader(_Pages(fd, sum(map(_padded, lengths)) if mapped else 0), LARGE)
    if not mapped:
        return reader, _split(memoryview(bytearray(inline)), lengths)
    try:
        return reader, map_buffers(os.dup(fd), lengths)
    except BaseException:
        reader.close()
        raise


def _padded(size: int) -> int:
    return (size + 63) & ~63
