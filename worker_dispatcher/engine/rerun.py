"""Jobs of a store that are to be run again, by the engine that resumes it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence

from worker_dispatcher.engine.errors import JobNotFoundError, StoreError
from worker_dispatcher.engine.rows import CALL, RESULT, STORE, Row, columns_of, content_of, drop_pieces, rows_of
from worker_dispatcher.engine.status import FINAL, PENDING
from worker_dispatcher.journal.file import LockedFile, locate, trouble

__tracebackhide__ = True  # see tracebacks


def rerun(path: str | os.PathLike[str], ids: Iterable[str]) -> list[Row]:
    """Mark jobs of a store pending, and the jobs that wait for them, at any depth: all that have ended of these, as
    they are now, in the order of submits. What they gave is forgotten. All of them or none.

    Raises JobNotFoundError, and StoreError where the file cannot be used, an engine has it, or a job cannot be run
    again."""
    real = locate(path, STORE)
    if not os.path.exists(real):
        raise StoreError(real, "does not exist")
    file = LockedFile(real, STORE, {})
    try:
        db, key = file.db, file.about.key
        assert db is not None
        marked = [_pending(row) for row in _with_followers(list(rows_of(db, real, key)), ids) if row.status in FINAL]
        for row in marked:
            if content_of(db, real, key, row, CALL) is None:
                text = f"job {row.name} ({row.id}) cannot be run again: it could not be pickled; submit it anew"
                raise StoreError(real, text, row.id)
        _write(db, key, marked)
        file.check()
    except sqlite3.Error as error:
        raise trouble(real, STORE, error, "written") from None
    finally:
        file.release()
    return marked


def _with_followers(rows: Sequence[Row], ids: Iterable[str]) -> list[Row]:
    """The rows of these jobs, and of those that wait for them."""
    known = {row.id for row in rows}
    followers: dict[str, list[str]] = {}
    for row in rows:
        for need in row.needs:
            followers.setdefault(need, []).append(row.id)
    left, found = list(ids), set[str]()
    for id in left:
        if id not in known:
            raise JobNotFoundError(id)
    while left:
        if (id := left.pop()) not in found:
            found.add(id)
            left += followers.get(id, ())
    return [row for row in rows if row.id in found]


def _pending(row: Row) -> Row:
    return row._replace(status=PENDING, begun=0.0, ended=0.0, why="")


def _write(db: sqlite3.Connection, key: bytes, rows: Iterable[Row]) -> None:
    db.execute("BEGIN IMMEDIATE")
    for row in rows:
        drop_pieces(db, key, row.number, RESULT)
        seal = columns_of(row, key)[-1]
        text = "UPDATE jobs SET status = ?, begun = ?, ended = ?, why = ?, seal = ?, result = NULL WHERE number = ?"
        db.execute(text, (row.status, row.begun, row.ended, row.why, seal, row.number))
    db.execute("COMMIT")
