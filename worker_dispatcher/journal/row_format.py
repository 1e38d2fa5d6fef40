"""One row of a journal: a run of tasks with consecutive ids and one status.

    seq       1, 2, ...: the order of recording
    first, count, status
    facts     packed columns: see _pack_facts
    seal      32 bytes: a digest of the content (payload and pieces), and a keyed one of everything else and that digest
    payload   pickle of (results, metadata by id, attempts by id where more than one, and under EARLIER the times of
              those before the last by id, failure or None);
              NULL where it is among the pieces; a failure is (type, message, traceback, the item's own pickle or
              None, what is shown of it), where the last two may be missing

Large buffers of results, and payloads that are large themselves, are cut into pieces of at most PIECE bytes in a table
of their own, so that neither writing nor reading has a second copy of an array in memory.
"""

from __future__ import annotations

import pickle
import sqlite3
import struct
import types
from array import array
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, TypeAlias

from worker_dispatcher.journal.fingerprint import DIGEST_SIZE
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.records import Failure
from worker_dispatcher.script.kinds import refuse_file
from worker_dispatcher.tracebacks import own
from worker_dispatcher.wire import LARGE, unpack

EARLIER = "earlier"  # beside the ids of a row's attempts: older versions of this library look only for these
ITEM_MOST = 64 << 10  # bytes of a failed task's item that are worth keeping beside what it raised
PIECE = 4 << 20  # bytes; sqlite copies each once on its way
_NAMES_A_GLOBAL = b"\x93"  # without it loading a pickle calls nothing
_ONE_WORKER, _PAYLOAD_IN_PIECES, _OF_LOAD, _WITH_TOTAL, _WITH_INPUTS = 1, 2, 4, 8, 16
SELECT_FACTS = "SELECT seq, first, count, status, facts, seal FROM rows"
SELECT_ALL = "SELECT seq, first, count, status, facts, seal, payload FROM rows"
_HEAD = struct.Struct("<dBqQ")  # Unix time of monotonic 0; flags; id of the first piece; how many buffers
_LOAD = struct.Struct("<qdd")  # as LoadFacts has them
_TOTAL = struct.Struct("<q")
_WHERE = struct.Struct("<qqqB")  # seq, first, count, status
_CONTENT = 16  # bytes of the seal that are the content's digest


class LoadFacts(NamedTuple):
    """Of the load that a row is of. max_workers: 0 without a cap; begin, end: its window (monotonic), end infinite
    where there is no plan."""

    max_workers: int
    begin: float
    end: float


class Recorded(NamedTuple):
    """Tasks first, first + 1, ... that ended ok in an earlier run.

    starts, ends: monotonic seconds by this run's anchor, so that the anchor tells their wall clock time as it was;
    workers: their numbers in that run; metadata, attempts, earlier: by task id, where there is something to say.
    """

    first: int
    starts: array[float]
    ends: array[float]
    results: list[Any]
    workers: array[int]
    metadata: dict[int, dict[Any, Any]]
    attempts: dict[int, int]
    earlier: dict[int, array[float]]


class Facts(NamedTuple):
    """All of a row but its content. sizes: bytes of each buffer in the pieces, from piece id `piece` on."""

    seq: int
    first: int
    length: int  # how many tasks
    status: int
    shift: float  # seconds from the monotonic clock to Unix time
    starts: array[float]
    ends: array[float]
    digests: bytes
    workers: array[int]
    pids: array[int]
    piece: int
    sizes: Sequence[int]
    payload_in_pieces: bool
    dues: array[float]  # empty where it is no load
    load: LoadFacts | None
    total: int | None  # how many tasks the list had, where that was known
    inputs: Sequence[str]  # what may be shown of each item; empty where nothing may


class Packing(NamedTuple):
    """The content of a row, ready to be written. payload: None where it is the first of the buffers."""

    payload: bytes | None
    buffers: list[list[memoryview]]  # each in parts that follow each other
    digest: bytes


