"""The fork server: a small clean process that starts the workers, and ends them when their owner is gone.

It has one thread and imports little, so a fork of it is cheap and safe, whatever threads and locks the
user's process holds. Each pool has a connection of its own; when that ends, or the parent's process does,
every worker of it is killed with its process group. Code of the user runs in forks of it only: what workers need is
imported in a template (templates.py), which is a server too once it has done that.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import marshal
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from worker_dispatcher.clock import wall
from worker_dispatcher.osproc import spec_file
from worker_dispatcher.osproc.channel import Channel, Crowded, Frame, Gone
from worker_dispatcher.osproc.child import (
    be_there,
    become,
    exec_fresh,
    leave_group,
    look_again,
    open_streams,
    prepare,
    shuffle,
    take_descriptors,
    take_ids,
)
from worker_dispatcher.osproc.system import close_all
from worker_dispatcher.osproc.templates import (
    BECOME,
    EXITED,
    IMPORTING,
    PREPARES,
    REFUSED,
    STALE,
    STARTED,
    TAKEN,
    UNFIT,
    Pool,
    Template,
    Templates,
    await_ends,
)
from worker_dispatcher.osproc.traces import Traces

_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
_FEW = 8  # modules after each of which it is looked what it has made, which takes a millisecond or two
_MOMENT = 2.0  # seconds within which a folder may change twice, and have one date


class Preload(Protocol):
    """What imports modules in a template: made by the function that a spec names, of what that spec says of it."""

    def bring(self, name: str) -> str:
        """Import a module; why what that has made is not to be forked, or empty. Runs user code."""

    def settle(self, names: Sequence[str]) -> tuple[str, str]:
        """Once these are there: the same for all of them, after the name of the one that it is about, if known."""

    def fresh(self) -> bool:
        """They would be imported as they are, by a worker that did it now."""


class _Server:
    """Owns everything; one thread, one wait: the connections, the parent's end, the children's ends.

    depth: how many layers of modules are imported here, each in a fork of the one before. preload: what has imported
    the last of them; None in the first server.
    """

    def __init__(self, control: Channel, parent: int, depth: int = 0, preload: Preload | None = None) -> None:
        self._control, self._depth, self._preload = control, depth, preload
        self._taken = False  # the pool for which this template was made has been taken
        self._began = wall()
        self._last = False  # nobody will open another connection
        self._us = os.getpid()  # also in what is forked from here
        self._pools: dict[int, Pool] = {}
        # Not by the number of its connection, which another one may have by the time that a child is reaped.
        self._children: dict[int, tuple[Pool, bytes]] = {}  # pid -> whose, token
        self._spec_text = b""
        self._spec: dict[str, Any] = {}
        self._entry: Callable[[int, int], Any]  # of the spec
        self._poll = select.poll()
        self._parent_pid, self._parent = parent, os.pidfd_open(parent)
        self._wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        for fd in (self._control.fileno(), self._parent, self._wake):
            self._poll.register(fd, select.POLLIN)
        self._templates = Templates(self._poll, self._fork_template, self._serve)

    def serve(self) -> None:
        try:
            while True:
                for fd, _ in self._poll.poll():
                    self._attend(fd)
                if self._last and not (self._pools or self._templates):
                    raise SystemExit
        finally:
            for fd in list(self._pools):  # first, so that there are descriptors
                self._drop(fd)
            self._templates.end()

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
                self._templates.let_go()
        elif fd in self._pools:
            self._listen(fd)
        else:
            self._templates.hear(fd)

    def _drain_wake(self) -> None:
        try:
            while os.read(self._wake, 4096):
                pass
        except BlockingIOError:
            pass

    def _open(self, frame: Frame) -> None:
        if len(frame.fds) < 2:  # no room for one more connection: the pool hears that it has none, or finds another
            close_all(frame.fds)
            if self._preload is not None:
                self._answer(STALE)
            return
        pool = Pool(*frame.fds)
        if self._preload is not None and not self._take(pool):
            return
        key = self._lacked(pool)
        if key and self._templates.has(key):  # which looks at its files while workers are asked for
            self._templates.hand_over(pool, key)
        else:
            self._serve(pool)

    def _lacked(self, pool: Pool) -> bytes:
        """The spec of what a pool needs, up to the layer that is next here; empty if nothing is missing."""
        spec = marshal.loads(spec_file.read(pool.spec_fd))
        if all(name in sys.modules for layer in spec["layers"][self._depth :] for name in layer):
            return b""
        # Later versions write what is equal in more than one way.
        return marshal.dumps(spec | {"layers": spec["layers"][: self._depth + 1]}, 2)

    def _take(self, pool: Pool) -> bool:
        """In a template: say whether it has what a pool needs. What the first one needs has just been imported."""
        assert self._preload is not None
        fresh = not self._taken or self._preload.fresh()
        self._taken = True
        if not (self._answer(TAKEN if fresh else STALE) and fresh):
            pool.close()
            return False
        return True

    def _answer(self, kind: int) -> bool:
        """In a template: to who has forked it. False if that is gone."""
        try:
            self._control.send(kind)
        except Gone:
            return False
        return True

    def _serve(self, pool: Pool) -> None:
        """Listen to a pool. One that needs what is not here is given away once it asks for its first worker: only then
        its spec is complete."""
        fd = pool.fileno()
        self._pools[fd] = pool
        self._poll.register(fd, select.POLLIN)
        look_again(self._began - _MOMENT)

    def _become(self, groups: list[int], gids: tuple[int, int, int], uids: tuple[int, int, int]) -> None:
        """Take the ids that the parent has by now. A server with workers ends: it could not kill these any more."""
        self._templates.end()
        for fd in [fd for fd, pool in self._pools.items() if pool.channel.severed()]:
            self._drop(fd)  # whose end we had yet to look at
        if self._pools:
            raise SystemExit
        await_ends(self._children)
        self._reap()  # what they leave behind is killed as who we are now
        if 0 in os.getresuid():
            os.seteuid(0)
        os.setgroups(groups)
        os.setresgid(*gids)
        os.setresuid(*uids)

    def _listen(self, fd: int) -> None:
        pool = self._pools[fd]
        try:
            if not pool.asked and not pool.channel.severed():
                pool.asked = True
                if key := self._lacked(pool):
                    self._poll.unregister(fd)
                    self._templates.hand_over(self._pools.pop(fd), key)
                    return
            pool.channel.flush()
            self._poll.modify(fd, select.POLLIN | (select.POLLOUT if pool.channel.unsent else 0))
            while frames := pool.channel.receive():
                for frame in frames:
                    self._start(pool, frame)
        except Gone:
            self._drop(fd)

    def _drop(self, fd: int) -> None:
        self._poll.unregister(fd)
        pool = self._pools.pop(fd)
        pool.close()
        self._kill({pid for pid, (owner, _) in self._children.items() if owner is pool})

    def _kill(self, pids: set[int]) -> None:
        for pid in pids:  # children of ours that are not reaped, so the ids are still theirs
            for end in (os.killpg, os.kill):
                try:
                    end(pid, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    pass

    def _start(self, pool: Pool, frame: Frame) -> None:
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
            self._children[pid] = (pool, token)
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

    def _read(self, pool: Pool) -> None:
        """Be what the workers of a pool are forked from; most come with the spec of those before, and all of a template
        with its own."""
        text = spec_file.read(pool.spec_fd)
        if self._depth or text == self._spec_text:
            return
        pool.channel.send(PREPARES)  # which may take a while, and who waits is to know that we are at it
        self._spec_text = b""
        self._spec = marshal.loads(text)
        if not self._spec["fresh"]:
            self._entry = prepare(self._spec)
        elif not os.access(self._spec["executable"], os.X_OK, effective_ids=True):
            raise PermissionError(f"sys.executable {self._spec['executable']!r} is no program that can be run")
        self._spec_text = text

    def _child(self, pool: Pool, fds: list[int]) -> None:
        try:
            signal.set_wakeup_fd(-1)
            if self._spec["fresh"]:
                exec_fresh(self._spec, fds, pool.spec_fd, self._us)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # of the others, see `main` and who starts this process
            shuffle(alone=True)  # before numpy 2 its random numbers are loaded with it
            become(self._spec, fds, self._entry, self._us)
        finally:
            os._exit(70)

    def _reap(self) -> None:
        while self._children or self._templates:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            if found is None:
                return
            # While it is a zombie its id cannot be given to another, so its group is its own.
            try:
                os.killpg(found.si_pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
            _, status = os.waitpid(found.si_pid, 0)
            if self._templates.reaped(found.si_pid, status):
                continue
            pool, token = self._children.pop(found.si_pid, (None, b""))
            if pool is not None and pool in self._pools.values():
                try:
                    pool.channel.send(EXITED, [token, str(status).encode()])
                except Gone:
                    self._drop(pool.fileno())

    def _fork_template(self, key: bytes, outputs: list[int]) -> Template:
        ours, theirs = socket.socketpair()
        try:
            pid = os.fork()
            if pid == 0:
                try:
                    self._be_template(key, [theirs.fileno(), *outputs])
                finally:
                    os._exit(70)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return Template(key, pid, Channel(ours, blocking=False))

    def _be_template(self, text: bytes, fds: list[int]) -> None:
        """In a fork of this server: import one layer of what a spec names, and serve the pools that come with it.
        fds: its control socket, and what imports print to."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        leave_group(self._us)
        take_descriptors(fds, (3, 1, 2))
        control, spec = Channel(socket.socket(fileno=3), blocking=False), marshal.loads(text)
        entry = self._entry if self._depth else prepare(spec)
        preload = _preloaded(control, spec, spec["layers"][self._depth])
        server = _Server(control, self._parent_pid, self._depth + 1, preload)
        server._spec, server._entry = spec, entry
        with contextlib.suppress(SystemExit):
            server.serve()
        os._exit(0)  # what was imported has nothing to do at the end of this process


