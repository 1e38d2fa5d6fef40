"""A pool that lives for days keeps nothing of the tasks, and of the workers, that are gone."""

from __future__ import annotations

import psutil
import pytest
from kept_pool import POOLS, SETUP, KeptPool

from worker_dispatcher.pools.processes import ProcessPool


def double(value: int) -> int:
    return 2 * value


@pytest.mark.slow
@pytest.mark.timeout(600)  # two minutes and more in the grid, on two cores with other work
@pytest.mark.parametrize("shape", POOLS)
def test_a_hundred_thousand_tasks_leave_memory_level(shape: str) -> None:
    kept, me, used = KeptPool(shape), psutil.Process(), []
    try:
        for _ in range(50):
            futures = [kept.submit(double, value) for value in range(2_000)]
            assert [future.result(120) for future in futures] == [2 * value for value in range(2_000)]
            used.append(me.memory_info().rss + sum(child.memory_info().rss for child in me.children(recursive=True)))
    finally:
        kept.shutdown()
    assert max(used[40:]) - max(used[10:20]) < 8 << 20
    assert not kept.futures


def test_workers_that_are_gone_leave_no_names_and_each_complaint_is_kept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = SETUP._replace(max_tasks=1)
    monkeypatch.setitem(POOLS, "recycled", lambda: ProcessPool(setup, (1, 1), method=None, environment={}))
    kept = KeptPool("recycled")
    try:
        for value in range(16):
            assert kept.submit(double, value).result(60) == 2 * value
        assert len(kept.pool.pids) <= 4
        assert len(kept.pool.complaints.texts) <= 1
    finally:
        kept.shutdown()
