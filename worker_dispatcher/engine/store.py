"""The store of an engine: its jobs are on disk before anybody hears what has become of them."""

from __future__ import annotations

import os
import sqlite3
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

from worker_dispatcher.clock import wall
from worker_dispatcher.engine.errors import ExecutorError, StoreError
from worker_dispatcher.engine.events import Command, Moved
from worker_dispatcher.engine.log import logger
from worker_dispatcher.engine.rows import (
    CALL,
    RESULT,
    STORE,
    Row,
    check_whole,
    columns_of,
    content_of,
    drop_pieces,
    read,
    read_store,
    rows_of,
    write_content,
)
from worker_dispatcher.engine.status import DONE, FAILED, FINAL
from worker_dispatcher.errors import RemoteTraceback, WorkerWarning
from worker_dispatcher.execute import catch, describe
from worker_dispatcher.journal.file import LockedFile, locate, look, trouble
from worker_dispatcher.journal.fingerprint import told
from worker_dispatcher.journal.row_format import Content, Packing, Unpackable, pack_content
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.tracebacks import own
from worker_dispatcher.wire import unpack

if TYPE_CHECKING:
    from worker_dispatcher.engine.job import Job

__tracebackhide__ = True  # see tracebacks

_INSERT = f"INSERT OR REPLACE INTO jobs VALUES ({', '.join('?' * 15)})"
_SET = (
    "UPDATE jobs SET name = ?, kind = ?, status = ?, submitted = ?, begun = ?, ended = ?, attempts = ?,"
    " interrupted = ?, needs = ?, why = ?, seal = ?"
)
_GO_ON, _END = f"{_SET} WHERE number = ?", f"{_SET}, result = ? WHERE number = ?"


class Kept:
    """What a store knows of a job. number: of its row, 0 once it is forgotten; has_row: there may be one; is_fresh:
    what it calls is still to be written; call: that, None where it cannot be pickled; is_back: an earlier process has
    submitted it, this one has not yet; is_lost: what it calls could not be loaded; interrupted: how often a process
    ended while it ran."""

    __slots__ = ("call", "has_row", "interrupted", "is_back", "is_fresh", "is_lost", "kind", "needs", "number")

    def __init__(
        self, number: int, kind: str, needs: Sequence[str], interrupted: int = 0, *, has_row: bool = False
    ) -> None:
        self.has_row = has_row
        self.number, self.kind, self.needs, self.interrupted = number, kind, needs, interrupted
        self.call: Packing | None = None
        self.is_fresh = self.is_back = self.is_lost = False


class _Change(NamedTuple):
    """What is to be written of a job."""

    kept: Kept
    row: Row
    result: Packing | None


class Reader:
    """What the file of an engine's jobs has. Thread-safe; changes nothing. `load` runs code of the user's classes.

    rows: of the jobs that were there when it was opened; emptied by who brings them back.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises StoreError."""
        self.path, self.rows = read_store(path)

    def content(self, row: Row, what: str) -> Content | None:
        return read(self.path, lambda db, key: content_of(db, self.path, key, row, what))

    def load(self, row: Row, what: str) -> Any:
        """What a job of the file calls, or gave. Raises StoreError where it is not there, damaged, or cannot be loaded
        here. Runs code of the user's classes."""
        content = self.content(row, what)
        thing = {CALL: "function, or an argument,", RESULT: "exception" if row.status == FAILED else "result"}[what]
        if content is None:
            text = f"the {thing} of job {row.name} ({row.id}) is not there: it could not be pickled"
            raise StoreError(self.path, text, row.id)
        value, error = catch(unpack, *content)
        if error is not None:
            text = f"the {thing} of job {row.name} ({row.id}) cannot be loaded here: {told(error)}"
            raise StoreError(self.path, text, row.id)
        return value

    def end_of(self, row: Row) -> tuple[Any, BaseException | None]:
        """What a job of the file has returned, or raised; StoreError as the latter where it cannot be had."""
        try:
            value = self.load(row, RESULT)
        except StoreError as error:
            if row.status == FAILED and row.why:
                error.__cause__ = RemoteTraceback(row.why)
            return None, error
        if row.status != FAILED:
            return value, None
        value.__cause__ = value.__cause__ or RemoteTraceback(row.why)
        return None, value


