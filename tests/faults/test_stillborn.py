"""Workers that end before they can work: somebody may be killing them, and it may be that none ever will."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from notes import Notes, wait_for

import worker_dispatcher as wd
from worker_dispatcher import WorkerPool
from worker_dispatcher.osproc.starter import Process
from worker_dispatcher.pools.parent import births
from worker_dispatcher.pools.parent.supervisor import Supervisor
from worker_dispatcher.pools.parent.worker_handle import WorkerHandle

Dooms = Callable[..., None]


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path / "notes")


@pytest.fixture
def dooms(monkeypatch: pytest.MonkeyPatch, notes: Notes) -> Iterator[Dooms]:
    """dooms(first, last, number): of all workers, in the order in which they are asked for, those from the first to the
    last are sent this signal once they have started, and nothing else: so none of them begins to work before.
    once: a fact for which that waits."""
    order: list[WorkerHandle] = []
    killing: list[threading.Thread] = []
    chosen = range(0)
    greet, welcome = WorkerHandle.greet, Supervisor._welcome

    def is_doomed(handle: WorkerHandle) -> bool:
        if handle not in order:
            order.append(handle)
        return order.index(handle) + 1 in chosen

    def met(handle: WorkerHandle, *greeting: Any) -> None:
        if is_doomed(handle):
            monkeypatch.setattr(handle.channel, "send", lambda *_: None)
        greet(handle, *greeting)

    def welcomed(supervisor: Supervisor, process: Process) -> None:
        welcome(supervisor, process)
        if process.pid is not None and any(is_doomed(one) for one in supervisor.handles if one.process is process):
            killing.append(threading.Thread(target=kill, args=(process.pid,)))
            killing[-1].start()

    def choose(first: int, last: int, number: int, once: Callable[[], bool] = lambda: True) -> None:
        nonlocal chosen, kill
        chosen = range(first, last + 1)

        def kill(pid: int) -> None:
            wait_for(once)
            with suppress(ProcessLookupError):  # it has been welcomed before
                os.kill(pid, number)
                notes.add(f"doomed {pid}")

    def kill(pid: int) -> None:
        """None is doomed yet."""

    monkeypatch.setattr(WorkerHandle, "greet", met)
    monkeypatch.setattr(Supervisor, "_welcome", welcomed)
    monkeypatch.setattr(births, "_PAUSE", 0.0)
    yield choose
    for thread in killing:
        thread.join()


@pytest.fixture
def outlives_many(notes: Notes) -> Callable[[int], int]:
    """A task that ends once more are doomed than may end in a row."""

    def work(task: int) -> int:
        notes.add("working")
        wait_for(lambda: sum(note.startswith("doomed") for note in notes.all()) > 22)
        return task

    return work


def new_pool(kind: str) -> WorkerPool:
    return WorkerPool(4, kind=kind, threads_per_process=2 if kind == "grid" else 1)


@pytest.mark.parametrize("kind", ["process", "grid"])
def test_a_pool_outlives_a_storm_that_kills_every_worker_while_it_is_born(kind: str, dooms: Dooms) -> None:
    dooms(1, 25, signal.SIGKILL)
    with new_pool(kind) as pool:
        assert [*pool.map(abs, range(-20, 0))] == [*range(20, 0, -1)]
        assert pool.stats().failed == 0


@pytest.mark.parametrize("method", [None, "spawn", "fork"])
def test_a_run_outlives_one_too(process_shape: dict[str, Any], method: str | None, run: Any, dooms: Dooms) -> None:
    dooms(1, 7, signal.SIGTERM)
    assert run(abs, [-1, -2, -3], {**process_shape, "start_method": method}) == [1, 2, 3]
    assert {log["attempts"] for log in wd.get_logs()} == {1}


def test_it_ends_where_they_end_by_their_own_fault(process_shape: dict[str, Any], run: Any, dooms: Dooms) -> None:
    dooms(1, 1000, signal.SIGSEGV)
    with pytest.raises(
        wd.RunError, match=r"before they begin a task: the last one was killed by signal 11 \(SIGSEGV\)"
    ):
        run(abs, [-1, -2, -3], process_shape)


@pytest.mark.parametrize(("number", "patience"), [(signal.SIGSEGV, "_PATIENCE_KEPT"), (signal.SIGKILL, "_PATIENCE")])
@pytest.mark.parametrize("kind", ["process", "grid"])
def test_a_pool_of_which_no_worker_ever_works_says_so_in_the_end(
    kind: str, number: int, patience: str, dooms: Dooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(births, patience, 0.2)
    dooms(1, 1_000_000, number)
    with new_pool(kind) as pool:
        error = pool.submit(abs, -1).exception(60)
        assert isinstance(error, BrokenExecutor)
        assert "worker processes end before they begin a task: the last one was killed by signal" in str(error)


@pytest.mark.filterwarnings("ignore::worker_dispatcher.WorkerWarning")
def test_a_run_goes_on_with_the_worker_that_works(
    process_shape: dict[str, Any], run: Any, dooms: Dooms, notes: Notes, outlives_many: Any
) -> None:
    dooms(2, 1_000_000, signal.SIGSEGV, once=notes.has("working"))
    assert run(outlives_many, [1, 2, 3, 4, 5, 6], process_shape) == [1, 2, 3, 4, 5, 6]


def test_it_says_that_there_were_fewer(run: Any, dooms: Dooms, notes: Notes, outlives_many: Any) -> None:
    dooms(2, 1_000_000, signal.SIGSEGV, once=notes.has("working"))
    with pytest.warns(wd.WorkerWarning, match="before they begin a task, so there were fewer: the last one was killed"):
        run(outlives_many, [1, 2], {"number": 2, "use_processing": True})


@pytest.mark.parametrize("kind", ["process", "grid"])
def test_a_pool_goes_on_with_the_worker_that_works(kind: str, dooms: Dooms, notes: Notes, outlives_many: Any) -> None:
    dooms(2, 1_000_000, signal.SIGSEGV, once=notes.has("working"))
    with new_pool(kind) as pool:
        assert [*pool.map(outlives_many, range(9))] == [*range(9)]
