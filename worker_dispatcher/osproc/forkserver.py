"""The one fork server of this process, as the parent sees it: started on first use, replaced when it no longer fits."""

from __future__ import annotations

import atexit
import contextlib
import marshal
import os
import signal
import socket
import sys
import threading
from typing import Any

from worker_dispatcher.errors import RunError
from worker_dispatcher.osproc.channel import Channel, Gone
from worker_dispatcher.osproc.interpreter import executable, flags, hashing, start_with
from worker_dispatcher.osproc.spawn_spec import Identity, identity_of, status_of_this_thread
from worker_dispatcher.osproc.spec_file import as_file, reads
from worker_dispatcher.osproc.system import make_ready, no_worker, readable
from worker_dispatcher.tracebacks import own

FIRST_WORD = 10.0  # seconds within which a fork server or a worker that was started says something
_LAST_BREATH = 1.0  # seconds that one which has closed its connection may take to end

_OPEN, _BECOME = 1, 7  # frame kinds of server.py, which the parent never imports
_BOOTSTRAP = (
    "import marshal, os, sys\n"
    f"{reads(4)}"
    "sys.path[:] = told['path']\n"
    "from worker_dispatcher.osproc.server import main\n"
    "main(3, told)\n"
)


class _ForkServer:
    """Shared by all pools; guarded by its lock, which is a fresh one in a forked child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._pid = 0
        self._control: Channel | None = None
        self._mark: tuple[int, int] | None = None  # of the control socket: its number may be another's by now
        self._identity: Identity = ()
        self._retired: list[int] = []  # servers that end when their last pool does

    def warm_up(self, module: str) -> None:
        """Start the server if it is not there, and have it load a module meanwhile. Never raises: `connect` will."""
        with self._lock:
            if not self._is_here():
                try:
                    make_ready()
                    self._launch(module, identity_of(status_of_this_thread()))
                except own(OSError, RunError):
                    pass

    def connect(self, module: str, spec_fd: int, identity: Identity) -> tuple[socket.socket, int]:
        """A new connection to a server of this identity, and its process id. It is started if it is not there, and
        then loads a module. spec_fd: a descriptor of the spec of all workers asked for over this connection."""
        try:
            ours, theirs = socket.socketpair()
        except own(OSError) as error:
            raise no_worker(error) from error
        try:
            with self._lock:
                if self._retired:
                    self._reap()
                for _ in range(2):
                    self._have(module, identity)
                    if self._ask(_OPEN, [], [theirs.fileno(), spec_fd]):
                        return ours, self._pid
            raise no_worker("the fork server cannot be reached")
        except BaseException as error:
            ours.close()
            if isinstance(error, own(OSError)):
                raise no_worker(error) from error
            raise
        finally:
            theirs.close()

    def _have(self, module: str, identity: Identity) -> None:
        try:
            if not self._is_here():
                self._launch(module, identity)
            elif identity != self._identity:
                self._replace(module, identity)
        except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
            raise RunError(
                f"no worker process can be started by user {os.geteuid()} with sys.executable {sys.executable!r}: "
                f"{error}; use threads, or an interpreter that this user may run"
            ) from error

    def reap(self) -> None:
        """Have the system forget the servers that were replaced, and have ended by now. Never waits, nor raises."""
        if self._retired and self._lock.acquire(blocking=False):  # who has the lock does the same
            try:
                self._reap()
            finally:
                self._lock.release()

    def give_up(self, pid: int) -> None:
        """End a server that says nothing, if it is still the one in use."""
        with self._lock:
            if self._is_here() and self._pid == pid:
                self._end_server(at_once=True)

    def _is_here(self) -> bool:
        """True if there is a server that this very process has started, and its socket is still what we think it is:
        a program may have closed all its descriptors, and given their numbers to files of its own."""
        if self._control is None:
            return False
        if self._owner == os.getpid() and _mark_of(self._control.fileno()) == self._mark:
            return True
        self._control.abandon()
        self._control = None
        return False

    def _ask(self, kind: int, parts: list[bytes], fds: list[int]) -> bool:
        """Send a frame to the server. Where it does not go at once it never will: the server is ended, and False
        returned. Raises Crowded where there is no room for the descriptors for longer than a moment."""
        assert self._control is not None
        try:
            self._control.send_soon(kind, parts, fds, FIRST_WORD)
            if not self._control.unsent:
                return True
        except Gone:
            pass
        self._end_server()
        return False

    def _launch(self, module: str, identity: Identity) -> None:
        program = executable()
        ours, theirs = socket.socketpair()
        told_fd = -1
        try:
            told = {"path": list(map(str, sys.path)), "module": module, "parent": os.getpid()}
            told_fd = as_file(told | {"ids": (os.getresgid(), os.getresuid())})
            pid = _spawn(program, theirs.fileno(), told_fd)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            if told_fd >= 0:
                os.close(told_fd)
        if not self._owner:
            atexit.register(self._release)
        self._control, self._mark = Channel(ours, blocking=False), _mark_of(ours.fileno())
        self._pid, self._owner, self._identity = pid, os.getpid(), identity

    def _replace(self, module: str, identity: Identity) -> None:
        """What workers have from the process that starts them has changed. The old server goes on for the pools it
        has; where this user may not run the interpreter any more, it becomes what this process is."""
        assert self._control is not None
        control, pid = self._control, self._pid
        try:
            self._launch(module, identity)
        except PermissionError:
            ids = (os.getgroups(), os.getresgid(), os.getresuid())
            if self._ask(_BECOME, [marshal.dumps(ids)], []):
                self._identity = identity
        else:
            control.close()
            self._retired.append(pid)

    def _release(self) -> None:
        """At the end of the interpreter: the server ends with its control socket, which nobody else would close."""
        if self._is_here():
            assert self._control is not None
            self._control.close()
            self._retired.append(self._pid)
            self._reap()
            for pid in self._retired:  # children that are not reaped, so the ids are still theirs
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGCONT)  # whoever has been stopped would stand there for ever

    def _end_server(self, *, at_once: bool = False) -> None:
        """Close the connection to a server that ends, or has to, and wait for its end."""
        assert self._control is not None
        self._control.close()
        self._control = None
        self._retired.append(self._pid)
        try:
            watch = os.pidfd_open(self._pid)
        except own(OSError):
            return
        try:
            if at_once or not readable(watch, _LAST_BREATH):
                signal.pidfd_send_signal(watch, signal.SIGKILL)
                readable(watch, _LAST_BREATH)
        except (ProcessLookupError, PermissionError):
            pass
        finally:
            os.close(watch)
        self._reap()

    def _reap(self) -> None:
        for pid in self._retired[:]:
            try:
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    continue
            except ChildProcessError:  # the host program has reaped it, or it was another process's child
                pass
            self._retired.remove(pid)

    def forget(self) -> None:
        """In a forked child: the server is the parent's, and so is the thread that may hold the lock."""
        self._lock = threading.Lock()
        self._retired = []
        if self._control is not None:
            self._control.abandon()
            self._control = None


