"""Tasks that a thread which submits them gives to an idle worker process itself, while the driver sleeps."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import Future

import pytest

from tests.contract.kept_pool import KeptPool
from worker_dispatcher import TaskTimeout, WorkerDied, WorkerPool
from worker_dispatcher.pools.base import Batch

PATIENCE = 30  # seconds, for what takes a moment on a machine that has nothing else to do


def double(x):
    return 2 * x


def nap(seconds):
    time.sleep(seconds)
    return seconds


def raises(x):
    raise KeyError(x)


def dies(x):
    os.kill(os.getpid(), signal.SIGKILL)


def length(data):
    return len(data)


def process_id(_=None):
    return os.getpid()


@pytest.fixture(params=["process", "grid"])
def pool(request):
    with WorkerPool(2, kind=request.param, threads_per_process=2 if request.param == "grid" else 1) as made:
        assert made.submit(double, 1).result(PATIENCE) == 2
        yield made


@pytest.fixture(params=["processes", "grid"])
def kept(request):
    made = KeptPool(request.param)
    try:
        yield made
    finally:
        made.shutdown()


def test_an_idle_process_takes_a_task_from_the_thread_that_submits_it(kept):
    kept.submit(double, 1).result(PATIENCE)  # a worker is there, and idle
    number, future = 1 << 20, Future()
    kept.futures[number] = future
    batch = Batch(number, (21,), call=kept.functions[double])

    def done(*told):
        kept.futures.pop(number)
        future.set_result(told[1])

    until = time.monotonic() + PATIENCE
    while not kept.driver.offer(batch, done):  # it may be in a turn
        assert time.monotonic() < until, "no idle worker has taken it"
        time.sleep(0.001)
    assert future.result(PATIENCE) == 42


def test_a_payload_that_does_not_fit_into_the_socket_at_once_arrives_while_the_driver_sleeps(pool):
    # Too small for pages of its own, too large for what the system keeps for a socket.
    for size in (150_000, 250_000):
        time.sleep(0.05)  # the driver sleeps, and does not know that there is more to write
        assert pool.submit(length, b"x" * size).result(PATIENCE) == size


@pytest.mark.parametrize("value", [None, "text" * 2000, list(range(10_000)), {"a": (1, 2.5)}, b"y" * 400_000])
def test_results_and_arguments_of_any_size_come_through(pool, value):
    assert pool.submit(double, 3).result(PATIENCE) == 6
    got = pool.submit(max, [value], key=id).result(PATIENCE)
    assert got == value


def test_a_task_over_its_time_is_ended_where_the_driver_had_nothing_to_wait_for(pool):
    time.sleep(0.05)
    future = pool.schedule(nap, (60,), timeout=0.2)
    began = time.monotonic()
    with pytest.raises(TaskTimeout):
        future.result(PATIENCE)
    assert time.monotonic() - began < 5
    assert pool.submit(double, 4).result(PATIENCE) == 8


def test_what_a_task_raises_comes_with_its_traceback(pool):
    with pytest.raises(KeyError) as caught:
        pool.submit(raises, "it").result(PATIENCE)
    assert "raise KeyError(x)" in str(caught.value.__cause__)
    assert pool.submit(double, 4).result(PATIENCE) == 8


def test_a_process_that_dies_costs_the_task_that_it_ran_and_no_other():
    with WorkerPool(1, kind="process") as pool:
        for round_ in range(5):
            assert pool.submit(double, round_).result(PATIENCE) == 2 * round_
            with pytest.raises(WorkerDied):
                pool.submit(dies, 0).result(PATIENCE)
        assert pool.submit(double, 8).result(PATIENCE) == 16


def test_a_task_that_cannot_be_packed_says_so(pool):
    with pytest.raises(Exception, match=r"cannot be sent to a worker process|pickle"):
        pool.submit(double, threading.Lock()).result(PATIENCE)
    assert pool.submit(double, 4).result(PATIENCE) == 8


def test_a_paused_pool_gives_nothing_to_idle_processes(pool):
    with pool.pause():
        future = pool.submit(double, 5)
        time.sleep(0.1)
        assert not future.done()
    assert future.result(PATIENCE) == 10


def test_callbacks_of_a_task_may_submit_cancel_and_wait_for_other_threads(pool):
    ended = threading.Event()

    def then(_):
        again = pool.submit(double, 6)
        other = pool.schedule(double, (7,), delay=60)
        assert other.cancel()
        again.add_done_callback(lambda future: ended.set())

    pool.submit(double, 5).add_done_callback(then)
    assert ended.wait(PATIENCE)


def test_two_threads_that_submit_at_once_lose_nothing(pool):
    wrong = []

    def work(base):
        for n in range(300):
            if pool.submit(double, base + n).result(PATIENCE) != 2 * (base + n):
                wrong.append(base + n)

    threads = [threading.Thread(target=work, args=(base,)) for base in (0, 10_000, 20_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    stats = pool.stats()
    assert stats.submitted == stats.succeeded
    assert stats.running == stats.queued == 0


def test_a_process_leaves_after_the_tasks_that_it_may_run_also_where_each_was_given_by_itself():
    with WorkerPool(1, kind="process", max_tasks_per_child=3) as pool:
        pids = [pool.submit(process_id).result(PATIENCE) for _ in range(9)]
    assert len(set(pids)) == 3
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3]