class Unpackable(Exception):
    """The content cannot be pickled, or not be loaded again: `error` says why."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        super().__init__(error)


def pack_content(content: Any, *, loads: bool = True) -> Packing:
    """Raises Unpackable, whatever the classes of the content raise. Runs their code. loads: what is not made of
    builtins is loaded once as a test, so that a result that cannot come back is known now and not when it is needed."""
    parts: list[Any] = []
    large: list[pickle.PickleBuffer] = []
    try:
        _dump(pickle.Pickler, content, parts, large)
    except own(BaseException):  # cloudpickle may know better; if it does not, its error is the one to show
        import cloudpickle

        class Careful(cloudpickle.Pickler):  # type: ignore[misc]
            def reducer_override(self, obj: Any) -> Any:
                refuse_file(obj)
                return super().reducer_override(obj)

        parts.clear()
        large.clear()
        try:
            _dump(Careful, content, parts, large)
        except own(BaseException) as problem:
            raise Unpackable(problem) from None
    buffers = [[one.raw()] for one in large]
    if loads and any(_NAMES_A_GLOBAL in part for part in parts):
        try:
            unpack(b"".join(parts), [one[0] for one in buffers])
        except own(BaseException) as error:
            raise Unpackable(error) from None
    return _packing(parts, buffers)


def _dump(kind: Callable[..., Any], content: Any, parts: list[Any], large: list[pickle.PickleBuffer]) -> None:
    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < LARGE:
            return True
        large.append(buffer)
        return False

    # A list of parts instead of one string: a large `bytes` is then a part as it stands, not a copy.
    kind(types.SimpleNamespace(write=parts.append), 5, buffer_callback=keep_inside).dump(content)


def pack_failure(failure: Failure) -> tuple[str, str, str, bytes | None, str]:
    """A failure as it stands in a row. Runs code of its item's classes; an item that is large, or that
    cannot be pickled, is left out."""
    parts: list[Any] = []
    large: list[pickle.PickleBuffer] = []
    try:
        _dump(pickle.Pickler, failure.item, parts, large)
    except own(Exception):
        parts = []
    item = b"".join(parts)
    kept = item if item and not large and len(item) <= ITEM_MOST else None
    return failure.type, failure.message, failure.traceback, kept, failure.input


def _packing(parts: list[Any], buffers: list[list[memoryview]]) -> Packing:
    payload = b"".join(parts) if sum(map(len, parts)) <= PIECE else None
    if payload is None:
        buffers.insert(0, [memoryview(part) for part in parts])
    state = blake2b(payload or b"", digest_size=_CONTENT)
    for one in buffers:
        for part in one:
            state.update(part)
    return Packing(payload, buffers, state.digest())


def pieces_of(packing: Packing) -> Iterator[memoryview]:
    """The buffers cut into pieces, in order; a new buffer begins a new piece."""
    for parts in packing.buffers:
        if len(parts) == 1:
            view = parts[0]
            yield from (view[at : at + PIECE] for at in range(0, len(view), PIECE))
            continue
        gathered = bytearray()
        for view in parts:
            at = 0
            while at < len(view):
                room = PIECE - len(gathered)
                gathered += view[at : at + room]
                at += room
                if len(gathered) >= PIECE:
                    yield memoryview(gathered)
                    gathered = bytearray()
        if gathered:
            yield memoryview(gathered)


def pack_facts(
    packing: Packing,
    piece: int,
    shift: float,
    times: tuple[Sequence[float], Sequence[float]],
    digests: bytes | bytearray,
    workers: Sequence[int],
    pids: Sequence[int],
    dues: Sequence[float] = (),
    load: LoadFacts | None = None,
    total: int | None = None,
    inputs: Sequence[str] = (),
) -> bytes:
    """workers, pids: one for each task, or one for all; dues: one for each task of a load; inputs: one for each
    task, or none. The last two are missing in older rows, and older versions of this library read past them."""
    flags = (_ONE_WORKER if len(workers) == 1 else 0) | (_PAYLOAD_IN_PIECES if packing.payload is None else 0)
    flags |= (load is not None) * _OF_LOAD | (total is not None) * _WITH_TOTAL | any(inputs) * _WITH_INPUTS
    sizes = [sum(map(len, parts)) for parts in packing.buffers]
    columns = [_doubles(times[0]), _doubles(times[1]), digests, array("i", workers).tobytes()]
    columns += [array("i", pids).tobytes(), struct.pack(f"<{len(sizes)}Q", *sizes)]
    columns += [_doubles(dues), _LOAD.pack(*load)] if load is not None else []
    columns += [_TOTAL.pack(total)] if total is not None else []
    columns += ["\0".join(inputs).encode("utf-8", "backslashreplace")] if any(inputs) else []
    return _HEAD.pack(shift, flags, piece, len(sizes)) + b"".join(columns)


def _doubles(column: Sequence[float]) -> bytes:
    return (column if isinstance(column, array) else array("d", column)).tobytes()


def read_facts(row: tuple[Any, ...]) -> Facts:
    """Of a row as SELECT_FACTS or SELECT_ALL gives it, whose seal holds."""
    seq, first, count, status, facts = row[:5]
    shift, flags, piece, buffers = _HEAD.unpack_from(facts)
    columns, at = [], _HEAD.size
    each = 1 if flags & _ONE_WORKER else count
    of_load = bool(flags & _OF_LOAD)
    for size in (8 * count, 8 * count, DIGEST_SIZE * count, 4 * each, 4 * each, 8 * buffers, 8 * count * of_load):
        columns.append(facts[at : at + size])
        at += size
    starts, ends = array("d", columns[0]), array("d", columns[1])
    workers, pids = array("i", columns[3]), array("i", columns[4])
    if each != count:
        workers, pids = workers * count, pids * count
    sizes = struct.unpack(f"<{buffers}Q", columns[5])
    in_pieces = bool(flags & _PAYLOAD_IN_PIECES)
    dues, load = array("d", columns[6]), LoadFacts(*_LOAD.unpack_from(facts, at)) if of_load else None
    at += _LOAD.size * of_load
    total = _TOTAL.unpack_from(facts, at)[0] if flags & _WITH_TOTAL else None
    at += _TOTAL.size * (total is not None)
    inputs = facts[at:].decode().split("\0") if flags & _WITH_INPUTS else ()
    columns_of_all = starts, ends, columns[2], workers, pids
    more = dues, load, total, inputs
    return Facts(seq, first, count, status, shift, *columns_of_all, piece, sizes, in_pieces, *more)


def seal(key: bytes, where: tuple[int, int, int, int], facts: bytes, content: bytes) -> bytes:
    return content + blake2b(_WHERE.pack(*where) + content + facts, key=key, digest_size=16).digest()


def seal_holds(key: bytes, row: tuple[Any, ...]) -> bool:
    """True if everything of the row but its content is as it was written; the row may be anything."""
    try:
        seq, first, count, status, facts, sealed = row[:6]
        return bool(sealed == seal(key, (seq, first, count, status), facts, sealed[:_CONTENT]))
    except (ValueError, TypeError, struct.error):  # columns of another type, or out of range
        return False


Content: TypeAlias = tuple[Any, list[memoryview]]
"""A pickle, and its buffers."""


def read_row(db: sqlite3.Connection, key: bytes, row: Any) -> tuple[Facts, Content] | None:
    """A row as SELECT_ALL gives it; None if it is not there or is damaged. Raises sqlite3.Error."""
    facts = read_facts(row) if row is not None and seal_holds(key, row) else None
    where = None if facts is None else (facts.payload_in_pieces, facts.piece, facts.sizes, row[5][:_CONTENT])
    content = None if where is None else read_content(db, *where, row[6])
    return None if facts is None or content is None else (facts, content)


def read_content(
    db: sqlite3.Connection, in_pieces: bool, piece: int, sizes: Sequence[int], digest: bytes, payload: Any
) -> Content | None:
    """What was packed, from its payload, or with that in pieces, and from pieces of these sizes from an id on. None
    where it is not what was written: nothing of it may be loaded then.

    Each buffer is filled piece by piece: there is never a second copy. Raises sqlite3.Error.
    """
    if in_pieces != (payload is None) or not isinstance(payload, bytes | None):
        return None
    state = blake2b(payload or b"", digest_size=_CONTENT)
    buffers = []
    for size in sizes:
        whole, at = memoryview(bytearray(size)), 0
        while at < size:
            found = db.execute("SELECT data FROM pieces WHERE id = ?", (piece,)).fetchone()
            if found is None or not isinstance(found[0], bytes) or not 0 < len(found[0]) <= size - at:
                return None
            whole[at : at + len(found[0])] = found[0]
            at, piece = at + len(found[0]), piece + 1
        state.update(whole)
        buffers.append(whole)
    if state.digest() != digest:
        return None
    return (buffers[0], buffers[1:]) if payload is None else (payload, buffers)
