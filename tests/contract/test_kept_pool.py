"""What a pool that is kept needs of the core: any call at any time, from any thread, for as long as it lives."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kept_pool import POOLS, KeptPool

from worker_dispatcher.pools.base import Batch

# What a shape has at first, in a process; with one worker; with four.
SIZES = {"threads": ((2,), (1,), (4,)), "processes": ((1,) * 2, (1,), (1,) * 4), "grid": ((2, 2), (2,), (2,) * 4)}


@pytest.fixture(params=POOLS)
def shape(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kept(shape: str) -> Iterator[KeptPool]:
    pool = KeptPool(shape)
    yield pool
    pool.shutdown()


def until(true: Callable[[], object]) -> None:
    by = time.monotonic() + 30
    while not true():
        assert time.monotonic() < by
        time.sleep(0.005)


def double(value: int) -> int:
    return 2 * value


def fail(text: str) -> None:
    raise KeyError(text)


def die(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def note(path: str) -> None:
    with open(path, "a") as file:
        file.write(f"{os.getpid()}-{threading.get_ident()}\n")


def note_and_wait(path: str) -> None:
    """Say that it has begun; end when there is a file `go` beside that."""
    note(path)
    while not Path(path).with_name("go").exists():
        time.sleep(0.005)


def noted(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def test_calls_come_from_four_threads_and_each_future_has_its_own_result(kept: KeptPool) -> None:
    results: dict[int, list[int]] = {}

    def submit(nth: int) -> None:
        futures = [kept.submit(double, 1000 * nth + value) for value in range(200)]
        results[nth] = [future.result(60) for future in futures]

    threads = [threading.Thread(target=submit, args=(nth,)) for nth in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {nth: [2 * (1000 * nth + value) for value in range(200)] for nth in range(4)}


def test_a_pool_that_has_rested_takes_more_and_a_failed_call_comes_back_whole(kept: KeptPool) -> None:
    for value in range(3):
        assert kept.submit(double, value).result(60) == 2 * value
        with pytest.raises(KeyError, match=f"'lost {value}'"):
            kept.submit(fail, f"lost {value}").result(60)


def test_tasks_of_many_functions_are_told_apart_and_more_of_them_than_a_worker_keeps(kept: KeptPool) -> None:
    functions: list[Callable[[Any], Any]] = [lambda value, nth=nth: (nth, value) for nth in range(150)]
    for _ in range(2):
        futures = [(nth, kept.submit(function, nth)) for nth, function in enumerate(functions)]
        assert [future.result(60) for _, future in futures] == [(nth, nth) for nth, _ in futures]


def test_a_function_that_cannot_be_sent_or_loaded_fails_its_own_tasks(kept: KeptPool, shape: str) -> None:
    if shape == "threads":
        pytest.skip("nothing is sent to a thread")
    lock = threading.Lock()
    with pytest.raises(Exception, match=r"pickle|sent to a worker"):
        kept.submit(lambda value: (lock, value), 1).result(60)
    with pytest.raises(Exception, match="no way to load it"):
        kept.submit(Unloadable(), 1).result(60)
    assert kept.submit(double, 4).result(60) == 8


class Unloadable:
    def __call__(self, value: int) -> int:
        return value

    def __reduce__(self) -> tuple[Any, ...]:
        return refuse, ()


def refuse() -> None:
    raise ValueError("no way to load it")


@pytest.mark.parametrize("shape", ["processes", "grid"])
def test_a_killed_worker_costs_one_future(shape: str) -> None:
    kept = KeptPool(shape)
    try:
        before = [kept.submit(double, value) for value in range(50)]
        killed = kept.submit(die, None)
        after = [kept.submit(double, value) for value in range(50)]
        with pytest.raises(RuntimeError, match="WorkerDied: its worker process was killed by signal 9"):
            killed.result(60)
        assert [future.result(60) for future in [*before, *after]] == [2 * value for value in range(50)] * 2
    finally:
        kept.shutdown()


def test_one_task_has_a_timeout_of_its_own_and_the_others_none(kept: KeptPool, tmp_path: Path) -> None:
    kept.submit(double, 1).result(60)
    long = kept.submit(time.sleep, 1.5)
    late = kept.submit(note_and_wait, str(tmp_path / "begun"), timeout=0.3)
    with pytest.raises(Exception, match=r"longer than its timeout of 0\.3 s"):
        late.result(30)
    (tmp_path / "go").touch()  # for the thread that was left behind
    assert long.result(60) is None
    assert kept.submit(double, 4).result(60) == 8


def test_a_pool_shrinks_to_one_worker_and_grows_to_four(kept: KeptPool, shape: str, tmp_path: Path) -> None:
    two, one, four = SIZES[shape]
    for nth, slots in enumerate((two, one, four, one, two)):
        kept.driver.ask(partial(kept.pool.resize, slots))
        folder = tmp_path / str(nth)
        folder.mkdir()
        count = sum(slots)
        futures = [kept.submit(note_and_wait, str(folder / "begun")) for _ in range(2 * count)]
        until(lambda folder=folder, count=count: len(noted(folder / "begun")) >= count)
        time.sleep(0.2)
        assert len(noted(folder / "begun")) == count
        (folder / "go").touch()
        for future in futures:
            future.result(60)


def test_those_that_are_too_many_leave_once_their_tasks_have_ended(kept: KeptPool, shape: str, tmp_path: Path) -> None:
    two, one, _ = SIZES[shape]
    futures = [kept.submit(note_and_wait, str(tmp_path / "begun")) for _ in range(sum(two))]
    until(lambda: len(noted(tmp_path / "begun")) == sum(two))
    kept.driver.ask(partial(kept.pool.resize, one))
    more = [kept.submit(note, str(tmp_path / "more")) for _ in range(40)]
    (tmp_path / "go").touch()
    for future in [*futures, *more]:
        future.result(60)
    assert len(noted(tmp_path / "begun")) == sum(two)
    until(lambda: len(kept.pool.pids) == sum(one))


def test_a_task_that_runs_is_ended_by_name_and_its_fellows_are_not(kept: KeptPool, tmp_path: Path) -> None:
    doomed = kept.submit(note_and_wait, str(tmp_path / "begun"))
    until(lambda: noted(tmp_path / "begun"))
    fellows = [kept.submit(double, value) for value in range(20)]
    kept.driver.ask(partial(kept.pool.kill, 1))
    with pytest.raises(CancelledError):
        doomed.result(30)
    assert [future.result(60) for future in fellows] == [2 * value for value in range(20)]
    assert len(noted(tmp_path / "begun")) == 1
    (tmp_path / "go").touch()  # for the thread that was left behind


def test_a_task_that_waits_behind_others_comes_back_when_it_is_to_end(
    kept: KeptPool, shape: str, tmp_path: Path
) -> None:
    kept.submit(double, 1).result(60)
    futures = {1 + nth: kept.submit(note_and_wait, str(tmp_path / "begun")) for nth in range(1, 41)}
    until(lambda: noted(tmp_path / "begun"))
    until(lambda: 40 - len(kept.calls.fresh) > sum(SIZES[shape][0]))  # the pool has more than it can run
    back: set[int] = set()
    put_back, doomed = kept.calls.put_back, range(4, 41)

    def filtered(batch: Batch) -> None:
        if batch.first in doomed:
            back.add(batch.first)
            kept.futures.pop(batch.first).cancel()
        else:
            put_back(batch)

    kept.calls.put_back = filtered  # type: ignore[method-assign]
    for task_id in doomed:
        kept.driver.ask(partial(kept.pool.kill, task_id))
    until(lambda: back)
    (tmp_path / "go").touch()
    until(lambda: all(future.done() for future in futures.values()))
    for task_id, future in futures.items():
        assert future.cancelled() == (task_id in back)
        assert task_id in back or future.exception() is None or task_id in doomed  # it had begun
    assert len(noted(tmp_path / "begun")) == 40 - len(back)


def test_nothing_begins_in_a_pool_that_is_paused_and_all_when_it_goes_on(kept: KeptPool, tmp_path: Path) -> None:
    first = [kept.submit(note_and_wait, str(tmp_path / "begun")) for _ in range(40)]
    until(lambda: noted(tmp_path / "begun"))
    paused = threading.Event()
    kept.driver.ask(lambda: (kept.pool.pause(), paused.set()))
    assert paused.wait(30)
    time.sleep(0.1)
    begun = len(noted(tmp_path / "begun"))
    (tmp_path / "go").touch()
    until(lambda: sum(future.done() for future in first) == begun)
    more = kept.submit(note, str(tmp_path / "begun"))
    time.sleep(0.2)
    assert len(noted(tmp_path / "begun")) == begun < 40
    kept.driver.ask(kept.pool.resume)
    kept.driver.wake()
    for future in [*first, more]:
        future.result(60)
    assert len(noted(tmp_path / "begun")) == 41


def test_a_shutdown_lets_what_was_submitted_end(kept: KeptPool) -> None:
    futures = [kept.submit(double, value) for value in range(100)]
    kept.shutdown()
    assert all(future.done() for future in futures)
    assert not kept.thread.is_alive()


class SlowToLoad:
    """Takes longer to come to a worker than its tasks may take."""

    def __call__(self, value: int) -> int:
        return -value

    def __reduce__(self) -> tuple[Any, ...]:
        return slowly, ()


def slowly() -> SlowToLoad:
    time.sleep(1.5)
    return SlowToLoad()


@pytest.mark.parametrize("shape", ["processes", "grid"])
def test_the_time_that_a_function_takes_to_load_is_no_tasks_time(kept: KeptPool) -> None:
    kept.submit(double, 1).result(60)
    call = SlowToLoad()
    futures = [kept.submit(call, value, timeout=0.5) for value in range(4)]
    assert [future.result(60) for future in futures] == [0, -1, -2, -3]
