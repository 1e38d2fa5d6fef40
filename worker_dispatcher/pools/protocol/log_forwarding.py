"""How what worker processes log reaches the handlers of the parent's logging.

    worker: any thread ─▶ a handler of its root logger ─▶ Outgoing ══ one socket ══▶ parent: Incoming, whose thread
                                                             for all workers         calls the parent's handlers
A socket of their own, so that neither the driver nor a report stands between. It is the buffer, too: what the parent's
handlers have not taken fills it, and whoever logs waits then, as he would at a handler of his own; timeouts and Ctrl-C
hold meanwhile, since the driver has no part in it. Nothing is loaded or started before the first record.
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any, Protocol

from worker_dispatcher.execute import catch, describe
from worker_dispatcher.loaded import loaded
from worker_dispatcher.osproc.system import start_thread
from worker_dispatcher.pools.base import Complaints
from worker_dispatcher.wire import is_plain

if TYPE_CHECKING:
    import logging

__all__ = [
    "CAPTURED",
    "DISABLED",
    "LOST",
    "MESSAGE_BYTES",
    "Handling",
    "Incoming",
    "Logs",
    "Outgoing",
    "handled_here",
    "hold_logs",
    "levels",
    "logs_of",
    "packed",
]

_RECORD_BYTES = 64 * 1024  # a larger one has its additional fields as text, and those are cut
MESSAGE_BYTES = 1 << 20  # more than the system lets a message of a socket be
_TEXT_MOST = 8 * 1024  # characters kept of a message, of a traceback, of an additional field
_LAST_WORDS = 2.0  # seconds that one record may take the parent's handlers at the end of a run
_LOOKS = 20  # in these: a stop of all of us (SIGSTOP, a container that is paused) takes up one of them
_WORKERS_LAST_WORDS = 0.5  # seconds that a worker which ends waits to say how many records were dropped
LOST = struct.Struct("<Q")  # before each record: how many have been dropped since the last


# Keys of `levels` that are no loggers: the level that is disabled, and whether warnings are logged.
DISABLED, CAPTURED = "", "\0"


def levels() -> dict[str, int]:
    """The levels set in this process's logging, by the logger's name, and what the two keys above say."""
    logging = loaded("logging")
    if logging is None:
        return {}
    found = {name: getattr(logger, "level", 0) for name, logger in list(logging.root.manager.loggerDict.items())}
    kept = {name: int(level) for name, level in found.items() if level}
    if (
        getattr(logging, "_warnings_showwarning", None) is not None
    ):  # logging.captureWarnings(True); nothing else says it
        kept[CAPTURED] = True
    return {**kept, "root": int(logging.root.level), DISABLED: int(logging.root.manager.disable)}


class Outgoing:
    """A worker's records on their way out, from the import of logging on.

    Any thread. Waits: whoever logs, on the socket, unless `drops`. levels: those of the parent. fd: None where workers
    are forked from: what is logged there waits for the first of them.
    """

    def __init__(self, fd: int | None, levels: Mapping[str, int], *, drops: bool) -> None:
        self._socket, self._levels, self._drops = socket.socket(fileno=fd) if fd is not None else None, levels, drops
        self._lost = 0
        self._pid = os.getpid()
        self._held: list[bytes] = []
        if fd is None:
            os.register_at_fork(after_in_parent=self._held.clear)
        if CAPTURED in levels:
            import_module("logging")  # a warning may come before the first import of it
        if (logging := loaded("logging")) is not None:
            self._install(logging)
        else:
            sys.meta_path.insert(0, self)

    def begin(self, fd: int) -> None:
        """In a worker: send from now on, and what the modules that it was forked with have logged."""
        self._socket, self._pid = socket.socket(fileno=fd), os.getpid()
        for message in self._held:
            self._send(message, 0)
        self._held.clear()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """As a finder of modules: the first import of logging, which would cost a worker that never logs 4 ms."""
        if name != "logging":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec("logging")
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_install(module: Any) -> None:
                execute(module)
                self._install(module)

            spec.loader.exec_module = execute_and_install  # type: ignore[method-assign]
        return spec

    def _install(self, logging: Any) -> None:
        # Where this process is a fork of the parent's, its handlers came along. They would write here what the parent
        # writes once more, or hold what only the parent can use.
        for logger in (logging.root, *logging.root.manager.loggerDict.values()):
            if isinstance(logger, logging.Logger):
                logger.handlers.clear()
                logger.propagate = True
        handler = _handler(logging, self.put)
        logging.root.addHandler(handler)
        for name, level in self._levels.items():
            if name == DISABLED:
                logging.disable(level)
            elif name == CAPTURED:
                logging.captureWarnings(True)
            else:
                logging.getLogger(name).setLevel(level)

    def put(self, record: logging.LogRecord) -> bool:
        """False in a child that a task has forked: the socket is not its own."""
        if os.getpid() != self._pid:
            return False
        lost, self._lost = self._lost, 0
        if not self._send(LOST.pack(lost) + packed(record), socket.MSG_DONTWAIT if self._drops else 0):
            self._lost += lost + 1
        return True

    def _send(self, message: bytes, how: int) -> bool:
        if self._socket is None:
            self._held.append(message)
            return True
        try:
            return self._socket.send(message, how | socket.MSG_NOSIGNAL) > 0
        except OSError:
            return False  # full, where that is not waited for; nobody hears us; or a task has closed it

    def close(self) -> None:
        """The last words of a worker that ends in order."""
        if self._lost and os.getpid() == self._pid and self._socket is not None:
            self._socket.settimeout(_WORKERS_LAST_WORDS)
            self._send(LOST.pack(self._lost), 0)


_waiting: Outgoing | None = None  # for the worker that this process is going to be


def hold_logs(levels: Mapping[str, int], *, drops: bool) -> None:
    """Where workers are forked from: have what is logged wait for the first of them."""
    global _waiting
    _waiting = _waiting or Outgoing(None, levels, drops=drops)


def logs_of(fd: int, levels: Mapping[str, int], *, drops: bool) -> Outgoing:
    """In a worker: what sends its records."""
    global _waiting
    found, _waiting = _waiting, None
    if found is None:
        return Outgoing(fd, levels, drops=drops)
    found.begin(fd)
    return found


def _handler(logging: Any, put: Callable[[Any], bool]) -> Any:
    """The handler of a worker's root logger."""

    class Forwarding(logging.Handler):  # type: ignore[misc]
        def emit(self, record: Any) -> None:
            # What a worker's own code has given a handler is written by that, here; not by the parent once more.
            if not handled_here(logging, record, self) and not put(record):
                logging.lastResort.handle(record)

    return Forwarding()


