"""A file of ours: created whole, refused if it is not of its form, locked while in use.

How it is told apart, in this order: sqlite's own mark, our application id, the version, the schema word for word, the
sealed line about what it is of. All of it is read with `immutable=1`, which writes nothing and takes no lock, and none
of it is a pickle. The forms: that of a journal (form.py), and that of an engine's jobs.

A POSIX lock belongs to a process and to an inode: it ends with kill -9, a forked child does not have it, a copied file
is another inode. It has one trap: closing *any* descriptor of the file drops all locks of the process on it, those of
sqlite included. So the file is opened by us only where no connection of this process can be on it, and closed last.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hmac
import json
import os
import sqlite3
import stat
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from typing import Any
from urllib.parse import quote

from worker_dispatcher.clock import wall
from worker_dispatcher.errors import WorkerDispatcherError
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.signals import held
from worker_dispatcher.tracebacks import own

__tracebackhide__ = True  # see tracebacks

PAGE = 4096
_MARK = b"SQLite format 3\0"
_LOCK_AT = 1 << 40  # a byte that no file has, clear of those that sqlite locks
_ABOUT = "CREATE TABLE about (text BLOB, key BLOB, seal BLOB)"
_CHECKPOINT_PAGES = 4000  # 16 MB: each checkpoint waits for the disk twice
_BUSY_WAIT = 5.0  # seconds to wait for a reader that recovers the log after a kill; it takes milliseconds

# The one fact about a process that its locks do not tell it: which files it holds itself. (device, inode) -> pid,
# since a forked child has the table but not the locks.
_HELD: dict[tuple[int, int], int] = {}
_HELD_LOCK = threading.RLock()  # also while a file is opened: see the trap above
os.register_at_fork(after_in_child=_HELD_LOCK._at_fork_reinit)  # type: ignore[attr-defined]  # see threading
_READERS: list[str] = []  # the files that threads of this process are reading
_PARKED: list[int] = []  # descriptors to close once nobody reads or holds their files


@contextlib.contextmanager
def reading(real: str) -> Iterator[None]:
    """While inside, nothing of ours closes a descriptor of such a file: that would drop the locks of who reads it."""
    with _HELD_LOCK:
        _READERS.append(real)
    try:
        yield
    finally:
        with _HELD_LOCK:
            _READERS.remove(real)
            _close_parked()


def _close_parked() -> None:
    """Close what has been put away, as far as it drops no lock. Under _HELD_LOCK."""
    for fd in [] if _READERS else list(_PARKED):
        if _HELD.get(_inode(os.fstat(fd))) != os.getpid():
            _PARKED.remove(fd)
            os.close(fd)


def is_database(path: str | os.PathLike[str]) -> bool:
    """True if the file begins as those of sqlite do, of ours or not. Raises OSError."""
    with _HELD_LOCK:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            return False  # what is read from a pipe is gone from it
        if _HELD.get(_inode(found)) == os.getpid():
            return True
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(fd, len(_MARK), 0) == _MARK
        finally:
            _PARKED.append(fd)
            _close_parked()


class Form(NamedTuple):
    """What tells files of one kind from all others, and how they are spoken of.

    version: of the form; schema: the tables, after the one of the line about it. error: raised as error(path, text).
    noun: what such a file is; user: who uses one; again: what to do once a disk has room; damaged: what to do with one.
    """

    application_id: int
    version: int
    schema: tuple[str, ...]
    error: type[WorkerDispatcherError]
    noun: str
    user: str
    again: str
    damaged: str

    @property
    def foreign(self) -> str:
        return f"is not {self.noun} of worker_dispatcher; it is left as it is"


class About(NamedTuple):
    """The sealed line of a file. facts: what it is of; key: of the seals in it."""

    facts: Mapping[str, Any]
    key: bytes


def _accept(about: About) -> None:
    """Any file of the form will do."""


def locate(path: str | os.PathLike[str], form: Form) -> str:
    """The file meant, symbolic links followed, as an absolute path. Raises the form's error where none can be."""
    try:
        shown = os.fsdecode(path)
        with held():  # os.path takes what a handler raises for an answer of the system
            real = os.path.realpath(shown)
            folder = os.path.dirname(real)
            there = os.path.isdir(folder), os.path.lexists(real)
        if not there[0]:
            raise form.error(shown, f"its folder {folder} does not exist; create it first")
        status = os.stat(real) if there[1] else None
    except own(OSError, ValueError, TypeError) as error:
        if isinstance(error, form.error):
            raise
        raise form.error(str(path), f"is not a usable path: {error}") from None
    if status is not None and stat.S_ISDIR(status.st_mode):
        raise form.error(real, "is a folder; give the path of a file")
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise form.error(real, "is not a regular file")
    if status is not None and status.st_uid != os.geteuid():
        whose = f"belongs to another user (uid {status.st_uid})"
        raise form.error(real, f"{whose}, and loading results can run code; copy it if you trust it")
    if status is not None and status.st_mode & 0o022:
        text = "may be written by other users, and loading results can run code; chmod 600 it if you trust it"
        raise form.error(real, text)
    return real


