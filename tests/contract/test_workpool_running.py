"""What says that it runs does run: what a worker was handed ahead waits, and is told as waiting."""

from __future__ import annotations

import pytest
from gates import of
from notes import wait_for


@pytest.mark.differs_on_a_cluster("what was sent there is not taken back, and counts as waiting a moment longer")
def test_no_more_futures_say_that_they_run_than_there_are_workers(kind, new_pool, gate):
    pool = new_pool(2)
    task = of(kind, gate.note_or_hold)
    list(pool.map(task, ["noted"] * 100))  # from here on they are known to be short, and are handed to busy workers
    futures = [pool.submit(task, "held") for _ in range(6)]
    wait_for(lambda: gate.begun().count("held") == 2)

    running = [future.running() for future in futures]
    assert running.count(True) == 2
    stats = pool.stats()
    assert (stats.running, stats.queued) == (2, 4)
    waiting = [future for future, runs in zip(futures, running, strict=True) if not runs]
    assert all(future.cancel() for future in waiting)
    gate.open()
    assert [future.result(30) for future, runs in zip(futures, running, strict=True) if runs] == ["held"] * 2
    assert not any(future.running() for future in futures)
    assert gate.begun().count("held") == 2