def _preloaded(control: Channel, spec: dict[str, Any], names: list[str]) -> Preload:
    """Import modules in the place that the workers of a spec will be in. Does not return where that is of no use."""
    limits = {number: resource.getrlimit(number) for number in _LIMITS}
    be_there(spec)
    open_streams()
    module, _, name = spec["preload"].partition(":")
    preload: Preload = getattr(importlib.import_module(module), name)(spec["about"])
    before, why = Traces.now(), ""
    few = len(names) <= _FEW
    for name in names:
        control.send(IMPORTING, [name.encode()])
        why = preload.bring(name) or before.added()
        if why := why or (preload.settle([name])[1] if few else ""):
            break
    if not (why or few):
        name, why = preload.settle(names)
    if why:
        control.send(UNFIT, [name.encode(), why.encode(errors="replace")])
        os._exit(0)
    with open(os.devnull, "r+b", buffering=0) as null:  # whoever reads what was printed waits for the end of it
        os.dup2(null.fileno(), 1)
        os.dup2(null.fileno(), 2)
    for number, limit in limits.items():
        with contextlib.suppress(ValueError, OSError):  # what was given up is given up
            resource.setrlimit(number, limit)
    os.umask(0o077)
    os.chdir("/")
    return preload


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
        server = _Server(Channel(socket.socket(fileno=control_fd), blocking=False), told["parent"])
    except ProcessLookupError:  # it has ended
        os._exit(0)
    if os.getppid() != told["parent"]:
        os._exit(0)
    with contextlib.suppress(ImportError):
        importlib.import_module(told["module"])
    for fd in range(3):
        os.dup2(null, fd)
    server.serve()
