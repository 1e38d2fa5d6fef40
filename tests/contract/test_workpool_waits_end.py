"""No wait for a pool lasts for ever, and what nobody waits for is let go."""

import gc
import threading
import time
import weakref

import pytest
from pooled import gate, kind, new_pool  # noqa: F401

from worker_dispatcher import PoolClosed, WorkerPool

pytestmark = pytest.mark.above_the_pools

plain = pytest.mark.parametrize("kind", ["thread", "process", "grid"])


@plain
def test_a_paused_pool_that_nobody_holds_does_what_it_has(kind):  # noqa: F811
    pool = WorkerPool(1, kind=kind)
    pool.submit(abs, 1).result(30)
    pool.pause()
    future, scheduler = pool.submit(abs, -3), pool._scheduler
    del pool
    gc.collect()
    assert future.result(20) == 3
    assert scheduler.over.wait(20)


@plain
def test_who_waits_for_room_hears_of_a_shutdown_at_once(new_pool, gate):  # noqa: F811
    pool, said = new_pool(1, capacity=1), []
    pool.submit(gate.hold)

    def submit():
        try:
            pool.submit(abs, 1)
        except PoolClosed as error:
            said.append(error)

    thread = threading.Thread(target=submit, daemon=True)
    thread.start()
    while not pool._scheduler.waiters:
        time.sleep(0.001)
    pool.shutdown(wait=False)
    thread.join(20)
    assert said
    gate.open()


@plain
def test_waits_for_a_future_that_were_given_up_leave_nothing_in_it(new_pool, gate):  # noqa: F811
    pool = new_pool(1)
    future = pool.submit(gate.hold)
    for _ in range(50):
        with pytest.raises(TimeoutError):
            future.result(0)
    assert future._wakers == ()
    gate.open()
    assert future.result(30) == "held"


class Value:
    pass


def test_a_deadline_far_off_does_not_keep_results_of_tasks_that_have_ended(gate):  # noqa: F811
    with WorkerPool(2, deadline=3600) as pool:
        pool.submit(gate.hold)  # its deadline is the first of all
        seen = [weakref.ref(pool.submit(Value).result(30)) for _ in range(1000)]
        gc.collect()
        assert sum(ref() is not None for ref in seen) < 300
        gate.open()


def test_priorities_that_no_task_has_any_more_are_forgotten(gate):  # noqa: F811
    with WorkerPool(1) as pool:
        pool.submit(gate.hold)
        for priority in range(-100, 100):
            future = pool.schedule(gate.note, [str(priority)], priority=priority)
        gate.open()
        assert pool.join(30)
        assert future.done()
        late = [int(name) for name in gate.begun()[3:]]  # one may have been taken before more urgent ones came
        assert late == sorted(late, reverse=True)
        assert len(pool._scheduler.backlog._lanes) <= 2


@plain
def test_a_callback_that_raises_system_exit_costs_no_other_task_anything(new_pool, gate):  # noqa: F811
    pool, called = new_pool(1), []

    def leave(future):
        called.append(future)
        raise SystemExit(3)

    future = pool.group().submit(gate.hold)  # by way of the backlog
    future.add_done_callback(leave)
    future.add_done_callback(called.append)
    other = pool.submit(abs, -2)
    gate.open()
    assert other.result(30) == 2
    assert pool.submit(abs, -3).result(30) == 3
    assert called == [future, future]


@plain
def test_what_decides_on_a_retry_cannot_wait_for_its_pool(new_pool):  # noqa: F811
    said = []

    def decide(error):
        for wait in (pool.shutdown, pool.join, other.result, group.wait):
            try:
                wait()
            except RuntimeError as refusal:
                said.append(str(refusal))
        return False

    pool = new_pool(1)
    group = pool.group()
    other = group.schedule(abs, [-1], delay=3600)
    assert isinstance(pool.schedule(int, ["x"], retries=1, retry_on=decide).exception(20), ValueError)
    assert len(said) == 4, said
    other.cancel()


@pytest.mark.parametrize("kind", ["process", "grid"])
def test_a_callback_in_the_thread_that_hears_all_ends_cannot_wait_for_one(new_pool, gate):  # noqa: F811
    pool, said = new_pool(1), []
    future, other = pool.submit(gate.hold), pool.schedule(abs, [-1], delay=3600)
    future.add_done_callback(lambda _: said.append(catch(other.result)))
    gate.open()
    future.result(30)
    assert pool.submit(abs, -2).result(20) == 2
    assert isinstance(said[0], RuntimeError)
    other.cancel()


def catch(function):
    try:
        return function()
    except RuntimeError as error:
        return error