def look(real: str, form: Form, again: bool = False) -> About | None:
    """What the file is about, None if it is new. Changes nothing; raises the form's error if it is of another form."""
    with _HELD_LOCK:
        try:
            size = os.stat(real).st_size
            return _look(real, form) if size else None
        except FileNotFoundError:
            return None
        except own(OSError, sqlite3.Error) as error:
            if not os.access(real, os.R_OK):
                raise form.error(real, "cannot be read: permission denied") from None
            code = _code(error) if isinstance(error, sqlite3.Error) else 0
            if code == sqlite3.SQLITE_NOTADB:
                with open(real, "rb") as file:  # no connection of this process can be on it: it is no database
                    head = file.read(PAGE)
                if _is_unfinished(form, size, head):
                    return None
                if head.startswith(_MARK) and not again:  # another process may have finished it just now
                    return look(real, form, again=True)
            if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
                raise form.error(real, form.foreign) from None
            raise trouble(real, form, error, "read") from None


def _look(real: str, form: Form) -> About:
    db = connect(real, form, "immutable=1")
    try:
        # A kill or a full disk while the log is copied into the file can leave a file that is shorter than its first
        # page says. The log has the rest; without this, sqlite would take such a file for damaged.
        db.execute("PRAGMA writable_schema = ON")
        return _about(real, form, db)
    finally:
        db.close()


def _about(real: str, form: Form, db: sqlite3.Connection) -> About:
    if db.execute("PRAGMA application_id").fetchone()[0] != form.application_id:
        raise form.error(real, form.foreign)
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version != form.version:
        text = f"has version {version}, this library reads version {form.version}; it is left as it is"
        raise form.error(real, text)
    schema = [sql for (sql,) in db.execute("SELECT sql FROM sqlite_master ORDER BY rowid")]
    ours = schema == [line.encode() for line in (_ABOUT, *form.schema)]
    lines = db.execute("SELECT text, key, seal FROM about LIMIT 2").fetchall() if ours else []
    try:
        ((text, key, sealed),) = lines
        if not hmac.compare_digest(_seal(text, key), sealed):
            raise ValueError
        known = json.loads(text)
        if known["byteorder"] != sys.byteorder:
            raise form.error(real, f"was written on a {known['byteorder']}-endian machine; it is left as it is")
        return About(known, key)
    except own(ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, form.error):
            raise
        raise form.error(real, "is damaged at its beginning; it is left as it is") from None


def _seal(text: bytes, key: bytes) -> bytes:
    return blake2b(text, key=key, digest_size=16).digest()


def _is_unfinished(form: Form, size: int, head: bytes) -> bool:
    """True if the file is empty, or a kill -9 came while it was created: its first page is written last."""
    return size <= PAGE * (2 + len(form.schema)) and size % PAGE == 0 and not any(head)