def handled_here(logging: Any, record: Any, forwarding: Any) -> bool:
    """True if a handler beside ours takes the record."""
    logger = logging.getLogger(record.name)
    while logger is not None:
        for handler in logger.handlers:
            if handler is not forwarding and not isinstance(handler, logging.NullHandler):
                return True
        logger = logger.parent if logger.propagate else None
    return False


def packed(record: logging.LogRecord) -> bytes:
    """A record as bytes that can be loaded anywhere: its message and traceback are texts."""
    fields = dict(record.__dict__)
    text, error = catch(record.getMessage)
    if error is not None:
        text = f"<a message that cannot be formatted: {describe(error)[1][:200]}>"
    told = record.exc_text
    if record.exc_info and not told:
        told = describe(record.exc_info[1])[2].rstrip("\n") if record.exc_info[1] is not None else None
    fields |= {"msg": _cut(text), "args": None, "exc_info": None, "exc_text": told and _cut(told)}
    fields["processName"] = "worker"
    sealed, error = catch(_sealed, fields)
    if error is None and len(sealed) <= _RECORD_BYTES:
        return bytes(sealed)
    return pickle.dumps({name: _plain(value) for name, value in fields.items()}, 5)


def _sealed(fields: dict[str, Any]) -> bytes:
    """Test-loaded here, if it names classes, where a load that fails costs only this record its additional fields."""
    sealed = pickle.dumps(fields, 5)
    if b"\x93" in sealed:
        pickle.loads(sealed)
    return sealed


