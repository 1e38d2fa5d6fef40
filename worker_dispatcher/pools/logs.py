"""How what worker processes log reaches the handlers of the parent's logging.

    worker: any thread ─▶ a handler of its root logger ─▶ Outgoing ══ channel ══▶ parent: Remote ─▶ Incoming, whose
                                                                                  thread calls the parent's handlers
Nothing is loaded or started before the first record. A record holds up neither a task nor the driver: what the other
side cannot take in time is dropped, and how much that was is told at the end.
"""

from __future__ import annotations

import _thread
import os
import pickle
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

from worker_dispatcher.clock import now, sleep
from worker_dispatcher.execute import describe, guarded
from worker_dispatcher.osproc.channel import Channel, Gone
from worker_dispatcher.osproc.system import writable
from worker_dispatcher.pools.frames import LOGS
from worker_dispatcher.wire import is_plain

if TYPE_CHECKING:
    import logging

__all__ = ["Incoming", "LockedChannel", "Outgoing", "levels"]

_RECORDS_MOST = 10_000  # that wait in a worker
_FRAMES_MOST = 2_000  # that wait in the parent
_FRAME_BYTES = 24 * 1024  # from here on a frame is full; with one more record it still fits a socket that is writable
_RECORD_BYTES = 64 * 1024  # a larger one has its additional fields as text, and those are cut
_TEXT_MOST = 8 * 1024  # characters kept of a message, of a traceback, of an additional field
_PAUSE = 0.05  # seconds that records wait for company
_LAST_WORDS = 2.0  # seconds that the parent's handlers get at the end of a run


def levels() -> dict[str, int]:
    """The levels set in this process's logging, by the logger's name; the one that is disabled, by ''."""
    logging = sys.modules.get("logging")
    if logging is None:
        return {}
    found = {name: getattr(logger, "level", 0) for name, logger in list(logging.root.manager.loggerDict.items())}
    kept = {name: int(level) for name, level in found.items() if level}
    return {**kept, "root": int(logging.root.level), "": int(logging.root.manager.disable)}


class LockedChannel(Channel):
    """A worker's channel on which any thread may send records, between the frames of the main thread."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._busy = _thread.allocate_lock()

    def send(self, kind: int, parts: Sequence[bytes | memoryview] = (), fds: Sequence[int] = ()) -> None:
        with self._busy:
            super().send(kind, parts, fds)

    def offer(self, kind: int, parts: Sequence[bytes | memoryview]) -> bool:
        """Send a small frame if that takes no waiting; False if it would."""
        # The lock is not waited for: whoever logs may have interrupted this very thread in the midst of a frame.
        if not self._busy.acquire(blocking=False):
            return False
        try:
            if not writable(self.fileno()):
                return False
            super().send(kind, parts)
            return True
        finally:
            self._busy.release()


class Outgoing:
    """A worker's records on their way out, from the import of logging on.

    Shared: _records (appends and pops only), _sending. The first record after a pause is sent by whoever logs it, the
    next ones a moment later by a daemon thread.
    levels: those of the parent.
    """

    def __init__(self, channel: LockedChannel, levels: Mapping[str, int]) -> None:
        self._channel, self._levels = channel, levels
        self._records: deque[bytes] = deque()
        self._sending = _thread.allocate_lock()
        self._lost = 0
        self._sent_at = 0.0
        self._pid = os.getpid()
        self._wanted: Any = None
        if (logging := sys.modules.get("logging")) is not None:
            self._install(logging)
        else:
            sys.meta_path.insert(0, self)

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
            if name:
                logging.getLogger(name).setLevel(level)
            else:
                logging.disable(level)

    def put(self, record: logging.LogRecord) -> bool:
        """False in a child that a task has forked: the channel is not its own."""
        if os.getpid() != self._pid:
            return False
        if len(self._records) >= _RECORDS_MOST:
            self._lost += 1
            return True
        self._records.append(_packed(record))
        if now() - self._sent_at >= _PAUSE:  # at once, since the next thing that happens may be this worker's end
            self.flush()
        if self._records:
            self._send_soon()
        return True

    def flush(self) -> None:
        """Send what is there, as far as that takes no waiting."""
        if not self._records or os.getpid() != self._pid or not self._sending.acquire(blocking=False):
            return
        try:
            while self._records and self._send_some():
                pass
        except (Gone, OSError, ValueError):
            pass  # there is nobody to hear them, or a task has closed the channel
        finally:
            self._sending.release()

    def close(self) -> None:
        """The last words of a worker that ends in order."""
        until = now() + _LAST_WORDS / 4
        while (self._records or self._sending.locked()) and now() < until:  # locked: our thread holds some in its hands
            self.flush()
            if self._records or self._sending.locked():
                sleep(_PAUSE / 10)

    def _send_some(self) -> bool:
        batch: list[bytes] = []
        while self._records and sum(map(len, batch)) < _FRAME_BYTES:
            batch.append(self._records.popleft())
        lost, self._lost, self._sent_at = self._lost, 0, now()
        if self._channel.offer(LOGS, [struct.pack("<Q", lost), *batch]):
            return True
        self._lost += lost
        self._records.extendleft(reversed(batch))
        return False

    def _send_soon(self) -> None:
        if self._wanted is None:
            from _queue import SimpleQueue  # what it promises: `put` may interrupt a `put` of the same thread

            self._wanted = SimpleQueue()
            threading.Thread(target=self._send_later, name="worker-logs", daemon=True).start()
        if self._wanted.empty():
            self._wanted.put(None)

    def _send_later(self) -> None:
        while True:
            self._wanted.get()
            sleep(_PAUSE)
            self.flush()
            if self._records:
                self._wanted.put(None)


def _handler(logging: Any, put: Callable[[Any], bool]) -> Any:
    """The handler of a worker's root logger."""

    class Forwarding(logging.Handler):  # type: ignore[misc]
        def emit(self, record: Any) -> None:
            # What a worker's own code has given a handler is written by that, here; not by the parent once more.
            if not _handled_here(logging, record, self) and not put(record):
                logging.lastResort.handle(record)

    return Forwarding()


