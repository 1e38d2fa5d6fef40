"""The parent's side of starting workers: from the fork server, in fresh interpreters, or by a plain fork."""

from __future__ import annotations

import errno
import importlib
import itertools
import math
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence

from worker_dispatcher.clock import now
from worker_dispatcher.errors import RunError
from worker_dispatcher.loaded import loaded
from worker_dispatcher.osproc import forkserver
from worker_dispatcher.osproc.channel import Channel, Gone
from worker_dispatcher.osproc.spawn_spec import (
    NO_PRELOADING,
    Identity,
    Preloading,
    identity_of,
    spawn_spec,
    status_of_this_thread,
)
from worker_dispatcher.osproc.spec_file import as_file, write
from worker_dispatcher.osproc.system import close_all, exiting, given, make_ready, readable
from worker_dispatcher.signals import held

# The frame kinds of server.py, which the parent never imports.
_START, _STARTED, _REFUSED, _EXITED, _PREPARES = range(2, 7)
_LOADING, _UNFIT = 8, 9
_SENT = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


class Process:
    """A worker process as the parent sees it.

    pid, sentinel: None until it is known to have started; sentinel is a pidfd, readable once it has ended.
    refused: why it could not be started, or None. status: its wait status, None while unknown.
    unkillable: this process was not permitted to kill it.
    over: it has been reaped, be it by the host program.
    """

    def __init__(self) -> None:
        self.pid: int | None = None
        self.sentinel: int | None = None
        self.status: int | None = None
        self.refused: str | None = None
        self.unkillable = False
        self.over = False
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
            except ProcessLookupError:
                pass
            except PermissionError:
                self.unkillable = True

    @property
    def ended(self) -> bool:
        """True once it has certainly ended, reaped or not."""
        return self.status is not None or (self.sentinel is not None and readable(self.sentinel))

    @property
    def ending(self) -> bool:
        """True once its end has begun: it runs no code any more."""
        return self.ended or (self.pid is not None and exiting(self.pid))

    @property
    def sent_off(self) -> bool:
        """It has ended of a signal that somebody sends: none of those by which the system ends what goes wrong."""
        return self.status is not None and os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) in _SENT

    @property
    def cause(self) -> str:
        """How it ended, in words."""
        if self.refused is not None:
            return f"could not be started: {self.refused}"
        if self.status is None:
            return "ended for an unknown reason (the host program reaped it, or the fork server stands still)"
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


def warm_up(entry: str) -> None:
    """Begin to start what workers are forked from, so that it is there when a pool wants it. entry: as for `starter`.

    Returns at once. From any thread.
    """
    forkserver.warm_up(entry.partition(":")[0])


