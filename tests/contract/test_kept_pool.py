"""What a pool that is kept needs of the core: any call at any time, from any thread, for as long as it lives."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest
from kept_pool import POOLS, KeptPool


@pytest.fixture(params=POOLS)
def kept(request: pytest.FixtureRequest) -> Iterator[KeptPool]:
    pool = KeptPool(request.param)
    yield pool
    pool.shutdown()


def double(value: int) -> int:
    return 2 * value


def fail(text: str) -> None:
    raise KeyError(text)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


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


@pytest.mark.parametrize("shape", ["processes", "grid"])
def test_a_killed_worker_costs_one_future(shape: str) -> None:
    kept = KeptPool(shape)
    try:
        before = [kept.submit(double, value) for value in range(50)]
        killed = kept.submit(die)
        after = [kept.submit(double, value) for value in range(50)]
        with pytest.raises(RuntimeError, match="WorkerDied: its worker process was killed by signal 9"):
            killed.result(60)
        assert [future.result(60) for future in [*before, *after]] == [2 * value for value in range(50)] * 2
    finally:
        kept.shutdown()


def test_a_shutdown_lets_what_was_submitted_end(kept: KeptPool) -> None:
    futures = [kept.submit(double, value) for value in range(100)]
    kept.shutdown()
    assert all(future.done() for future in futures)
    assert not kept.thread.is_alive()