class Store(Reader):
    """Keeps the jobs of one engine in a file. What `write` has returned for survives a kill -9 of anything; against
    power loss, what was written up to the last checkpoint does. One process at a time has the file.

    Thread-safe. Shared, under _mutex: _held, _left, _piece, broken. Waits: for the disk. `pack`, `write` and `load` run
    code of the user's classes, outside the mutex. broken: why nothing is written any more.
    """

    def __init__(self, path: str | os.PathLike[str], failure_of: Callable[[Job, Any], BaseException]) -> None:
        """Open or create. Raises StoreError; a file that is refused is left untouched. failure_of(job, why): what is
        told of a job that failed for a reason that is no exception."""
        self.path = locate(path, STORE)
        self.broken: StoreError | None = None
        self._failure_of = failure_of
        self._pid = os.getpid()
        self._mutex = threading.RLock()
        self._held: list[LockedFile] = []
        self._left: tuple[int, ...] | None = None  # how the file was when it was let go
        self._end = weakref.finalize(self, _release, self._held, self._pid)
        db = self._ready()
        try:
            self.rows = list(rows_of(db, self.path, self._key))
            self._piece = (db.execute("SELECT max(id) FROM pieces").fetchone()[0] or 0) + 1
        except BaseException as error:
            self._end()
            if isinstance(error, sqlite3.Error):
                raise self._trouble(error, "opened") from None
            raise
        self._numbers = {row.id: row.number for row in self.rows}
        self._next = max(self._numbers.values(), default=0) + 1

    def _ready(self) -> sqlite3.Connection:
        """The connection to the file, which is opened again if it was let go."""
        if self.broken is not None:
            raise self.broken
        if self._pid != os.getpid():
            raise StoreError(self.path, "was opened by another process; make an engine of this one's own")
        if not self._held:
            if self._left is not None and self._left != _state(self.path):
                text = "was changed since this engine was stopped; make a new one with resume=True"
                raise StoreError(self.path, text)
            look(self.path, STORE)
            check_whole(self.path)
            self._held.append(LockedFile(self.path, STORE, {}))
            self._key = self._held[0].about.key
        db = self._held[0].db
        assert db is not None
        return db

    def open(self) -> None:
        """Have the file again after `release`. Raises StoreError."""
        with self._mutex:
            if self.broken is None:
                self._ready()

    def release(self) -> None:
        """Let the file go, until it is needed again. Idempotent."""
        with self._mutex:
            if self._held and self._pid == os.getpid():
                _release(self._held, self._pid)
                self._left = _state(self.path)

    def content(self, row: Row, what: str) -> Content | None:
        with self._mutex:
            if not self._held or self._pid != os.getpid():
                return super().content(row, what)
            db = self._held[0].db
            assert db is not None
            try:
                return content_of(db, self.path, self._key, row, what)
            except sqlite3.Error as error:
                raise self._trouble(error, "read") from None

    # What is written

    def pack(self, job: Job) -> None:
        """Make ready to be written what a job calls, before it is submitted. Warns where it cannot be pickled."""
        kept = job.kept
        # The row of an id is that of the job which has it; one that had it before may have kept another's number.
        if kept is None or not kept.number or kept.number != self._numbers.get(job.id, kept.number):
            kept = job.kept = self._new(job.id)
        kept.is_back = False
        if not kept.is_lost:  # else what is there may be loaded elsewhere
            kept.kind, kept.needs = type(job).__name__, job.waits_for
            kept.call, kept.is_fresh = _packed_call(job), True

    def _new(self, job_id: str) -> Kept:
        with self._mutex:
            number = self._numbers.get(job_id)
            if number is not None:
                return Kept(number, "", (), has_row=True)
            number = self._numbers[job_id] = self._next
            self._next += 1
            return Kept(number, "", ())

    def write(self, commands: Iterable[Command]) -> None:
        """Make durable, in one transaction, what becomes of jobs. Raises StoreError where that fails; nothing is
        written from then on."""
        last = {one.entry.id: one for one in commands if type(one) is Moved and one.entry.job.kept is not None}
        if not last or self.broken is not None:
            return
        changes = [self._change(move) for move in last.values()]
        with self._mutex:
            self._commit(lambda db: self._put_all(db, changes))

    def forget(self, job: Job) -> None:
        """Nothing of a job is on disk any more. Raises StoreError."""
        kept = job.kept
        if kept is None or not kept.number:
            return
        with self._mutex:
            number, kept.number = kept.number, 0
            self._numbers.pop(job.id, None)
            self._commit(lambda db: self._delete(db, number))

    def _commit(self, what: Callable[[sqlite3.Connection], Any]) -> None:
        try:
            db = self._ready()
            file = self._held[0]
            file.check()
            db.execute("BEGIN IMMEDIATE")
            what(db)
            db.execute("COMMIT")
            file.check()  # again: what went into a log that was taken away meanwhile is not durable
        except (sqlite3.Error, StoreError, MemoryError) as error:
            raise self._fail(error if isinstance(error, StoreError) else self._trouble(error, "written")) from None

    def _trouble(self, error: Exception, verb: str) -> StoreError:
        problem = trouble(self.path, STORE, error, verb)
        assert isinstance(problem, StoreError)
        return problem

    def _fail(self, error: StoreError) -> StoreError:
        self.broken = error
        try:
            for file in self._held:
                if file.db is not None and file.db.in_transaction:
                    file.db.execute("ROLLBACK")
                file.rescue()
        except sqlite3.Error as problem:  # closing the connection does the same
            error.add_note(f"and could not be rolled back: {problem}")
        return error

    def _change(self, move: Moved) -> _Change:
        """What a move means for the row of its job. Runs code of the user."""
        job, ended, what = move.entry.job, 0.0, move.what
        kept, result, why = job.kept, None, ""
        if move.new in FINAL:
            ended = wall()
        if move.new == DONE:
            result, why = _packed_result(job, what)
        elif move.new == FAILED:
            error = what if isinstance(what, BaseException) else self._failure_of(job, what)
            result, why = _packed_error(error)
        elif move.new in FINAL:
            why = str(what or "")
        times = job.submitted_at, job.begun_at, ended
        facts = (job.name, kept.kind, move.new, *times, move.entry.attempt, kept.interrupted, kept.needs, why)
        return _Change(kept, Row(kept.number, job.id, *facts), result)

    def _put_all(self, db: sqlite3.Connection, changes: Sequence[_Change]) -> None:
        for change in changes:
            if change.kept.number:
                self._put(db, change)

    def _put(self, db: sqlite3.Connection, change: _Change) -> None:
        kept, row, key = change.kept, change.row, self._key
        result = None if change.result is None else self._content(db, row.number, RESULT, change.result)
        columns = columns_of(row, key)
        if kept.is_fresh:
            call = None
            if kept.has_row:
                drop_pieces(db, key, row.number, CALL, RESULT)
            if kept.call is not None:
                call = self._content(db, row.number, CALL, kept.call)
            db.execute(_INSERT, (*columns, call, result))
            self._numbers[row.id] = row.number  # the job that had it may have been forgotten meanwhile
            kept.call, kept.is_fresh, kept.has_row = None, False, True
            return
        if row.status in FINAL:
            db.execute(_END, (*columns[2:], result, row.number))
        else:
            db.execute(_GO_ON, (*columns[2:], row.number))

    def _content(self, db: sqlite3.Connection, number: int, what: str, packing: Packing) -> bytes:
        blob, self._piece = write_content(db, self._key, number, what, packing, self._piece)
        return blob

    def _delete(self, db: sqlite3.Connection, number: int) -> None:
        drop_pieces(db, self._key, number, CALL, RESULT)
        db.execute("DELETE FROM jobs WHERE number = ?", (number,))