def _image(form: Form, facts: Mapping[str, Any], key: bytes) -> bytes:
    """A whole new file, as its bytes."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    try:
        db.execute(f"PRAGMA page_size = {PAGE}")
        db.execute(f"PRAGMA application_id = {form.application_id}")
        db.execute(f"PRAGMA user_version = {form.version}")
        for line in (_ABOUT, *form.schema):
            db.execute(line)
        text = json.dumps({**facts, "byteorder": sys.byteorder, "created": wall()}).encode()
        db.execute("INSERT INTO about VALUES (?, ?, ?)", (text, key, _seal(text, key)))
        image = bytearray(db.serialize())
    finally:
        db.close()
    image[18:20] = b"\x02\x02"  # the two bytes of sqlite's header that say WAL
    return bytes(image)


def is_held(real: str) -> bool:
    """Somebody has the file as a LockedFile, in this process or another; True, too, where that cannot be known."""
    with _HELD_LOCK:
        if sys.platform != "linux" or real in _READERS or _HELD.get(_inode(os.stat(real))) == os.getpid():
            return True  # and no descriptor is closed: see the trap above
        with open(real, "rb") as file:  # "hhqqi": struct flock of Linux
            asked = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, _LOCK_AT, 1, 0))
    return struct.unpack_from("h", asked) != (fcntl.F_UNLCK,)


class LockedFile:
    """The file, held for one user: nobody else can hold it, in this process or another, until `release`.

    Creates it where there is none, about `facts`. accept(about): raises the form's error for a file that is not to be
    used. db: the connection to it; about: its line; created: there was none.
    log_lost: `check` has found that others have taken away, or replaced, the log that lies beside it.
    """

    log_lost = False

    def __init__(
        self, real: str, form: Form, facts: Mapping[str, Any], accept: Callable[[About], None] = _accept
    ) -> None:
        self._real, self._form, self._fd, self._inode = real, form, -1, (0, 0)
        self._beside: list[tuple[int, int] | None] = []  # once there is a connection: what sqlite keeps beside the file
        self.db: sqlite3.Connection | None = None
        if not os.access(os.path.dirname(real), os.W_OK):
            raise form.error(real, "cannot be used: its folder must be writable")
        try:
            with _HELD_LOCK:
                self._take(accept)
                self.created = _is_unfinished(form, os.fstat(self._fd).st_size, os.pread(self._fd, PAGE, 0))
                if self.created:
                    self._create(_image(form, facts, os.urandom(16)))
                os.fchmod(self._fd, 0o600)  # before sqlite makes the files beside it, which take its mode
                self.db = connect(real, form, "mode=rw")
                self.about = _about(real, form, self.db)
                accept(self.about)
                self._beside = _beside(real)
                self.check()
        except BaseException as error:
            self.release()
            if isinstance(error, own(OSError, sqlite3.Error)):
                raise trouble(real, form, error, "opened") from None
            raise

    def _take(self, accept: Callable[[About], None]) -> None:
        """Open and lock the file. Refuses, without opening it, one that this process holds or that is not ours."""
        me = os.getpid()
        with contextlib.suppress(FileNotFoundError):
            if _HELD.get(_inode(os.stat(self._real))) == me:
                raise self._in_use()
        if (about := look(self._real, self._form)) is not None:
            accept(about)
        # From here to the connection no other may come and go: it would drop the lock when it is closed.
        self._fd = os.open(self._real, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self.check()
        self._inode = _inode(os.fstat(self._fd))
        _HELD[self._inode] = me

    def check(self) -> None:
        """Raises the form's error unless the file is ours, in its place. Taking a held lock again costs 1 us."""
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _LOCK_AT)
        except own(OSError) as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise trouble(self._real, self._form, error, "locked") from None
            raise self._in_use() from None
        try:
            there: os.stat_result | None = os.stat(self._real)
        except own(OSError):
            there = None
        if there is None or not os.path.samestat(there, os.fstat(self._fd)):
            raise self._form.error(self._real, "was removed or replaced while it was in use")
        # They are the same for as long as the connection is there: what goes into others is read by nobody.
        if self._beside and self._beside != _beside(self._real):
            self.log_lost = True
            text = f"was removed or replaced while it was in use: {self._real}-wal or -shm; leave what lies beside it"
            raise self._form.error(self._real, f"{text} alone and {self._form.again}: what was reported is kept")

    def rescue(self) -> None:
        """Copy into the file what was committed to a log that nobody else can find any more. Raises sqlite3.Error."""
        if self.log_lost and self.db is not None:
            self.db.execute("PRAGMA wal_checkpoint").fetchone()

    def _in_use(self) -> WorkerDispatcherError:
        user = self._form.user
        text = f"is in use by another {user}; wait for its end, or give this {user} a path of its own"
        return self._form.error(self._real, text)

    def _create(self, image: bytes) -> None:
        """The first page comes last: a file without it is one that nobody has finished."""
        for tail in ("-wal", "-shm", "-journal"):  # of a file that was removed: sqlite would take them for this one's
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._real + tail)
        try:
            for at in (PAGE, 0):
                part = image[at:] if at else image[:PAGE]
                done = 0
                while done < len(part):
                    done += os.pwrite(self._fd, part[done:], at + done)
            os.fsync(self._fd)
        except own(OSError):
            os.ftruncate(self._fd, 0)
            raise

    def release(self) -> None:
        """Idempotent."""
        with held():
            fd, db, self._fd, self.db = self._fd, self.db, -1, None
            try:
                if db is not None:
                    db.close()
            finally:
                with _HELD_LOCK:
                    if self._inode != (0, 0):
                        _HELD.pop(self._inode, None)
                        self._inode = (0, 0)
                    if fd >= 0:  # last: to close it drops the locks of sqlite as well, those of a reader too
                        with contextlib.suppress(OSError):
                            fcntl.lockf(fd, fcntl.LOCK_UN, 1, _LOCK_AT)
                        _PARKED.append(fd)
                        _close_parked()