_server = _ForkServer()
os.register_at_fork(after_in_child=_server.forget)
warm_up, connect, give_up, reap = _server.warm_up, _server.connect, _server.give_up, _server.reap


def _mark_of(fd: int) -> tuple[int, int] | None:
    """What a descriptor stands for, whatever its number; None if it is closed."""
    try:
        status = os.fstat(fd)
    except own(OSError):
        return None
    return status.st_dev, status.st_ino


def _spawn(program: str, control: int, told_fd: int) -> int:
    if told_fd == 3:  # which is about to be overwritten
        with open(os.dup(told_fd), "rb") as other:
            return _spawn(program, control, other.fileno())
    actions: list[tuple[Any, ...]] = [
        (os.POSIX_SPAWN_DUP2, control, 3),
        (os.POSIX_SPAWN_DUP2, told_fd, 4),
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
    ]

    def spawn(environment: dict[str, str]) -> int:
        return os.posix_spawn(
            program,
            [program, *flags(), "-c", _BOOTSTRAP],
            environment,
            file_actions=actions,
            setsid=True,
            setsigmask=(),  # a host program that blocks SIGCHLD does not leave our children unreaped
            setsigdef=[signal.SIGCHLD, signal.SIGTERM, signal.SIGPIPE],
        )

    return start_with(spawn, os.environ, *hashing())