def _release(held: list[LockedFile], pid: int) -> None:
    if pid == os.getpid():  # else they are another's, and it still has them
        while held:
            held.pop().release()


def _state(path: str) -> tuple[int, ...]:
    """What tells whether somebody has written to a file that nobody of this process has."""
    try:
        status = os.stat(path)
    except own(OSError):
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _packed_call(job: Job) -> Packing | None:
    """A job as it is kept; None, with a warning, where it cannot be pickled."""
    try:
        return pack_content(job, loads=False)
    except Unpackable as problem:
        error = problem.error
    if job.callback is not None or job.error_callback is not None:
        bare = copy(job)
        bare.callback = bare.error_callback = None
        try:
            packed = pack_content(bare, loads=False)
        except Unpackable as problem:
            error = problem.error
        else:
            text = f"the callbacks of job {job.name} ({job.id}) cannot be pickled; a resumed one is without them"
            warnings.warn(f"{text}: {told(error)}", WorkerWarning, stacklevel=5)
            return packed
    text = f"job {job.name} ({job.id}) cannot be resumed should this process die: it cannot be pickled"
    warnings.warn(f"{text}: {told(error)}", WorkerWarning, stacklevel=5)
    return None


def _packed_result(job: Job, result: Any) -> tuple[Packing | None, str]:
    """(a result, why it is not there)"""
    try:
        return pack_content(result), ""
    except Unpackable as problem:
        why = f"its result could not be kept: {told(problem.error)}"
        logger.warning("%s is done, and %s", job, why)
        return None, why


def _packed_error(error: BaseException) -> tuple[Packing | None, str]:
    """(an exception, its traceback)"""
    kind, message, traceback = describe(error)
    try:
        return pack_content(error), traceback
    except Unpackable:
        return pack_content(ExecutorError(f"{kind}: {message}")), traceback
