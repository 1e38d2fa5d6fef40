"""The fork server: a small clean process that starts the workers, and ends them when their owner is gone.

It has one thread and imports little, so a fork of it is cheap and safe, whatever threads and locks the
user's process holds. Each pool has a connection of its own; when that ends, or the parent's process does,
every worker of it is killed with its process group. Nothing here runs code of the user.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import marshal
import os
import select
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any

from worker_dispatcher.clock import wall
from worker_dispatcher.osproc.channel import Channel, Crowded, Frame, Gone
from worker_dispatcher.osproc.child import become, exec_fresh, look_again, prepare, shuffle, take_ids

OPEN, START, STARTED, REFUSED, EXITED, PREPARES, BECOME = range(1, 8)  # frame kinds
_MOMENT = 2.0  # seconds within which a folder may change twice, and have one date


class _Pool:
    """A connection, and the spec of the workers that are asked for over it; spec_fd: the file it stands in."""

    def __init__(self, channel: Channel, spec_fd: int) -> None:
        self.channel, self.spec_fd = channel, spec_fd

    def close(self) -> None:
        self.channel.close()
        os.close(self.spec_fd)


class _Server:
    """Owns everything; one thread, one wait: the connections, the parent's end, the children's ends."""

    def __init__(self, control: socket.socket, parent: int) -> None:
        self._control = Channel(control, blocking=False)
        self._began = wall()
        self._last = False  # nobody will open another connection
        self._pools: dict[int, _Pool] = {}
        self._children: dict[int, tuple[int, bytes]] = {}  # pid -> connection's fd, token
        self._spec_text = b""
        self._spec: dict[str, Any] = {}
        self._entry: Callable[[int, int], Any]  # of the spec
        self._poll = select.poll()
        self._parent = os.pidfd_open(parent)
        self._wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        for fd in (self._control.fileno(), self._parent, self._wake):
            self._poll.register(fd, select.POLLIN)

    def serve(self) -> None:
        try:
            while True:
                for fd, _ in self._poll.poll():
                    self._attend(fd)
                if self._last and not self._pools:
                    raise SystemExit
        finally:
            self._kill(set(self._children))

    def _attend(self, fd: int) -> None:
        if fd == self._parent:
            raise SystemExit
        if fd == self._wake:
            self._drain_wake()
            self._reap()
        elif fd == self._control.fileno():
            try:
                for frame in self._control.receive():
                    if frame.kind == BECOME:
                        self._become(*marshal.loads(frame.parts[0]))
                    else:
                        self._open(frame)
            except Gone:
                self._poll.unregister(fd)
                self._last = True
        elif fd in self._pools:
            self._listen(fd)

    def _drain_wake(self) -> None:
        try:
            while os.read(self._wake, 4096):
                pass
        except BlockingIOError:
            pass

    def _open(self, frame: Frame) -> None:
        if len(frame.fds) < 2:  # no room for one more connection: the pool hears that it has none
            for one in frame.fds:
                os.close(one)
            return
        pool = _Pool(Channel(socket.socket(fileno=frame.fds[0]), blocking=False), frame.fds[1])
        fd = pool.channel.fileno()
        self._pools[fd] = pool
        self._poll.register(fd, select.POLLIN)
        look_again(self._began - _MOMENT)

    def _become(self, groups: list[int], gids: tuple[int, int, int], uids: tuple[int, int, int]) -> None:
        """Take the ids that the parent has by now. A server with workers ends: it could not kill these any more."""
        if self._pools:
            raise SystemExit
        if 0 in os.getresuid():
            os.seteuid(0)
        os.setgroups(groups)
        os.setresgid(*gids)
        os.setresuid(*uids)

    def _listen(self, fd: int) -> None:
        pool = self._pools[fd]
        try:
            pool.channel.flush()
            self._poll.modify(fd, select.POLLIN | (select.POLLOUT if pool.channel.unsent else 0))
            while frames := pool.channel.receive():
                for frame in frames:
                    self._start(fd, pool, frame)
        except Gone:
            self._drop(fd)

    def _drop(self, fd: int) -> None:
        self._poll.unregister(fd)
        self._pools.pop(fd).close()
        self._kill({pid for pid, (owner, _) in self._children.items() if owner == fd})

    def _kill(self, pids: set[int]) -> None:
        for pid in pids:  # children of ours that are not reaped, so the ids are still theirs
            for end in (os.killpg, os.kill):
                try:
                    end(pid, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    pass

    def _start(self, fd: int, pool: _Pool, frame: Frame) -> None:
        token = bytes(frame.parts[0])
        try:
            if len(frame.fds) < 4:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            self._read(pool)
            # The descriptors that its start needs are had before it is forked: a worker that is refused never ran.
            for end in os.pipe():
                os.close(end)
            pid = os.fork()
            if pid == 0:
                self._child(pool, frame.fds)
            self._children[pid] = (fd, token)
            sentinel = os.pidfd_open(pid)
        except Exception as error:  # also an import that fails: the pool must hear of it, and the others live on
            pool.channel.send(REFUSED, [token, f"{type(error).__name__}: {error}".encode(errors="replace")])
            return
        finally:
            for one in frame.fds:
                os.close(one)
        try:
            pool.channel.send(STARTED, [token, str(pid).encode()], [sentinel])
        except Crowded as error:  # nobody could watch it
            self._kill({pid})
            pool.channel.send(REFUSED, [token, str(error).encode()])
        finally:
            os.close(sentinel)

    def _read(self, pool: _Pool) -> None:
        """Be what the workers of a pool are forked from; most come with the same spec as the ones before."""
        text = os.pread(pool.spec_fd, os.fstat(pool.spec_fd).st_size, 0)
        if text == self._spec_text:
            return
        pool.channel.send(PREPARES)  # which may take a while, and who waits is to know that we are at it
        self._spec_text = b""
        self._spec = marshal.loads(text)
        if not self._spec["fresh"]:
            self._entry = prepare(self._spec)
        elif not os.access(self._spec["executable"], os.X_OK, effective_ids=True):
            raise PermissionError(f"sys.executable {self._spec['executable']!r} is no program that can be run")
        self._spec_text = text

    def _child(self, pool: _Pool, fds: list[int]) -> None:
        try:
            signal.set_wakeup_fd(-1)
            if self._spec["fresh"]:
                exec_fresh(self._spec, fds, pool.spec_fd)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # of the others, see `main` and who starts this process
            shuffle()  # before numpy 2 its random numbers are loaded with it
            become(self._spec, fds, self._entry)
        finally:
            os._exit(70)

    def _reap(self) -> None:
        while self._children:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            if found is None:
                return
            # While it is a zombie its id cannot be given to another, so its group is its own.
            try:
                os.killpg(found.si_pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
            _, status = os.waitpid(found.si_pid, 0)
            fd, token = self._children.pop(found.si_pid, (-1, b""))
            if fd in self._pools:
                try:
                    self._pools[fd].channel.send(EXITED, [token, str(status).encode()])
                except Gone:
                    self._drop(fd)


def main(control_fd: int, told: Mapping[str, Any]) -> None:
    """Serve until the parent is gone. Called by the bootstrap with the control socket at `control_fd`.

    told: parent: its process id; module: loaded before anybody asks for it, if it can be (the first worker is refused
    where it cannot); ids: those of groups and users of the parent: real, effective, saved.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.closerange(control_fd + 1, 1 << 20)  # what the host program made inheritable is not held open here
    take_ids(*told["ids"])
    os.umask(0o077)
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    try:
        server = _Server(socket.socket(fileno=control_fd), told["parent"])
    except ProcessLookupError:  # it has ended
        os._exit(0)
    if os.getppid() != told["parent"]:
        os._exit(0)
    with contextlib.suppress(ImportError):
        importlib.import_module(told["module"])
    for fd in range(3):
        os.dup2(null, fd)
    server.serve()
