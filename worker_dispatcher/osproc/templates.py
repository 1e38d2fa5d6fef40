"""What a fork server has forked to import what workers need, and to fork these: its templates.

    fork server ── OPEN ──▶ template: imports, looks at what that has left, forks the workers of the pool
      waits for the pool's   ── IMPORTING ──▶ the module that is next
      end, or the template's ── TAKEN ──▶ the pool is the template's from here on
                             ── STALE ──▶ what it has imported has been edited since: another is forked
                             ── UNFIT ──▶ no fork of it would be what an import in the worker makes

A template is a fork server in its turn. Whatever ends before it has taken a pool leaves that to the fork server, whose
workers import for themselves.
"""

from __future__ import annotations

import array
import errno
import os
import select
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from worker_dispatcher.clock import now
from worker_dispatcher.osproc.channel import Channel, Gone
from worker_dispatcher.osproc.system import close_all, readable

OPEN, START, STARTED, REFUSED, EXITED, PREPARES, BECOME = range(1, 8)  # frame kinds: to and from the parent,
LOADING, UNFIT = 8, 9  # to the parent, of what becomes of a pool's imports,
IMPORTING, TAKEN, STALE = 10, 11, 12  # and from a template to whoever has forked it

_KEPT = 2  # templates that are kept, those used last
_LAST_BREATH = 1.0  # seconds that those of a server that ends have to end what they have started
_KILLS = (signal.SIGKILL, signal.SIGTERM)


class Pool:
    """A connection, and the spec of the workers that are asked for over it. spec_fd: the file it stands in; asked: it
    has asked for the first of them, and was looked at for what it needs."""

    def __init__(self, sock_fd: int, spec_fd: int) -> None:
        self._sock, self.spec_fd = socket.socket(fileno=sock_fd), spec_fd
        self.channel = Channel(self._sock, blocking=False)
        self.fileno = self.channel.fileno
        self.asked = False

    def close(self) -> None:
        self.channel.close()
        os.close(self.spec_fd)

    @property
    def asks(self) -> bool:
        """Something has come that was not read yet, or the end."""
        return readable(self.fileno())

    def outputs(self) -> list[int]:
        """What the first worker that is asked for is to print to; the asking stays where it is. Raises OSError where
        this process gets no more descriptors, and where nobody asks any more."""
        size = array.array("i").itemsize
        _, ancillary, _, _ = self._sock.recvmsg(1, socket.CMSG_SPACE(4 * size), socket.MSG_PEEK | socket.MSG_DONTWAIT)
        fds = array.array("i")
        for _, _, data in ancillary:
            fds.frombytes(data[: len(data) - len(data) % size])
        if len(fds) < 4:
            close_all(fds)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        close_all(fds[:2])
        return list(fds[2:])

    def tell(self, kind: int, parts: Sequence[bytes] = ()) -> bool:
        """False if nobody hears it any more."""
        try:
            self.channel.send(kind, parts)
        except Gone:
            return False
        return True


