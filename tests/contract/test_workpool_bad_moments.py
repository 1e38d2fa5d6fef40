"""What comes to a pool in the midst of something else: signals that raise, a garbage collector, what a pickle calls,
and threads that the system refuses."""

import gc
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from pooled import adds_up, gate, kind, new_pool  # noqa: F401

from worker_dispatcher import RunError, WorkerPool
from worker_dispatcher.workpool import future as future_module
from worker_dispatcher.workpool import lazy_future

pytestmark = pytest.mark.above_the_pools

plain = pytest.mark.parametrize("kind", ["thread", "process"])


class Pressed(BaseException):
    pass


@pytest.fixture
def press():
    """Has a signal come whose handler raises Pressed."""

    def handler(number, frame):
        raise Pressed

    before = signal.signal(signal.SIGUSR1, handler)
    yield lambda: signal.raise_signal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def before(press, method):
    """The method, with a signal in front of it."""

    def pressed(*args):
        press()
        return method(*args)

    return pressed


@plain
def test_a_signal_that_raises_while_a_task_is_cancelled_leaves_no_task_half_ended(new_pool, press):  # noqa: F811
    pool = new_pool(1)
    future, backlog = pool.schedule(abs, [-1], delay=3600), pool._scheduler.backlog
    backlog.forget = before(press, backlog.forget)
    with pytest.raises(Pressed):
        future.cancel()
    assert pool.join(10)
    assert future.cancelled()
    assert pool.stats().cancelled == 1
    assert adds_up(pool)


@plain
def test_a_group_counts_a_task_once_that_was_taken_as_a_signal_raised(new_pool, press):  # noqa: F811
    pool = new_pool(1)
    group, intake = pool.group(), pool._scheduler.intake
    intake._submit = before(press, intake._submit)
    with pytest.raises(Pressed):
        group.submit(abs, -1)
    del intake._submit
    group.submit(abs, -2)
    assert group.wait(30)
    assert len(group) == 0
    assert sorted(result.value for result in group.results()) == [1, 2]


def test_a_task_for_the_overflow_is_not_forgotten_where_a_signal_raises(press, gate):  # noqa: F811
    with ThreadPoolExecutor(1) as other, WorkerPool(1, capacity=1, overflow=other) as pool:
        pool.submit(gate.hold)
        intake = pool._scheduler.intake
        intake._submit = before(press, intake._submit)
        with pytest.raises(Pressed):
            pool.submit(gate.note, "away")
        gate.open()
        assert pool.join(20), pool.stats()
        assert "away" in gate.begun()
        assert adds_up(pool)


def test_tasks_that_were_not_sent_to_the_overflow_since_a_signal_raised_come_home(gate):  # noqa: F811
    class Interrupted(ThreadPoolExecutor):
        def submit(self, *args, **kwargs):
            raise Pressed

    with Interrupted(1) as other, WorkerPool(1, capacity=4, overflow=other) as pool:
        for _ in range(2):
            pool.submit(gate.hold)
        with pytest.raises(Pressed):
            pool.schedule_many([(gate.note, (name,), {}) for name in "abcd"])
        gate.open()
        assert pool.join(20), pool.stats()
        assert sorted(gate.begun()) == ["a", "b", "c", "d", "held", "held"]
        assert adds_up(pool)


def test_a_garbage_collector_may_cancel_a_task_while_another_one_changes(monkeypatch):
    class Lock:
        """The collector comes just when the lock is held."""

        def __enter__(self):
            real.acquire()
            gc.collect()

        def __exit__(self, *_):
            real.release()

    class Dropped:
        def __init__(self, future):
            self.future, self.myself = future, self

        def __del__(self):
            self.future.cancel()

    done, real = [], future_module.making
    with WorkerPool(1) as pool:
        delayed, other = (pool.schedule(abs, [-1], delay=3600) for _ in range(2))

        def cancel():
            Dropped(delayed)
            done.append(other.cancel())

        gc.collect()
        for module in (future_module, lazy_future):
            monkeypatch.setattr(module, "making", Lock())
        thread = threading.Thread(target=cancel, daemon=True)
        thread.start()
        thread.join(20)
        monkeypatch.undo()
        if not done:
            real._at_fork_reinit()
        assert done == [True]
        assert delayed.cancelled()


class Cancels:
    def __init__(self, cancel):
        self.cancel = cancel

    def __reduce__(self):
        self.cancel()
        return int, ()


@pytest.mark.parametrize("kind", ["process", "grid"])
def test_what_is_called_while_arguments_are_packed_may_cancel_what_runs(new_pool, gate):  # noqa: F811
    pool, said = new_pool(2), []
    held = pool.submit(gate.hold)
    while not gate.begun():
        pool.submit(abs, 1).result(30)
    asking = threading.Thread(
        target=lambda: said.append(pool.submit(abs, Cancels(lambda: pool.cancel(held))).result(20)), daemon=True
    )
    asking.start()
    asking.join(20)
    gate.open()
    assert said == [0]
    assert held.cancelled()


@pytest.fixture
def refused(monkeypatch):
    """refused(end): the system refuses the first thread whose name ends so."""
    real, names = threading.Thread.start, []

    def start(thread):
        if names and thread.name.endswith(names[0]):
            names.clear()
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    return names.append


def test_a_pool_that_got_no_thread_for_its_first_task_takes_the_next_one(kind, new_pool, refused):  # noqa: F811
    refused("-driver")
    pool, function = new_pool(1), double if kind == "coroutine" else abs
    with pytest.raises(RunError, match="no thread can be started"):
        pool.submit(function, -1)
    assert len(pool) == 0
    assert pool.submit(function, -2).result(30) in (2, -4)
    pool.shutdown(timeout=20)
    assert pool.stats().submitted == 1
    assert adds_up(pool)


async def double(x):
    return 2 * x


@pytest.mark.parametrize("tasks", [1, 3])
@plain
def test_callbacks_for_which_there_was_no_thread_are_called_later(new_pool, refused, tasks):  # noqa: F811
    pool, told = new_pool(1), []
    refused("-callbacks")
    for _ in range(tasks):
        pool.schedule(abs, [-1], on_done=told.append).result(30)
    pool.shutdown(timeout=20)
    assert pool._scheduler.over.is_set()
    assert [result.value for result in told] == [1] * tasks
