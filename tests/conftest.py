"""After each test nothing of ours is left: no thread, process, descriptor, shared memory or temporary file.

What is allowed is what was there before the test, and what one warm-up run leaves for good (the fork server of ruling
13 with its few descriptors), so a server that a test killed may come back. A test that leaves threads stuck in a task
says so with `@pytest.mark.leaves_threads`; it is the only exception, and the threads must be daemons.

How things are told apart:
* processes: children at any depth, and every process that inherited this session's mark in its environment (an orphan
  has no parent to be found by). Two processes with one command line and one parent count as the same kind.
* descriptors: by kind, numbers and inodes left out, since a restarted fork server has new ones.
* shared memory: files in /dev/shm that nobody outside this session has mapped.
* temporary files: the session has a temporary folder of its own, so whatever lies there is ours.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import psutil
import pytest
from rounds import examples
from thinned import pytest_collection_modifyitems as pytest_collection_modifyitems

import worker_dispatcher
from worker_dispatcher.osproc import forkserver
from worker_dispatcher.osproc.cores import usable_cores

LONGEST_WAIT = 20.0  # seconds until what is ending must have ended; a clean test waits for nothing, and a leak stays
SERVES = "worker_dispatcher.osproc.server"  # in the command line of a fork server
TEMPLATES_MOST = 6
SHARED_MEMORY = Path("/dev/shm")
MARK = "WORKER_DISPATCHER_TEST_SESSION"
MARK_BYTES = f"{MARK}={os.getpid()}".encode()
os.environ[MARK] = str(os.getpid())
hypothesis.settings.register_profile("by facts, not by the clock", deadline=None, max_examples=examples(100))
hypothesis.settings.load_profile("by facts, not by the clock")


@pytest.fixture(scope="session", autouse=True)
def _own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A temporary folder for this session and all its children, empty between tests."""
    folder = tmp_path_factory.mktemp("t")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def _signals_reach_what_tests_start() -> Iterator[None]:
    """What a program is started with as ignored stays ignored in all that it starts: SIGHUP under nohup, SIGINT and
    SIGQUIT in a background job of a script. A handler does not, so programs under test have the default. Here the first
    and the last still do nothing; SIGINT must interrupt, since tests send it to this process too."""
    handlers = {
        signal.SIGINT: signal.default_int_handler,
        **dict.fromkeys((signal.SIGHUP, signal.SIGQUIT), _do_nothing),
    }
    ignored = [number for number in handlers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, handlers[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


def _do_nothing(number: int, frame: object) -> None:
    """A signal handler."""


@pytest.fixture(scope="session", autouse=True)
def _warm(_own_temporary_folder: Path, _signals_reach_what_tests_start: None) -> Leftovers:
    """What one run with processes leaves for good, and what loading numpy leaves (its threads)."""
    import numpy as np

    np.ones((64, 64)) @ np.ones((64, 64))
    config = {
        "task": {"list": 4, "function": lambda id: id},
        "worker": {"number": 2, "use_processing": True},
        "verbose": False,
    }
    try:
        worker_dispatcher.start(config)
    except Exception as error:  # the tests of pure things must run while the core does not
        warnings.warn(f"the warm-up run failed, so the fork server counts as a leak: {error!r}", stacklevel=1)
    return Leftovers.now(_own_temporary_folder)


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest, _warm: Leftovers, _own_temporary_folder: Path) -> Iterator[None]:
    before = Leftovers.now(_own_temporary_folder)
    yield
    allowed = _threads_allowed(request.node)
    deadline = time.monotonic() + LONGEST_WAIT
    pause = 0.001
    while extra := Leftovers.now(_own_temporary_folder).beyond(before, _warm, allowed):
        if time.monotonic() > deadline:
            text = f"left behind by {request.node.nodeid}:\n" + "\n".join(extra)
            _end_processes_of(before)
            pytest.fail(text, pytrace=False)
        gc.collect()  # an exception that a failed test keeps alive is not a leak of the library
        forkserver.reap()  # one that was replaced may end after all the pools of the test, and waits for the next one
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many sessions `-n auto` runs side by side: most of the time a test waits for what it has started."""
    return 3 * usable_cores()


def pytest_collection_finish(session: pytest.Session) -> None:
    """What has been collected stays: the collector need not look at its half a million objects again and again."""
    gc.collect()
    gc.freeze()


def _threads_allowed(test: pytest.Item) -> float:
    mark = test.get_closest_marker("leaves_threads")
    if mark is None:
        return 0
    most = mark.args[0] if mark.args else mark.kwargs.get("most")
    return float("inf") if most is None else most


@dataclass(frozen=True)
class Leftovers:
    """What this session holds at one moment."""

    threads: frozenset[threading.Thread]
    native_threads: frozenset[int]
    processes: dict[psutil.Process, tuple[str, bool]]  # to (command line, is a direct child)
    descriptors: Counter[str]
    shared_memory: frozenset[str]
    temporary_files: frozenset[str]

    @staticmethod
    def now(temporary_folder: Path) -> Leftovers:
        return Leftovers(
            frozenset(threading.enumerate()),
            frozenset(int(name) for name in os.listdir("/proc/self/task")),
            _processes(),
            _descriptors(),
            frozenset(os.listdir(SHARED_MEMORY)) if SHARED_MEMORY.is_dir() else frozenset(),
            frozenset(os.listdir(temporary_folder)),
        )

    def unknown(self) -> frozenset[int]:
        """The native threads of which Python does not know."""
        return self.native_threads - {thread.native_id for thread in self.threads}

    def beyond(self, before: Leftovers, warm: Leftovers, threads_allowed: float) -> list[str]:
        """One line for each thing that is here now, was not before the test, and is not what a run leaves for good."""
        extra_threads = self.threads - before.threads
        daemons = [thread for thread in extra_threads if thread.daemon]
        forgiven = set(daemons) if len(daemons) <= threads_allowed else set()
        lines = [f"  thread {thread.name} daemon={thread.daemon}" for thread in extra_threads - forgiven]
        # By number: numpy's BLAS ends its threads where this process forks, and starts others at its next use.
        if len(self.unknown()) > max(len(before.unknown()), len(warm.unknown())):
            native = self.unknown() - before.native_threads
            lines += [f"  native thread {tid} that Python does not know" for tid in native]

        may_be = Counter(before.processes.values()) | Counter(warm.processes.values())
        # The fork server keeps what it has forked to import modules in: two, and two of each of these for more.
        may_be |= Counter(
            {(command, False): TEMPLATES_MOST for command, direct in may_be if direct and SERVES in command}
        )
        if Counter(self.processes.values()) - may_be:
            new = {process: kind for process, kind in self.processes.items() if process not in before.processes}
            lines += [f"  process {process.pid}: {command}" for process, (command, _) in new.items()]

        open_now = self.descriptors - (before.descriptors | warm.descriptors)
        lines += [f"  {count} descriptor(s) of {kind}" for kind, count in open_now.items()]
        shared = [name for name in self.shared_memory - before.shared_memory if not _is_a_strangers(name)]
        lines += [f"  shared memory {name}" for name in shared]
        lines += [f"  temporary file {name}" for name in self.temporary_files - before.temporary_files]
        return lines


_strangers: set[str] = set()  # processes that were there at the last look and are none of ours, nor ever will be


def _processes() -> dict[psutil.Process, tuple[str, bool]]:
    me = os.getpid()
    ours: dict[int, tuple[psutil.Process, str, int]] = {}  # with command line and parent
    there = {name for name in os.listdir("/proc") if name.isdigit()}
    _strangers.intersection_update(there)
    # Upwards, so that a child without our mark is mostly met after its parent.
    new, before = sorted(map(int, there - _strangers)), -1
    while len(ours) > before:
        before = len(ours)
        for pid in new:
            if pid not in ours and pid != me:
                try:
                    process = psutil.Process(pid)
                    parent = process.ppid()
                    if parent == me or parent in ours or _is_marked(pid):
                        ours[pid] = process, _command(process), parent
                except psutil.Error:  # it ended while we looked
                    continue
    _strangers.update(there - {str(pid) for pid in (me, *ours)})
    return {process: (command, parent == me) for process, command, parent in ours.values()}


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()) or f"<{process.name()}>"
    except psutil.ZombieProcess:
        return f"<{process.name()}, ended but not reaped>"


def _is_marked(pid: int) -> bool:
    try:
        return MARK_BYTES in Path("/proc", str(pid), "environ").read_bytes().split(b"\0")
    except OSError:  # not ours to read, or ended
        return False


def _descriptors() -> Counter[str]:
    kinds: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the descriptor that this listing itself used
            continue
        kinds[re.sub(r":\[\d+\]$", "", target)] += 1
    return kinds


def _is_a_strangers(name: str) -> bool:
    """True if a process outside this session has the file mapped or open, or had it for the moment in which it was
    seen: other programs use /dev/shm as well."""
    path = f"/{name}"  # its end: a process with a root of its own has the folder under another name
    try:
        file = (SHARED_MEMORY / name).stat()
    except OSError:  # it has gone
        return True
    if os.geteuid() not in (0, file.st_uid):  # who is not root makes no file of another user, nor sees who has it
        return True
    # A semaphore is mapped under the name that its file had before it was linked to this one.
    semaphore = f" {file.st_ino} "
    ours = {os.getpid(), *(process.pid for process in _processes())}
    for pid in psutil.pids():
        if pid in ours:
            continue
        try:
            maps = Path("/proc", str(pid), "maps").read_text(errors="replace")
            if path in maps or any("/sem." in line and semaphore in line for line in maps.splitlines()):
                return True
            descriptors = [entry.path for entry in os.scandir(f"/proc/{pid}/fd")]
            if any(path in os.readlink(descriptor) for descriptor in descriptors):
                return True
        except OSError:
            continue
    return not os.path.lexists(SHARED_MEMORY / name)


def _end_processes_of(before: Leftovers) -> None:
    """End what a test left running, so that one leak is one failure."""
    for process in _processes().keys() - before.processes.keys():
        try:
            process.kill()
        except psutil.Error:
            continue


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """wait_until(fact, within=10): returns as soon as fact() is true, fails the test if it does not become so."""

    def wait(fact: Callable[[], object], within: float = 10.0) -> None:
        deadline = time.monotonic() + within
        pause = 0.001
        while not fact():
            assert time.monotonic() < deadline, f"not true after {within} s: {getattr(fact, '__name__', fact)}"
            time.sleep(pause)
            pause = min(2 * pause, 0.02)

    return wait
