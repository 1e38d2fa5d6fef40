"""A command: a program that is no worker of ours, in a group of its own, that does not outlive this process."""

from __future__ import annotations

import math
import os
import select
import shlex
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import Any

from worker_dispatcher.clock import now
from worker_dispatcher.errors import TaskTimeout
from worker_dispatcher.osproc.system import close_all, given, readable, start_thread

GRACE = 2.0  # seconds from SIGTERM to SIGKILL
_CHUNK = 1 << 16
_MOST_CHUNKS = 16  # what a pipe holds, as large as pipes are
_TAIL = 2000  # bytes of stderr in the message of a failure
# Kills a group once the process has died that holds the other end of its standard input.
_GUARD = 'read _; kill -s KILL -- "-$1"'


class CommandFailed(subprocess.SubprocessError):
    """A command has not ended well. cmd; returncode: negative for a signal, None if the host program reaped it; stderr:
    the end of what it said there, where that was seen."""

    __module__ = "worker_dispatcher.engine"

    def __init__(self, cmd: str, returncode: int | None, stderr: str = "") -> None:
        self.cmd, self.returncode, self.stderr = cmd, returncode, stderr
        super().__init__(cmd, returncode, stderr)

    def __str__(self) -> str:
        how = f"return code: {self.returncode}"
        if self.returncode is None:
            how = "return code: unknown, since this program reaps its children itself"
        elif self.returncode < 0:
            with suppress(ValueError):
                how += f" ({signal.Signals(-self.returncode).name})"
        said = f"\n{self.stderr.rstrip()}" if self.stderr.strip() else ""
        return f"command {self.cmd!r} failed, {how}{said}"


class Output:
    """Where one stream of a command goes besides to that of this process. path: a file that it is added to, or None;
    most: bytes of it that are kept there."""

    def __init__(self, fd: int, path: Path | None = None, most: float = math.inf) -> None:
        self.fd, self.path, self.tail = fd, path, b""
        self._left, self._file = most, -1

    @property
    def is_plain(self) -> bool:
        """The command may have the stream of this process itself."""
        return self.path is None and (self.fd == 1 or os.isatty(self.fd))

    def open(self) -> None:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)

    def take(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-_TAIL:]
        if self._file >= 0 and self._left > 0:
            kept = data if len(data) <= self._left else data[: int(self._left)]
            self._left -= len(data)
            _write(self._file, kept if self._left >= 0 else kept + b"\n[the rest of the output was cut]\n")
        _write(self.fd, data)

    def close(self) -> None:
        if self._file >= 0:
            close_all([self._file])
            self._file = -1


def _write(fd: int, data: bytes) -> None:
    """Write all of it; where nobody reads any more, and where there is no room, nobody misses it."""
    rest = memoryview(data)
    with suppress(OSError):
        while rest:
            rest = rest[os.write(fd, rest) :]


