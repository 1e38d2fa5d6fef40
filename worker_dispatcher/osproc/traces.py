"""What the import of a module leaves in this process that no fork of it can have, or may share with others."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import warnings
from typing import Any

from worker_dispatcher.named_tuple import NamedTuple

_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]


class Traces(NamedTuple):
    """What this process has, as the system shows it. place: where it is, and what it may do there."""

    files: dict[str, str]
    shared: frozenset[str]
    place: tuple[Any, ...]
    streams: tuple[Any, ...]
    watched: tuple[Any, ...]

    @staticmethod
    def now() -> Traces:
        return Traces(_files(), _shared_pages(), _place(), (sys.stdout, sys.stderr), _watched())

    def added(self) -> str:
        """What has come since that must not be shared, or would be missed in a fork; empty if nothing has."""
        if _threads() > 1:
            # Of some libraries threads end before a fork, and come back when they are needed: those of OpenBLAS.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if (pid := os.fork()) == 0:
                    os._exit(0)
            os.waitpid(pid, 0)
        if (threads := _threads()) > 1:
            names = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
            return f"{threads - 1} thread(s) {', '.join(names)}".rstrip()
        if _has_children():
            return "a process"
        if (files := _files()) != self.files:
            changed = sorted(set(files.items()) ^ set(self.files.items()))
            return f"an open file or socket ({changed[0][1]})"
        if pages := _shared_pages() - self.shared:
            return f"memory that all workers would share ({min(pages)}), such as a lock of multiprocessing"
        now = Traces(files, self.shared, _place(), (sys.stdout, sys.stderr), _watched())
        if now.place != self.place:
            return "another folder, umask or limit"
        if any(one is not other for one, other in zip(now.streams, self.streams, strict=True)):
            return "another sys.stdout or sys.stderr"
        return "" if now.watched == self.watched else "a timer, a blocked signal, or a handler of SIGCHLD"


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _files() -> dict[str, str]:
    """Descriptor -> what it stands for."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # that of the listing
            continue
    return found


def _shared_pages() -> frozenset[str]:
    """Mappings that are written to for all who have them."""
    with open("/proc/self/maps", "rb", buffering=0) as file:
        lines = file.readall().decode(errors="replace").splitlines()
    return frozenset(line.partition(" ")[2] for line in lines if line.split(" ", 2)[1][1::2] == "ws")


def _place() -> tuple[Any, ...]:
    os.umask(umask := os.umask(0o077))
    limits = tuple(map(resource.getrlimit, _LIMITS))
    return os.getcwd(), umask, limits, os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0), os.getresuid()


def _watched() -> tuple[Any, ...]:
    timers = tuple(map(signal.getitimer, (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)))
    started = tuple(first > 0 for first, _ in timers)
    return started, signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGCHLD)
