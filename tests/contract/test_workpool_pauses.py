"""Two threads that pause and resume one pool: the last one decides, for all of it."""

import threading

import pytest

from worker_dispatcher import WorkerPool


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_after_pauses_and_resumes_that_overlap_the_pool_goes_on(kind):
    with WorkerPool(2, kind=kind) as pool:
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
