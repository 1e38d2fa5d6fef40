"""A deadline is kept while every worker is busy: nothing else would make the pool look."""

import threading

import pytest

from worker_dispatcher import DeadlineExceeded, WorkerPool


def test_a_task_that_is_queued_behind_a_long_one_expires_in_time():
    gate = threading.Event()
    with WorkerPool(1) as pool:
        busy = pool.submit(gate.wait, 30)
        late = [pool.schedule(abs, (1,), deadline=0.1), pool.group(deadline=0.1).submit(abs, 1)]
        for future in late:
            with pytest.raises(DeadlineExceeded):
                future.result(10)
            assert future.outcome().state == "expired"
        assert not busy.done()
        gate.set()
        assert busy.result(10)
