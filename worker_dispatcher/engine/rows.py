"""The file of an engine's jobs: one row each, sealed; what jobs call, and what they gave, is beside it, sealed too.

    jobs      number, id, name, kind, status, times (Unix seconds, 0: not yet), attempts, interrupted, needs (ids, as
              JSON), why, seal, call, result
    call      the job itself, pickled: its class, function, arguments and settings; NULL where it cannot be pickled
    result    what it returned, or raised, pickled; NULL where there is none, or it cannot be pickled
    pieces    large buffers of both: see journal.row_format

Nothing is unpickled before its seal was found right; a reader of rows unpickles nothing at all.
"""

from __future__ import annotations

import json
import os
import sqlite3
import struct
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

from worker_dispatcher.engine.errors import StoreError
from worker_dispatcher.engine.status import STATUSES
from worker_dispatcher.journal.file import PAGE, Form, connect, locate, look, reading, trouble
from worker_dispatcher.journal.row_format import PIECE, Content, Packing, pieces_of, read_content
from worker_dispatcher.named_tuple import NamedTuple

__tracebackhide__ = True  # see tracebacks

STORE = Form(
    0x57446A73,  # "WDjs"
    1,
    (
        "CREATE TABLE jobs (number INTEGER PRIMARY KEY, id TEXT, name TEXT, kind TEXT, status TEXT, submitted REAL,"
        " begun REAL, ended REAL, attempts INTEGER, interrupted INTEGER, needs TEXT, why TEXT, seal BLOB, call BLOB,"
        " result BLOB)",
        "CREATE TABLE pieces (id INTEGER PRIMARY KEY, data BLOB)",
    ),
    StoreError,
    "a store of jobs",
    "engine",
    "make the engine again with resume=True",
    "take a copy that is whole, or remove it to begin anew",
)
CALL, RESULT = "call", "result"
_COLUMNS = "number, id, name, kind, status, submitted, begun, ended, attempts, interrupted, needs, why"
_ATTEMPTS = 3  # where engines begin or end while it is read
_SEAL = 16  # bytes
_HEAD = struct.Struct("<?qI")  # the payload is in pieces; id of the first piece; how many buffers
_Read = TypeVar("_Read")


class Row(NamedTuple):
    """A job in its file. number: by the order of submits; kind: the name of its class; submitted, begun, ended: Unix
    seconds, 0 if it has not; begun: of the last attempt; interrupted: how often its process ended while it ran; needs:
    the ids of jobs that it waits for; why: the traceback of what it raised, or why it was cancelled."""

    number: int
    id: str
    name: str
    kind: str
    status: str
    submitted: float
    begun: float
    ended: float
    attempts: int
    interrupted: int
    needs: Sequence[str]
    why: str


def columns_of(row: Row, key: bytes) -> tuple[Any, ...]:
    """A row as it is written, with its seal last."""
    needs = json.dumps(list(row.needs)) if row.needs else "[]"
    columns = (row.number, *map(_text, row[1:4]), *row[4:10], needs, _text(row.why))
    return *columns, _seal(key, columns)