class Template:
    """One of them, as its fork server sees it. key: the spec of what it imports, which may be a part of what the pools
    need; loading: it has not imported that yet. waiting: pools that it has been told of, and has not taken. at: the
    module that it imports."""

    def __init__(self, key: bytes, pid: int, channel: Channel) -> None:
        self.key, self.pid, self.channel = key, pid, channel
        self.waiting: deque[Pool] = deque()
        self.loading, self.usable, self.at, self.why = True, True, b"", b""

    def end(self) -> None:
        """It ends with the last pool that it has taken; at once if it has taken none."""
        self.usable = False
        self.channel.close()
        if self.loading:
            self.kill()

    def kill(self) -> None:
        """Its group is its own until it is reaped, and it has forked no worker or these end with it."""
        for end in (os.killpg, os.kill):
            try:
                end(self.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass


class Templates:
    """Those of one fork server, whose thread and poll they use. fork: makes one that imports what this spec names, and
    what that prints goes to these descriptors; serve: what becomes of a pool that none of them takes."""

    def __init__(
        self, poll: select.poll, fork: Callable[[bytes, list[int]], Template], serve: Callable[[Pool], None]
    ) -> None:
        self._poll, self._fork, self._serve = poll, fork, serve
        self._by_pid: dict[int, Template] = {}
        self._by_fd: dict[int, Template | Pool] = {}
        self._last = False  # there are to be no others

    def __len__(self) -> int:
        return len(self._by_pid)

    def has(self, key: bytes) -> bool:
        """There is one for this spec."""
        return self._found(key) is not None

    def _found(self, key: bytes) -> Template | None:
        return next((one for one in self._by_pid.values() if one.usable and one.key == key), None)

    def hand_over(self, pool: Pool, key: bytes) -> None:
        """Have a template take a pool; one that is forked for that, if there is none for this spec and a worker is
        asked for."""
        found = self._found(key)
        if found is None and (self._last or not pool.asks):  # one that is forked now would not be told of the end
            self._serve(pool)
            return
        pool.asked = True  # if it comes back, it is served
        if not pool.tell(LOADING):
            pool.close()
            return
        if found is None:
            try:
                found = self._begin(key, pool.outputs())
            except OSError:  # the system gives no process, or no descriptor: perhaps it gives workers
                self._serve(pool)
                return
        self._by_pid[found.pid] = self._by_pid.pop(found.pid)  # the last is that used last
        found.waiting.append(pool)
        self._by_fd[pool.fileno()] = pool
        self._poll.register(pool.fileno(), 0)  # for its end alone: what comes over it is for who takes it
        try:
            found.channel.send(OPEN, [], [pool.fileno(), pool.spec_fd])
        except (Gone, OSError):
            found.waiting.pop()
            self._serve(self._forget(pool))

    def _keep(self, count: int) -> None:
        """Give up the others: those used first, but none for which somebody waits."""
        usable = [one for one in self._by_pid.values() if one.usable]
        for one in usable[: max(0, len(usable) - count)]:
            if not one.waiting:
                self._give_up(one)

    def _begin(self, key: bytes, outputs: list[int]) -> Template:
        self._keep(_KEPT - 1)
        try:
            made = self._fork(key, outputs)
        finally:
            close_all(outputs)
        self._by_pid[made.pid] = made
        self._by_fd[made.channel.fileno()] = made
        self._poll.register(made.channel.fileno(), select.POLLIN)
        return made

    def hear(self, fd: int) -> bool:
        """There is news of a descriptor; False if it is none of ours."""
        one = self._by_fd.get(fd)
        if isinstance(one, Template):
            self._listen(one)
        elif one is not None:
            self._lost(one)
        return one is not None

    def _listen(self, template: Template) -> bool:
        """False if it has said nothing more."""
        try:
            frames = template.channel.receive()
            for frame in frames:
                if frame.kind == IMPORTING:
                    template.at = bytes(frame.parts[0])
                elif frame.kind == UNFIT:
                    template.at, template.why = map(bytes, frame.parts)
                elif frame.kind == TAKEN:
                    template.loading = False
                    self._forget(template.waiting.popleft()).close()
                    self._keep(0 if self._last else _KEPT)
                elif frame.kind == STALE:
                    waiting, template.waiting = template.waiting, deque()
                    self._give_up(template)
                    for pool in waiting:
                        pool.asked = False
                        self.hand_over(self._forget(pool), template.key)
            return bool(frames)
        except Gone:
            self._give_up(template)
            return False

    def _give_up(self, template: Template) -> None:
        """It is not to take another pool. What it has not taken is served when it has been reaped."""
        if template.usable:
            self._poll.unregister(template.channel.fileno())
            del self._by_fd[template.channel.fileno()]
            template.end()

    def _forget(self, pool: Pool) -> Pool:
        if self._by_fd.pop(pool.fileno(), None) is not None:
            self._poll.unregister(pool.fileno())
        return pool

    def _lost(self, pool: Pool) -> None:
        """The connection of a pool that waits has ended. What nobody waits for is not imported to the end."""
        self._forget(pool)
        for one in self._by_pid.values():
            if one.loading and not any(other.fileno() in self._by_fd for other in one.waiting):
                self._give_up(one)

    def reaped(self, pid: int, status: int) -> bool:
        """A child has ended; False if it is none of ours."""
        template = self._by_pid.pop(pid, None)
        if template is None:
            return False
        template.loading = False  # its number is free
        while template.usable and self._listen(template):  # its end may be heard of before its last words
            pass
        self._give_up(template)
        sent_off = os.WIFSIGNALED(status) and os.WTERMSIG(status) in _KILLS
        why = template.why or (b"" if sent_off else b"the end of its process")
        for pool in template.waiting:
            if why:
                pool.tell(UNFIT, [template.at, why])
            self._serve(self._forget(pool))
        return True

    def let_go(self) -> None:
        """No other pool comes. What waits is taken first."""
        self._last = True
        self._keep(0)

    def end(self) -> None:
        """Have all of them end, and wait a moment for it: they end what they have started, and it would not be ended if
        this process, which takes them along, was faster."""
        for one in list(self._by_pid.values()):
            self._give_up(one)
        await_ends(self._by_pid)
        for one in self._by_pid.values():
            one.kill()


def await_ends(pids: Iterable[int]) -> None:
    """Wait a moment for children to end."""
    until = now() + _LAST_BREATH
    for pid in pids:
        try:
            watch = os.pidfd_open(pid)
        except OSError:  # there is no descriptor to be had
            continue
        readable(watch, max(0.0, until - now()))
        os.close(watch)
