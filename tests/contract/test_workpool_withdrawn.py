"""What a cancel has promised holds: True for what never runs, whatever its worker is doing at that moment."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures

import psutil
import pytest
from gates import Gate, hold
from notes import wait_for
from pooled import APART

from worker_dispatcher.osproc.channel import Frame
from worker_dispatcher.pools.protocol.frames import DROP
from worker_dispatcher.pools.worker.grid import GridWorker


@pytest.fixture
def stopped() -> Iterator[list[int]]:
    """Processes that a test has stopped: they go on at its end."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def stop(pid: int, stopped: list[int]) -> None:
    stopped.append(pid)
    os.kill(pid, signal.SIGSTOP)
    wait_until_stopped(pid)


def go_on(pid: int, stopped: list[int]) -> None:
    os.kill(pid, signal.SIGCONT)
    stopped.remove(pid)


def wait_until_stopped(pid: int) -> None:
    wait_for(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)


def stop_here() -> int:
    """A task that stops its process."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return 0


def answer_late() -> None:
    """A task after which its process is slow to say what it has not begun."""
    take = GridWorker.take

    def late(self: GridWorker, frame: Frame) -> None:
        if frame.kind == DROP:
            time.sleep(0.3)
        take(self, frame)

    GridWorker.take = late


@pytest.mark.parametrize("kind", APART, indirect=True)
def test_what_was_cancelled_never_runs_though_its_worker_hears_of_it_late(kind, new_pool, gate, stopped):
    slots = 1 if kind == "process" else 2
    pool = new_pool(slots)
    pid = pool.submit(os.getpid).result(30)
    list(pool.map(gate.note_or_hold, ["noted"] * 100))  # from here on they are known to be short, and are handed ahead
    held = [pool.submit(gate.note_or_hold, "held") for _ in range(6)]
    wait_for(lambda: gate.begun().count("held") == slots)

    stop(pid, stopped)
    cancelled = [future.cancel() for future in held]
    gate.open()
    go_on(pid, stopped)

    runs = [future for future, gone in zip(held, cancelled, strict=True) if not gone]
    assert [future.result(30) for future in runs] == ["held"] * len(runs)
    assert pool.submit(gate.note_or_hold, "noted").result(30) == "noted"
    assert gate.begun().count("held") == len(runs)
    if kind == "process":  # a grid's worker is asked; of one of a single slot all is known without it
        assert cancelled == [False] + [True] * 5


def load_slowly(folder: str, fails: bool) -> str:
    """What is called to load an item: it stands before the gate."""
    hold(folder, "loading")
    if fails:
        raise KeyError("as told")
    return "loaded"


class LoadedSlowly:
    def __init__(self, gate: Gate, fails: bool) -> None:
        self._how = str(gate.folder), fails

    def __reduce__(self) -> tuple[Callable[..., str], tuple[str, bool]]:
        return load_slowly, self._how


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("kind", APART, indirect=True)
def test_what_is_being_loaded_can_be_cancelled_and_its_worker_goes_on(kind, new_pool, gate, fails):
    pool = new_pool(1 if kind == "process" else 2)
    future = pool.submit(gate.note, LoadedSlowly(gate, fails))
    wait_for(lambda: gate.begun() == ["loading"])
    cancelled = future.cancel()
    gate.open()
    assert pool.submit(gate.note, "another").result(30) == "another"
    if not cancelled:
        futures.wait([future], 30)
    assert sorted(gate.begun()) == ["another", *([] if cancelled or fails else ["loaded"]), "loading"]
    assert cancelled == (kind == "process")


@pytest.mark.parametrize("kind", ["grid"], indirect=True)
def test_what_was_cancelled_never_runs_though_its_worker_answers_late(kind, new_pool, gate):
    pool = new_pool(2)
    list(pool.map(gate.note_or_hold, ["noted"] * 100))
    pool.submit(answer_late).result(30)
    held = [pool.submit(gate.note_or_hold, "held") for _ in range(6)]
    wait_for(lambda: gate.begun().count("held") == 2)
    threading.Timer(0.1, gate.open).start()
    cancelled = [future.cancel() for future in held]

    runs = [future for future, gone in zip(held, cancelled, strict=True) if not gone]
    assert [future.result(30) for future in runs] == ["held"] * len(runs)
    assert gate.begun().count("held") == len(runs)


@pytest.mark.parametrize("kind", APART, indirect=True)
def test_what_has_ended_and_is_not_yet_reported_cannot_be_cancelled(kind, new_pool, gate, stopped):
    slots = 1 if kind == "process" else 2
    pool = new_pool(slots)
    pid = pool.submit(os.getpid).result(30)
    list(pool.map(gate.note_or_hold, ["noted"] * 1000))
    held = [pool.submit(gate.note_or_hold, "held") for _ in range(slots)]
    wait_for(lambda: gate.begun().count("held") == slots)
    ahead = [pool.submit(gate.note_or_hold, f"ahead{nth}") for nth in range(500)]
    last = pool.submit(stop_here)
    ahead += [pool.submit(gate.note_or_hold, f"ahead{nth}") for nth in range(500, 600)]
    gate.open()
    wait_until_stopped(pid)
    stopped.append(pid)

    cancelled = [future.cancel() for future in ahead]
    go_on(pid, stopped)
    assert last.result(30) == 0
    assert [future.result(30) for future in held] == ["held"] * slots
    futures.wait(ahead, 30)
    ran = {name for name in gate.begun() if name.startswith("ahead")}
    wrong = [f"ahead{nth}" for nth, gone in enumerate(cancelled) if gone == (f"ahead{nth}" in ran)]
    assert not wrong
    assert any(cancelled) or kind == "grid"  # whose worker cannot be asked