def _text(text: str) -> str:
    """A text without what no file can hold."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _seal(key: bytes, columns: tuple[Any, ...]) -> bytes:
    return blake2b(repr(columns).encode(), key=key, digest_size=_SEAL).digest()


def rows_of(db: sqlite3.Connection, path: str, key: bytes) -> Iterator[Row]:
    """All rows, in the order of submits. Raises StoreError for one that is damaged, and sqlite3.Error."""
    for found in db.execute(f"SELECT {_COLUMNS}, seal FROM jobs ORDER BY number"):
        try:
            columns = tuple(one.decode() if isinstance(one, bytes) else one for one in found[:-1])
            if found[-1] != _seal(key, columns) or columns[4] not in STATUSES:
                raise ValueError
            yield Row._make((*columns[:10], json.loads(columns[10]), columns[11]))
        except (ValueError, TypeError, AttributeError):
            name = found[1].decode(errors="replace") if isinstance(found[1], bytes) else found[1]
            text = f"is damaged: the row of job {name} is not as it was written; {STORE.damaged}"
            raise StoreError(path, text, str(name), is_damage=True) from None


def write_content(
    db: sqlite3.Connection, key: bytes, number: int, what: str, packing: Packing, piece: int
) -> tuple[bytes, int]:
    """(what stands in a row for a call or a result, the id after those of the pieces that its buffers went to, from
    `piece` on). Raises sqlite3.Error."""
    sizes = [sum(map(len, parts)) for parts in packing.buffers]
    head = _HEAD.pack(packing.payload is None, piece, len(sizes)) + struct.pack(f"<{len(sizes)}Q", *sizes)
    for data in pieces_of(packing) if sizes else ():
        db.execute("INSERT INTO pieces VALUES (?, ?)", (piece, data))
        piece += 1
    sealed = _content_seal(key, number, what, packing.digest, head)
    return sealed + packing.digest + head + (packing.payload or b""), piece


def _content_seal(key: bytes, number: int, what: str, digest: bytes, head: bytes) -> bytes:
    return blake2b(f"{what}{number}".encode() + digest + head, key=key, digest_size=_SEAL).digest()


class _Where(NamedTuple):
    """Of a call or a result: see read_content."""

    in_pieces: bool
    piece: int
    sizes: tuple[int, ...]
    digest: bytes
    payload: bytes | None


def _where(key: bytes, number: int, what: str, blob: Any) -> _Where | None:
    """None where it is damaged."""
    try:
        sealed, digest, at = blob[:_SEAL], blob[_SEAL : 2 * _SEAL], 2 * _SEAL
        in_pieces, piece, count = _HEAD.unpack_from(blob, at)
        end = at + _HEAD.size + 8 * count
        if _content_seal(key, number, what, digest, blob[at:end]) != sealed:
            return None
        sizes = struct.unpack_from(f"<{count}Q", blob, at + _HEAD.size)
        return _Where(in_pieces, piece, sizes, digest, None if in_pieces else blob[end:])
    except (TypeError, struct.error, OverflowError):
        return None


def content_of(db: sqlite3.Connection, path: str, key: bytes, row: Row, what: str) -> Content | None:
    """The pickle of a call or a result, and its buffers; None where the row has none. Raises StoreError where it is
    damaged, and sqlite3.Error."""
    found = db.execute(f"SELECT {what} FROM jobs WHERE number = ?", (row.number,)).fetchone()
    if found is not None and found[0] is None:
        return None
    where = None if found is None else _where(key, row.number, what, found[0])
    content = None if where is None else read_content(db, *where)
    if content is None:
        text = f"is damaged: the {what} of job {row.name} ({row.id}) is not as it was written; {STORE.damaged}"
        raise StoreError(path, text, row.id, is_damage=True)
    return content


def drop_pieces(db: sqlite3.Connection, key: bytes, number: int, *whats: str) -> None:
    """Forget the pieces of a call or a result. Raises sqlite3.Error."""
    found = db.execute(f"SELECT {', '.join(whats)} FROM jobs WHERE number = ?", (number,)).fetchone()
    for what, blob in zip(whats, found or (), strict=False):
        where = _where(key, number, what, blob)
        if where is not None and where.sizes:
            last = where.piece + sum(-(-size // PIECE) for size in where.sizes)
            db.execute("DELETE FROM pieces WHERE id >= ? AND id < ?", (where.piece, last))


def read_store(path: str | os.PathLike[str]) -> tuple[str, list[Row]]:
    """(the file, its rows). Changes and unpickles nothing; an engine may be writing to it. Raises StoreError."""
    real = locate(path, STORE)
    if not os.path.exists(real):
        raise StoreError(real, "does not exist")
    return real, read(real, lambda db, key: list(rows_of(db, real, key))) or []


def read(real: str, how: Callable[[sqlite3.Connection, bytes], _Read]) -> _Read | None:
    """What how(db, key of the seals) reads from a file, which an engine may be writing to; once more where one began
    or ended meanwhile. None for a file that is empty. Raises StoreError."""
    with reading(real):
        about = look(real, STORE)
        if about is None:
            return None
        check_whole(real)
        for attempt in range(_ATTEMPTS):
            log, before = _has_log(real), _state(real)
            try:
                # Without a log nobody writes, and reading must not leave one behind.
                db = connect(real, STORE, "mode=ro" if log else "immutable=1")
                try:
                    found = how(db, about.key)
                finally:
                    db.close()
            except (sqlite3.Error, StoreError) as error:
                if attempt == _ATTEMPTS - 1 or before == _state(real):
                    raise error if isinstance(error, StoreError) else trouble(real, STORE, error, "read") from None
                continue
            if log or before == _state(real):
                break
        return found


def check_whole(real: str) -> None:
    """Raises StoreError for a file that was cut in the midst of a page, which sqlite does not see, and of which no log
    has the rest."""
    if os.path.exists(real) and os.path.getsize(real) % PAGE and not _has_log(real):
        raise StoreError(real, f"is damaged: a part of it is missing; {STORE.damaged}", is_damage=True)


def _has_log(real: str) -> bool:
    return os.path.exists(real + "-wal") and os.path.getsize(real + "-wal") > 0


def _state(real: str) -> tuple[bool, int, int, int]:
    """What tells whether somebody wrote meanwhile, if there is no log."""
    status = os.stat(real)
    return _has_log(real), status.st_ino, status.st_size, status.st_mtime_ns
