"""Sizes that change faster than workers come and go."""

from __future__ import annotations

import os
import signal

import pytest

from worker_dispatcher import WorkerPool

PATIENCE = 60  # seconds, for what takes one or two on a machine that has nothing else to do


@pytest.mark.parametrize("kind", ["process", "grid"])
def test_workers_that_a_resize_has_made_too_many_do_not_pile_up_before_they_are_gone(kind):
    """The fork server stands still, as where the machine has much else to do: none begins, and of none is it known
    that it is gone."""
    with WorkerPool(1, kind=kind) as pool:
        server = pool.submit(os.getppid).result(PATIENCE)
        os.kill(server, signal.SIGSTOP)
        try:
            futures = []
            for _ in range(60):
                pool.resize(12)
                futures += [pool.submit(abs, -number) for number in range(50)]  # workers are started for them
                pool.resize(1)
            assert pool._scheduler.pool._supervisor._number < 40
        finally:
            os.kill(server, signal.SIGCONT)
        assert [future.result(PATIENCE) for future in futures] == [*range(50)] * 60
        pool.resize(3)
        assert pool.submit(abs, -3).result(PATIENCE) == 3
