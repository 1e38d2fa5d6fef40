"""What tasks log in a Dask worker, until the program whose tasks they are fetches it.

    a task's thread ─▶ Forwarding, of the root logger ─▶ Outbox of its pool ─ "there is some" ─▶ Link
    a worker process of ours ─────────────────────────▶     its socket     ◀── take ── ── ── ── ┘
A Dask worker serves many programs: a context variable says whose task logs. Records are fetched a chunk at a time, and
not sent: what is not fetched fills the socket, and whoever logs waits.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar

from worker_dispatcher.pools.protocol.log_forwarding import (
    CAPTURED,
    DISABLED,
    LOST,
    MESSAGE_BYTES,
    handled_here,
    levels,
    packed,
)

__all__ = ["Outbox", "within"]

_CHUNK = 128 << 10  # bytes that are fetched at once, and no more than one record over it
_OWN = "distributed"  # loggers of Dask, which are its own


class Outbox:
    """Records of one pool in one Dask worker. What a process pool sends its workers' to: see Logs.

    Any thread: put. Owned by the loop of the Dask worker: what watches the socket; take and rest are called there.
    Waits: whoever logs, on the socket, unless it `drops`.
    """

    def __init__(
        self, wanted: Mapping[str, int], loop: asyncio.AbstractEventLoop, tell: Callable[[], object], *, drops: bool
    ) -> None:
        """wanted: levels, as the program has set them. tell: says that there is something to fetch, in the loop: once,
        and again after nothing was found."""
        self.wanted, self.hurry, self._drops = wanted, False, drops
        self._loop, self._tell = loop, tell
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.theirs = self._theirs.fileno()
        self._mutex = threading.Lock()
        self._lost, self._closed = 0, False
        _desk.add(self)
        loop.call_soon_threadsafe(self._watch)

    def fileno(self) -> int:
        return self._ours.fileno()

    def hear(self) -> None:
        """The loop hears it by itself."""

    @contextmanager
    def in_this_context(self) -> Iterator[None]:
        """What is logged from here on, and in copies of the context that are made here, comes here."""
        token = _whose.set(self)
        try:
            yield
        finally:
            _whose.reset(token)

    def put(self, record: logging.LogRecord) -> bool:
        """False once this is closed: it is not ours any more."""
        if self._closed:
            return False
        with self._mutex:
            lost, self._lost = self._lost, 0
        how = socket.MSG_NOSIGNAL | (socket.MSG_DONTWAIT if self._drops else 0)
        try:
            self._theirs.send(LOST.pack(lost) + packed(record), how)
        except OSError:  # it is full, where that is not waited for; or it was closed
            with self._mutex:
                self._lost += lost + 1
        return True

    def close(self) -> None:
        """Nothing comes any more; what is there can be fetched."""
        if self._closed:
            return
        self._closed = True
        _desk.remove(self)
        with suppress(OSError):
            self._ours.shutdown(socket.SHUT_RD)  # who waits to log goes on, and what is there can be read

    # In the loop

    def _watch(self) -> None:
        if self._ours.fileno() >= 0:
            self._loop.add_reader(self._ours.fileno(), self._heard)

    def _heard(self) -> None:
        self._loop.remove_reader(self._ours.fileno())
        self._tell()

    def take(self) -> list[bytes]:
        """The oldest messages."""
        found, size = list[bytes](), 0
        while size < _CHUNK:
            try:
                message = self._ours.recv(MESSAGE_BYTES, socket.MSG_DONTWAIT)
            except OSError:
                message = b""
            if not message:
                break
            found.append(message)
            size += len(message)
        if not found and not self._closed:
            self._watch()
        return found

    def rest(self) -> list[bytes]:
        """After it was closed: all that was not fetched."""
        if self._ours.fileno() < 0:
            return []
        self._loop.remove_reader(self._ours.fileno())
        found = list[bytes]()
        while chunk := self.take():
            found += chunk
        self._ours.close()
        self._theirs.close()
        return [*found, LOST.pack(self._lost)] if self._lost else found

    def give_up(self) -> None:
        """Close; nobody will fetch anything. From any thread."""
        self.close()
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self.rest)


def within(box: Outbox | None) -> AbstractContextManager[None]:
    """See `in_this_context`; for none as it is without."""
    return nullcontext() if box is None else box.in_this_context()


_whose: ContextVar[Outbox | None] = ContextVar("worker_dispatcher_logs", default=None)


class _Forwarding(logging.Handler):
    """Of the root logger of a Dask worker, while there are outboxes."""

    def handle(self, record: logging.LogRecord) -> bool:
        # Without the lock of a handler: one task that waits for its program would stop all others, and Dask's loop.
        if handled_here(logging, record, self):
            return True
        box, last = _whose.get(), logging.lastResort
        if box is not None and record.levelno >= _level_of(record.name, box.wanted):
            if box.put(record):
                return True
        elif box is not None:
            return True
        # Of another program, or of nobody: as if we were not here.
        if last is not None and record.levelno >= max(last.level, _level_of(record.name, _desk.before)):
            last.handle(record)
        return True


def _level_of(name: str, known: Mapping[str, int]) -> int:
    """From which level on a logger takes records, where these levels are set."""
    while name and not known.get(name):
        name = name.rpartition(".")[0]
    found = known[name] if name else known.get("root", logging.WARNING)
    return max(found, known.get(DISABLED, 0) + 1)


class _Desk:
    """The outboxes of this process, and what they need of its logging: each logger has the lowest of the levels that
    somebody wants, and the last outbox puts things back. before: the levels without us."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._boxes: list[Outbox] = []
        self._handler = _Forwarding()
        self.before: Mapping[str, int] = {}
        self._set: set[str] = set()  # loggers whose level we have set

    def add(self, box: Outbox) -> None:
        with self._mutex:
            if not self._boxes:
                self.before = levels()
                logging.root.addHandler(self._handler)
            self._boxes.append(box)
            self._fit()

    def remove(self, box: Outbox) -> None:
        with self._mutex:
            self._boxes.remove(box)
            self._fit()
            if not self._boxes:
                logging.root.removeHandler(self._handler)

    def _fit(self) -> None:
        wanted = [box.wanted for box in self._boxes]
        named = {name for one in (self.before, *wanted) for name in one} - {DISABLED, CAPTURED}
        self._set |= {name for name in named if name.partition(".")[0] != _OWN}
        for name in self._set:
            level = min(_level_of(name, one) for one in (self.before, *wanted)) if wanted else self.before.get(name, 0)
            logging.getLogger(None if name == "root" else name).setLevel(level)
        logging.captureWarnings(any(CAPTURED in one for one in (self.before, *wanted)))
        if not wanted:
            self._set.clear()


_desk = _Desk()
