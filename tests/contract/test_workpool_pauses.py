"""Two threads that pause and resume one pool: the last one decides, for all of it."""

import math
import threading
import time

import pytest

from worker_dispatcher import WorkerPool


@pytest.mark.parametrize("kind", ["thread", "process", "dask"])
def test_after_pauses_and_resumes_that_overlap_the_pool_goes_on(new_pool):
    with new_pool(2) as pool:
        pool.submit(abs, 1).result(30)

        def flicker():
            for _ in range(100):
                with pool.pause(timeout=0):
                    pass

        threads = [threading.Thread(target=flicker) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert pool.submit(abs, -3).result(30) == 3


def noted(path):
    with open(path, "ab", buffering=0) as file:
        file.write(b".")


def test_a_task_that_ends_as_its_worker_is_paused_is_neither_lost_nor_run_again(tmp_path):
    """Its report was on its way, and not read, when it was looked at what the worker had begun."""
    path = tmp_path / "notes"
    with WorkerPool(1, kind="process") as pool:
        pool.submit(abs, 1).result(30)
        (handle,) = pool._scheduler.pool._handles
        receive, take_back, looking = handle.receive, handle.take_back, threading.Event()

        def look():
            looking.set()
            return take_back()

        handle.take_back = look
        handle.receive = lambda **how: receive(**how) if looking.is_set() else []  # not before that
        future = pool.group().submit(noted, path)  # by way of the backlog
        while not path.exists() or handle.slate.begun():
            time.sleep(0.001)
        pool.pause(timeout=0)
        assert looking.wait(30)
        while handle.settles_at < math.inf:
            time.sleep(0.001)
        pool.resume()
        future.result(30)
        assert pool.submit(abs, -1).result(30) == 1
    assert path.stat().st_size == 1