class Command:
    """Runs once: `run` in one thread, `end` from any. cmd: what it is called in messages; proc: its Popen, once it has
    begun; gone: set once it was reaped, or will not begin.

    Shared, under _mutex: proc, _ending, _kill_at, _wake; signals are sent under it, so that none goes to a group whose
    number was given to another meanwhile. Waits: `run`, for its end, its output and `end`.
    """

    def __init__(self, cmd: str, outputs: Sequence[Output], popen_kwargs: Mapping[str, Any]) -> None:
        self.cmd, self._outputs, self._kwargs = cmd, outputs, popen_kwargs
        self.proc: subprocess.Popen[Any] | None = None
        self.gone = threading.Event()
        self._mutex = threading.Lock()
        self._ending = False
        self._kill_at = math.inf
        self._wake = self._watch = -1  # an eventfd; its pidfd
        self._guard: subprocess.Popen[bytes] | None = None

    def run(self, timeout: float | None = None, name: str = "") -> int:
        """Its return code, which is 0. Raises CommandFailed; TaskTimeout, at once, while it is being ended; OSError
        where it cannot be started; CancelledError if it was to end before it had begun."""
        until = math.inf if timeout is None else now() + timeout
        try:
            with self._mutex:
                if self._ending:
                    raise CancelledError("the command was cancelled before it began")
                self._start()
        except BaseException:
            self._let_go()
            raise
        if self._attend(until):
            return self._reaped()
        self.end()
        start_thread(threading.Thread(target=self._see_off, name="command-ends", daemon=True))
        raise TaskTimeout(name or self.cmd, timeout or 0.0)

    def _start(self) -> None:
        kwargs: dict[str, Any] = {"stdin": subprocess.DEVNULL, "start_new_session": True}
        for name, output in zip(("stdout", "stderr"), self._outputs, strict=True):
            if not output.is_plain:
                output.open()
                kwargs[name] = subprocess.PIPE
        kwargs |= self._kwargs
        argv = self.cmd if kwargs.get("shell") else shlex.split(self.cmd)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.proc = proc = subprocess.Popen(argv, **kwargs)
        try:
            self._guard = _guard(proc.pid)
            self._watch = given("pidfd_open", lambda: os.pidfd_open(proc.pid))
        except ProcessLookupError:  # it has ended, and was reaped by the host program
            pass
        except BaseException:  # nobody would see its end
            self._signal(signal.SIGKILL)
            proc.wait()
            raise

    def _pipes(self) -> dict[int, Output]:
        proc = self.proc
        assert proc is not None
        found = zip((proc.stdout, proc.stderr), self._outputs, strict=True)
        return {stream.fileno(): output for stream, output in found if stream is not None}

    def _attend(self, until: float) -> bool:
        """Pass on what it prints until it has ended; False if the time is over before."""
        poll, pipes, watch = select.poll(), self._pipes(), self._watch
        if watch < 0:
            return True
        for fd in (watch, self._wake, *pipes):
            poll.register(fd, select.POLLIN)
        while True:
            due = min(until, self._kill_at)
            news = [fd for fd, _ in poll.poll(None if due == math.inf else max(0, math.ceil((due - now()) * 1000)))]
            for fd in news:
                if fd in pipes and not (data := os.read(fd, _CHUNK)):
                    poll.unregister(fd)
                elif fd in pipes:
                    pipes[fd].take(data)
            if self._wake in news:
                os.eventfd_read(self._wake)
            if watch in news:
                return True
            if now() >= self._kill_at:
                with self._mutex:
                    self._signal(signal.SIGKILL)
                    self._kill_at = math.inf
            if now() >= until:
                return False

    def _see_off(self) -> None:
        """Wait for the end of a command that is being ended."""
        self._attend(math.inf)
        with suppress(CommandFailed):
            self._reaped()

    def _reaped(self) -> int:
        """What has ended is reaped, and its code told."""
        for fd, output in self._pipes().items():  # whom it has left behind may hold them open
            for _ in range(_MOST_CHUNKS):
                if not readable(fd) or not (data := os.read(fd, _CHUNK)):
                    break
                output.take(data)
        proc, code = self.proc, None
        assert proc is not None
        with self._mutex:
            try:
                os.waitid(os.P_PID, proc.pid, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:  # the host program has reaped it, or has the system do so
                proc.poll()
            else:
                if self._ending:
                    self._signal(signal.SIGKILL)  # those of its group who have not gone with it
                self._dismiss_guard()  # first: it knows the group by a number that is free from then on
                code = proc.wait()
        self._let_go()
        if code != 0:
            raise CommandFailed(self.cmd, code, self._outputs[1].tail.decode(errors="replace"))
        return code

    def _let_go(self) -> None:
        self._dismiss_guard()
        if (proc := self.proc) is not None:
            for stream in (proc.stdout, proc.stderr, proc.stdin):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
        with self._mutex:
            close_all(fd for fd in (self._wake, self._watch) if fd >= 0)
            self._wake = self._watch = -1
            self.gone.set()
        for output in self._outputs:
            output.close()

    def _dismiss_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None and guard.stdin is not None:
            guard.kill()
            guard.wait()
            guard.stdin.close()

    def end(self, grace: float = GRACE) -> None:
        """SIGTERM to its group; SIGKILL after so many seconds. Returns at once; once it has ended, does nothing."""
        with self._mutex:
            if self.gone.is_set():
                return
            if self.proc is None:
                self._ending = True
                self.gone.set()  # `run` will not begin it, if it is ever called
                return
            if not self._ending:
                self._signal(signal.SIGTERM)
            self._ending = True
            self._kill_at = min(self._kill_at, now() + grace)
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _signal(self, number: signal.Signals) -> None:
        """To its group, or to it alone where its group is ours. Under _mutex."""
        proc = self.proc
        assert proc is not None
        if proc.returncode is not None:
            return
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(proc.pid) == proc.pid:
                os.killpg(proc.pid, number)
            else:
                os.kill(proc.pid, number)


def _guard(group: int) -> subprocess.Popen[bytes] | None:
    """A process that kills a group when this one has died; None where there is no shell, or no room for it."""
    null = subprocess.DEVNULL
    argv = ["/bin/sh", "-c", _GUARD, "sh", str(group)]
    try:
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=null, stderr=null, start_new_session=True)
    except OSError:
        return None