def _beside(real: str) -> list[tuple[int, int] | None]:
    """Which files the log and its index are; None for one that is not there."""
    found: list[tuple[int, int] | None] = []
    for tail in ("-wal", "-shm"):
        try:
            found.append(_inode(os.stat(real + tail)))
        except own(OSError):
            found.append(None)
    return found


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def connect(real: str, form: Form, options: str) -> sqlite3.Connection:
    """options: of sqlite's URI, such as mode=rw. The connection may be used from any thread, one at a time."""
    uri = f"file:{quote(os.fsencode(real))}?{options}"
    db = sqlite3.connect(uri, uri=True, timeout=_BUSY_WAIT, isolation_level=None, check_same_thread=False)
    db.text_factory = bytes  # damage can turn a blob into a text that is not one
    try:
        db.execute("PRAGMA trusted_schema = OFF")
        if options == "mode=rw":
            if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != b"wal":
                raise form.error(real, "cannot be used: its file system cannot share memory between processes")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    except BaseException:
        db.close()
        raise
    return db


def _code(error: sqlite3.Error) -> int:
    """The primary result code; 0 where sqlite gave none."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def trouble(real: str, form: Form, error: Exception, verb: str) -> WorkerDispatcherError:
    """What an error of the disk or of sqlite means to the user. verb: what could not be done, 'written' or 'read'."""
    code = _code(error) if isinstance(error, sqlite3.Error) else 0
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        full = full or code == sqlite3.SQLITE_FULL or _no_room(real)
    if full:
        text = f"the disk is full; what was recorded before is kept: make room and {form.again}"
        return form.error(real, f"cannot be {verb}: {text}")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return form.error(real, f"is damaged ({error}); {form.damaged}")
    name = getattr(error, "sqlite_errorname", None)
    return form.error(real, f"cannot be {verb}: {error}" + (f" ({name})" if name else ""))


def _no_room(real: str) -> bool:
    try:
        room = os.statvfs(os.path.dirname(real))
    except own(OSError):
        return False
    return room.f_bavail * room.f_frsize < 1 << 16
