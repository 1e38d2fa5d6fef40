"""The parent's side of starting workers: from the fork server, in fresh interpreters, or by a plain fork."""

from __future__ import annotations

import atexit
import errno
import importlib
import itertools
import marshal
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Any

from worker_dispatcher.errors import RunError
from worker_dispatcher.osproc.channel import Channel, Gone
from worker_dispatcher.osproc.order import order_for
from worker_dispatcher.osproc.system import check_watching, close_all, given, readable

__all__ = ["METHODS", "ForkStarter", "Process", "ServerStarter", "starter", "warm_up"]

METHODS = ("forkserver", "spawn", "fork")
# The frame kinds of server.py, which the parent never imports.
_OPEN, _START, _STARTED, _REFUSED, _EXITED = range(1, 6)


class Process:
    """A worker process as the parent sees it.

    pid, sentinel: None until it is known to have started; sentinel is a pidfd, readable once it has ended.
    refused: why it could not be started, or None. status: its wait status, None while unknown.
    """

    def __init__(self) -> None:
        self.pid: int | None = None
        self.sentinel: int | None = None
        self.status: int | None = None
        self.refused: str | None = None
        self._doomed = False

    def started(self, pid: int, sentinel: int) -> None:
        self.pid, self.sentinel = pid, sentinel
        if self._doomed:
            self.kill()

    def kill(self) -> None:
        """SIGKILL; its whole group follows when it is reaped. Safe at any time, also before it has started."""
        self._doomed = True
        if self.sentinel is not None:
            try:
                signal.pidfd_send_signal(self.sentinel, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass

    @property
    def ended(self) -> bool:
        """True once it has certainly ended, reaped or not."""
        return self.status is not None or (self.sentinel is not None and readable(self.sentinel))

    @property
    def exit_code(self) -> int | None:
        """None while it runs, after a signal and where nobody knows."""
        return os.WEXITSTATUS(self.status) if self.status is not None and os.WIFEXITED(self.status) else None

    @property
    def cause(self) -> str:
        """How it ended, in words."""
        if self.refused is not None:
            return f"could not be started: {self.refused}"
        if self.status is None:
            return "ended for an unknown reason (the host program reaped it)"
        if os.WIFSIGNALED(self.status):
            number = os.WTERMSIG(self.status)
            try:
                name = signal.Signals(number).name
            except ValueError:
                name = "unknown signal"
            hint = ", possibly out of memory" if number == signal.SIGKILL else ""
            return f"was killed by signal {number} ({name}){hint}"
        return f"exited with code {os.waitstatus_to_exitcode(self.status)}"

    def close(self) -> None:
        if self.sentinel is not None:
            close_all([self.sentinel])
            self.sentinel = None


class _ForkServer:
    """The one fork server of this process. Shared by all pools; guarded by its lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._pid = 0
        self._control: Channel | None = None

    def warm_up(self, module: str) -> None:
        """Start the server if it is not there, and have it load a module meanwhile. Never raises: `connect` will."""
        with self._lock:
            if self._control is None or self._owner != os.getpid():
                try:
                    self._launch(module)
                except (OSError, RunError):
                    pass

    def connect(self, module: str) -> socket.socket:
        """A new connection to the server, which is started if it is not there, and then loads a module."""
        ours, theirs = socket.socketpair()
        try:
            with self._lock:
                for _ in range(2):
                    if self._control is None or self._owner != os.getpid():
                        self._launch(module)
                    assert self._control is not None
                    try:
                        self._control.send(_OPEN, (), [theirs.fileno()])
                        return ours
                    except Gone:
                        self._bury()
            raise RunError("the fork server cannot be reached")
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    def _launch(self, module: str) -> None:
        if not sys.executable:
            raise RunError("sys.executable is empty, so no worker process can be started; use threads")
        ours, theirs = socket.socketpair()
        code = (
            f"import sys; sys.path[:] = {list(map(str, sys.path))!r}\n"
            f"from worker_dispatcher.osproc.server import main; main(3, {os.getpid()}, {module!r})"
        )
        actions: list[tuple[Any, ...]] = [
            (os.POSIX_SPAWN_DUP2, theirs.fileno(), 3),
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        ]
        try:
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-c", code],
                os.environ,
                file_actions=actions,
                setsid=True,
                setsigmask=(),  # a host program that blocks SIGCHLD does not leave our children unreaped
                setsigdef=[signal.SIGCHLD, signal.SIGTERM, signal.SIGPIPE],
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        if self._control is None:
            atexit.register(self._release)
        else:
            self._control.close()
        self._control, self._owner = Channel(ours, blocking=True), os.getpid()

    def _release(self) -> None:
        """At the end of the interpreter: the server ends with its control socket, which nobody else would close."""
        if self._control is not None:
            self._control.close()

    def _bury(self) -> None:
        assert self._control is not None
        self._control.close()
        self._control = None
        try:
            os.waitpid(self._pid, 0)  # it closes its end of the control socket only by ending
        except ChildProcessError:
            pass


_server = _ForkServer()


def warm_up(entry: str) -> None:
    """Begin to start what workers are forked from, so that it is there when a pool wants it. entry: as for `starter`.

    Returns at once. From any thread.
    """
    try:
        check_watching()
    except (OSError, RunError):
        return  # who wants a worker will hear it
    _fill_standard_descriptors()
    _server.warm_up(_module_of(entry))


def _module_of(entry: str) -> str:
    return entry.partition(":")[0]


def _fill_standard_descriptors() -> None:
    """Put /dev/null where the host program has closed descriptors 0 to 2, as a daemon does: otherwise the next
    socket of ours takes the number, and whatever is printed goes into it."""
    while (fd := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(fd, True)
    os.close(fd)


class ServerStarter:
    """Starts the workers of one pool through the fork server; its connection is their life-line.

    Used by the pool's driving thread only. fileno() is readable when `pump` has news.
    """

    def __init__(self, entry: str, *, fresh: bool, environment: dict[str, str], imports: Sequence[str]) -> None:
        self._module = _module_of(entry)
        self._order = order_for(entry, fresh=fresh, environment=environment, imports=imports)
        self._tokens = itertools.count(1)
        self._processes: dict[bytes, Process] = {}
        self._channel = Channel(_server.connect(self._module), blocking=False)
        self._letter = marshal.dumps(self._order)

    def fileno(self) -> int:
        return self._channel.fileno()

    @property
    def wanted(self) -> bool:
        return self._channel.wanted

    def start(self, sock: socket.socket, slate_fd: int) -> Process:
        """A new worker with this socket and slate. Returns at once; `pump` says when it runs."""
        process, token = Process(), b"%d" % next(self._tokens)
        self._processes[token] = process
        try:
            self._channel.send(_START, [token, self._letter], [sock.fileno(), slate_fd, 1, 2])
        except Gone:
            pass  # `pump`, which will be called for it, finds the server gone too
        return process

    def pump(self) -> list[Process]:
        """Take in what the server says; the processes it spoke of. Raises Gone if the server is."""
        self._channel.flush()
        news = []
        for frame in self._channel.receive():
            token, text = bytes(frame.parts[0]), bytes(frame.parts[1])
            process = self._processes.get(token)
            if process is None:  # refused before it was known to run; it ends with its channel
                continue
            news.append(process)
            if frame.kind == _STARTED and frame.fds:
                process.started(int(text), frame.fds[0])
            elif frame.kind == _STARTED:
                process.refused = os.strerror(errno.EMFILE)
                del self._processes[token]
            elif frame.kind == _REFUSED:
                process.refused = text.decode()
                del self._processes[token]
            elif frame.kind == _EXITED:
                process.status = int(text)
                del self._processes[token]
        return news

    def reconnect(self) -> None:
        """After Gone: speak to a new fork server. What the old one had started has ended with it."""
        self._channel.close()
        self._processes.clear()
        self._channel = Channel(_server.connect(self._module), blocking=False)

    def close(self) -> None:
        self._channel.close()


class ForkStarter:
    """Starts workers as forks of this process: on request only, since a fork copies locks other threads hold."""

    def __init__(self, entry: str, *, environment: dict[str, str]) -> None:
        from worker_dispatcher.osproc import child  # as what the entry needs: once here, not in every fork

        importlib.import_module(_module_of(entry))
        self._steps = child
        # What `site` has made of this process is there in a fork.
        self._order = order_for(entry, fresh=False, environment=environment) | {"site": False}
        self._environment = environment
        self._processes: list[Process] = []
        self.wanted = False

    def fileno(self) -> int:
        return -1

    def start(self, sock: socket.socket, slate_fd: int) -> Process:
        process = Process()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        pid = os.fork()
        if pid == 0:
            try:
                self._child(sock, slate_fd)
            finally:
                os._exit(70)
        try:
            process.started(pid, given("pidfd_open", lambda: os.pidfd_open(pid)))
        except BaseException:  # nobody would see its end
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        self._processes.append(process)
        return process

    def _child(self, sock: socket.socket, slate_fd: int) -> None:
        signal.set_wakeup_fd(-1)
        self._steps.forget_signals()
        os.environ.update(self._environment)  # all else that an order tells is as it was here
        entry = self._steps.import_entry(self._order)
        self._steps.become(self._order, [sock.fileno(), slate_fd, 1, 2], entry)

    def pump(self) -> list[Process]:
        """Reap what has ended; the processes concerned."""
        news = []
        for process in list(self._processes):
            assert process.pid is not None
            try:
                if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                    continue
                _kill_group(process.pid)
                process.status = os.waitpid(process.pid, 0)[1]
            except ChildProcessError:
                # The host program reaped it, or ignores SIGCHLD: its end is a fact only once the sentinel says so.
                if not process.ended:
                    continue
                _kill_group(process.pid)
            self._processes.remove(process)
            news.append(process)
        return news

    def close(self) -> None:
        for process in self._processes:
            process.kill()
        for process in list(self._processes):
            if process.sentinel is not None:
                readable(process.sentinel, 5)
        self.pump()


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def starter(
    method: str | None, entry: str, environment: dict[str, str], imports: Sequence[str] = ()
) -> ServerStarter | ForkStarter:
    """The starter for a start method; None means the safe default, the fork server. See `order_for` for the rest."""
    check_watching()
    _fill_standard_descriptors()
    if method == "fork":
        return ForkStarter(entry, environment=environment)
    return ServerStarter(entry, fresh=method == "spawn", environment=environment, imports=imports)