def _plain(value: Any) -> Any:
    if type(value) is not str and is_plain((value,)):
        return value
    return _cut(catch(lambda: "".join((str(value),)))[0] or "")


def _cut(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _TEXT_MOST else f"{text[:_TEXT_MOST]}... [{len(text) - _TEXT_MOST} more characters]"


class Logs(Protocol):
    """What takes the records of a process pool. theirs: the descriptor that workers send to; fileno: of the other end.
    hurry: the run was stopped, and may not wait for handlers. For the pool's driving thread."""

    theirs: int
    hurry: bool

    def fileno(self) -> int: ...

    def hear(self) -> None:
        """The first record is there, or the first that a poll has told of."""

    def close(self) -> None:
        """All workers have ended. Idempotent."""


class Handling:
    """Has the parent's handlers take the records of workers.

    The handlers, which are the user's code, are called in a thread of ours: one that is slow, or hangs, holds up no
    deadline. Waits: that thread, on what comes. Everything else is for the pool's driving thread.
    hurry: the run was stopped, and may not wait for handlers.
    """

    def __init__(self, complaints: Complaints) -> None:
        self._complaints = complaints
        self.hurry = False
        self._thread: threading.Thread | None = None
        self._lost = self._taken = 0
        self._given_up = False  # its thread hangs in a handler: what comes after that is not wanted any more

    def _messages(self) -> Iterator[tuple[bytes, Mapping[str, Any]]]:
        """What comes, each with what its record is given besides, until all has come."""
        raise NotImplementedError

    def _left(self) -> int:
        """How many messages are there that nobody will take."""
        raise NotImplementedError

    def hear(self) -> None:
        """The first record is there, or the first that a poll has told of."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._handle, name="worker-logs", daemon=True)
            start_thread(self._thread)

    def _handle(self) -> None:
        import logging

        for message, more in self._messages():
            self._taken += 1
            self._lost += LOST.unpack_from(message)[0]
            if len(message) > LOST.size:
                fields, error = catch(pickle.loads, message[LOST.size :])
                if error is None:
                    record = logging.makeLogRecord(fields | more)
                    logger = logging.getLogger(record.name)
                    if logger.isEnabledFor(record.levelno):
                        catch(logger.handle, record)
                else:
                    self._lost += 1
                del fields, error  # an error holds this frame, and would hold itself
            if self._given_up:
                return

    def _finish(self) -> None:
        """All has come: handle what is there, as long as that goes on."""
        if self._thread is not None:
            self._await(self._thread)
        if self._lost:
            self._complaints.add(f"{self._lost} or more log records of workers were lost: logging did not keep up")
            self._lost = 0

    def _await(self, thread: threading.Thread) -> None:
        left, taken = _LOOKS, self._taken
        while thread.is_alive() and left:
            thread.join(_LAST_WORDS / _LOOKS)
            left = left - 1 if self.hurry or taken == self._taken else _LOOKS
            taken = self._taken
        self._given_up = thread.is_alive()
        if self._given_up:
            self._lost += 1 + self._left()


class Incoming(Handling):
    """Records of a process pool's workers, on a socket. See Logs."""

    def __init__(self, complaints: Complaints) -> None:
        super().__init__(complaints)
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.theirs = self._theirs.fileno()
        self.fileno = self._ours.fileno

    def _messages(self) -> Iterator[tuple[bytes, Mapping[str, Any]]]:
        while message := self._ours.recv(MESSAGE_BYTES):
            yield message, {}

    def _left(self) -> int:
        count = 0
        while catch(self._ours.recv, MESSAGE_BYTES, socket.MSG_DONTWAIT)[0]:
            count += 1
        return count

    def close(self) -> None:
        if self._ours.fileno() < 0:
            return
        waiting = select.poll()
        waiting.register(self._ours, select.POLLIN)
        if self._thread is None and waiting.poll(0):
            self.hear()
        self._theirs.close()  # not before that: an end would look like a record
        self._ours.shutdown(socket.SHUT_RD)  # what was sent is still read, then comes the end
        self._finish()
        self._ours.close()