def _handled_here(logging: Any, record: Any, forwarding: Any) -> bool:
    """True if a handler beside ours takes the record."""
    logger = logging.getLogger(record.name)
    while logger is not None:
        for handler in logger.handlers:
            if handler is not forwarding and not isinstance(handler, logging.NullHandler):
                return True
        logger = logger.parent if logger.propagate else None
    return False


def _packed(record: logging.LogRecord) -> bytes:
    """A record as bytes that can be loaded anywhere: its message and traceback are texts."""
    fields = dict(record.__dict__)
    text, error = guarded(record.getMessage)
    if error is not None:
        text = f"<a message that cannot be formatted: {describe(error)[1][:200]}>"
    told = record.exc_text
    if record.exc_info and not told:
        told = describe(record.exc_info[1])[2].rstrip("\n") if record.exc_info[1] is not None else None
    fields |= {"msg": _cut(text), "args": None, "exc_info": None, "exc_text": told and _cut(told)}
    fields["processName"] = "worker"
    packed, error = guarded(_sealed, fields)
    if error is None and len(packed) <= _RECORD_BYTES:
        return bytes(packed)
    return pickle.dumps({name: _plain(value) for name, value in fields.items()}, 5)


def _sealed(fields: dict[str, Any]) -> bytes:
    """Test-loaded here, if it names classes, where a load that fails costs only this record its additional fields."""
    packed = pickle.dumps(fields, 5)
    if b"\x93" in packed:
        pickle.loads(packed)
    return packed


def _plain(value: Any) -> Any:
    if type(value) is not str and is_plain((value,)):
        return value
    return _cut(guarded(lambda: "".join((str(value),)))[0] or "")


def _cut(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _TEXT_MOST else f"{text[:_TEXT_MOST]}... [{len(text) - _TEXT_MOST} more characters]"


class Incoming:
    """Records of a pool's workers, on their way to the parent's handlers.

    put, close: for the pool's driving thread. The handlers, which are the user's code, are called in a thread of ours:
    one that is slow, or hangs, holds up no deadline. Waits: that thread, on _frames.
    """

    def __init__(self, complaints: list[str]) -> None:
        self._complaints = complaints
        self._frames: Any = None
        self._thread: threading.Thread | None = None
        self._lost = 0
        self._given_up = False  # its thread hangs in a handler: what comes after that is not wanted any more

    def put(self, parts: Sequence[memoryview]) -> None:
        """The parts of a LOGS frame."""
        if self._thread is None:
            from _queue import SimpleQueue

            self._frames = SimpleQueue()
            self._thread = threading.Thread(target=self._handle, name="worker-logs", daemon=True)
            self._thread.start()
        self._lost += struct.unpack("<Q", parts[0])[0]
        if self._frames.qsize() < _FRAMES_MOST:
            self._frames.put(parts[1:])
        else:
            self._lost += len(parts) - 1

    def _handle(self) -> None:
        import logging

        while (records := self._frames.get()) is not None:
            for packed in records:
                if self._given_up:
                    return
                fields, error = guarded(pickle.loads, packed)
                if error is not None:
                    self._lost += 1
                    continue
                record = logging.makeLogRecord(fields)
                logger = logging.getLogger(record.name)
                if logger.isEnabledFor(record.levelno):
                    guarded(logger.handle, record)

    def close(self) -> None:
        """Handle what is there; not for ever."""
        if self._thread is not None:
            self._frames.put(None)
            self._thread.join(_LAST_WORDS)
            self._given_up = self._thread.is_alive()
            self._lost += self._frames.qsize()
            self._thread = None
        if self._lost:
            self._complaints.append(f"{self._lost} or more log records of workers were lost: logging did not keep up")
            self._lost = 0