class ServerStarter:
    """Starts the workers of one pool through the fork server; its connection is their life-line.

    Used by the pool's driving thread only. fileno() is readable when `pump` has news; unsent: of its channel.
    due: when the server must have said what is awaited of it (monotonic); infinite while nothing is, and while modules
    of the user are imported: then it is loading.
    """

    def __init__(
        self,
        entry: str,
        fresh: bool,
        environment: dict[str, str],
        imports: Sequence[str],
        preloading: Preloading = NO_PRELOADING,
        unfit: Callable[[str, str], object] = lambda name, why: None,
    ) -> None:
        """unfit: is told the name of a module that is not to be imported where workers are forked from, and why."""
        make_ready()
        self._module = entry.partition(":")[0]
        self._tokens = itertools.count(1)
        self._processes: dict[bytes, Process] = {}
        status = status_of_this_thread()
        self._unfit, self.loading = unfit, False
        self._spec = spawn_spec(
            entry, fresh=fresh, environment=environment, imports=imports, preloading=preloading, status=status
        )
        self._spec_fd = as_file(self._spec)
        try:
            self._connect(identity_of(status))
        except BaseException:
            os.close(self._spec_fd)
            raise

    def _connect(self, identity: Identity) -> None:
        sock, self._server = forkserver.connect(self._module, self._spec_fd, identity)
        self._channel = Channel(sock, blocking=False)
        self.fileno, self.unsent = self._channel.fileno, self._channel.unsent
        self._unheard, self.due = 0, math.inf  # how many starts are to be answered; by when the next one is

    def preload(self, preloading: Preloading) -> None:
        """Before the first start: have this imported, and not what was told at first."""
        about = {"preload": preloading.loader, "about": preloading.about, "mark": preloading.mark}
        self._spec |= about | {"layers": list(map(list, preloading.layers))}
        write(self._spec_fd, self._spec)

    def start(self, sock: socket.socket, status_fd: int, ours: int) -> Process:
        """A new worker with this socket and shared status. Returns at once; `pump` says when it runs. ours: this
        process's end of the socket, which a fork is not to keep."""
        process, token = Process(), b"%d" % next(self._tokens)
        try:
            # Without any worker there is nothing to do but wait until a new server has taken what was sent before.
            within = 0.0 if self._processes else forkserver.FIRST_WORD
            self._channel.send_soon(_START, [token], [sock.fileno(), status_fd, 1, 2], within)
        except Gone:
            pass  # `pump`, which will be called for it, finds the server gone too
        self._processes[token] = process
        self._await(1)  # where it could not be asked for, no answer will come
        return process

    def _await(self, answers: int) -> None:
        self._unheard += answers
        self.due = now() + forkserver.FIRST_WORD if self._unheard and not self.loading else math.inf

    def pump(self) -> list[Process]:
        """Take in what the server says; the processes it spoke of. Raises Gone if the server is."""
        if self.unsent:
            self._channel.flush()
        news = []
        for frame in self._channel.receive():
            if frame.kind == _UNFIT:
                self._unfit(*(bytes(part).decode(errors="replace") for part in frame.parts))
                continue
            self.loading = frame.kind == _LOADING
            if frame.kind != _EXITED:
                self._await(0 if frame.kind in (_PREPARES, _LOADING) else -1)
            if frame.kind in (_PREPARES, _LOADING):
                continue
            token, text = bytes(frame.parts[0]), bytes(frame.parts[1])
            process = self._processes.get(token)
            if process is None:  # refused before it was known to run; it ends with its channel
                close_all(frame.fds)
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
                process.status, process.over = int(text), True
                del self._processes[token]
        return news

    def give_up(self) -> RunError:
        """The server is silent: end it, and close the connection. Returns the error to be raised."""
        self._channel.close()
        forkserver.give_up(self._server)
        self.due = math.inf
        return RunError(
            f"the process that starts workers has said nothing for {forkserver.FIRST_WORD:g} s, and was ended: is "
            f"sys.executable, {sys.executable!r}, a Python that starts?"
        )

    def reconnect(self) -> None:
        """After Gone: connect to a new fork server. The old one has ended with all that it had started; it is killed
        all the same, since a program that is no server may only have closed its connection."""
        self._channel.close()
        forkserver.give_up(self._server)
        self._processes.clear()
        if self._spec["layers"]:  # what it had imported may be what has ended it
            os.close(self._spec_fd)
            self._spec_fd = -1
            self._spec_fd = as_file(self._spec | {"layers": []})
        self._connect(identity_of(status_of_this_thread()))

    def close(self) -> None:
        self._channel.close()
        if self._spec_fd >= 0:
            close_all([self._spec_fd])
            self._spec_fd = -1
        forkserver.reap()


class ForkStarter:
    """Starts workers as forks of this process: on request only, since a fork copies locks other threads hold."""

    def __init__(
        self,
        entry: str,
        environment: dict[str, str],
        before_fork: Callable[[], None],
        in_child: Callable[[], None],
    ) -> None:
        make_ready()
        from worker_dispatcher.osproc import child  # as what the entry needs: once here, not in every fork

        importlib.import_module(entry.partition(":")[0])
        self._steps, self._entry = child, entry
        self._environment, self._before_fork, self._in_child = environment, before_fork, in_child
        self._processes: dict[Process, tuple[int, int]] = {}  # to the descriptors that we keep for it
        self.unsent, self.due, self.loading = (), math.inf, False

    def fileno(self) -> int:
        return -1

    def start(self, sock: socket.socket, status_fd: int, ours: int) -> Process:
        process, us = Process(), os.getpid()
        self._before_fork()
        with held():  # what is called around a fork loses whatever a handler raises in it
            pid = os.fork()
            if pid == 0:
                try:
                    self._child(sock.fileno(), status_fd, ours, us)
                except BaseException as error:
                    self._steps.say_why(error, sock.fileno())
                finally:
                    os._exit(70)
            try:
                process.started(pid, given("pidfd_open", lambda: os.pidfd_open(pid)))
            except BaseException:  # nobody would see its end
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise
            self._processes[process] = ours, status_fd
        return process

    def _child(self, sock: int, status_fd: int, ours: int, parent: int) -> None:
        signal.set_wakeup_fd(-1)
        close_all([ours])
        for process, kept in self._processes.items():  # a limit on descriptors has no room for those of all workers
            close_all((process.sentinel, *kept) if process.sentinel is not None else ())
        self._steps.forget_signals()
        self._steps.shuffle(alone=False)
        self._steps.forget_ends()
        self._steps.look_again(math.inf)
        os.environ.update(self._environment)  # all else that a spec tells is as it was here
        if (shared := loaded("multiprocessing.util")) is not None:
            shared._run_after_forkers()  # what is shared through a fork learns of it only so
        self._in_child()
        entry = self._steps.import_entry({"entry": self._entry, "imports": ()})
        self._steps.stay(sock, status_fd, entry, parent)

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
            process.over = True
            del self._processes[process]
            news.append(process)
        return news

    def close(self) -> None:
        with held():  # nobody else would reap them
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
