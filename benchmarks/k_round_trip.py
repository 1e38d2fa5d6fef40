"""K. How long does one task take there and back, in a pool that is warm and has nothing else to do?

One caller hands in a task, waits for its result and hands in the next, 1 000 times, after a warm-up: by submit() and
result() of a WorkerPool, as with the rivals; and, as a further way to use us, by a launched run whose generator waits
for the caller. One floor is the bare way there and back, which wakes the worker and the caller. The other has the five
wake-ups of a launched run and nothing else: of the reader of the task list, the driver, the worker, the driver and the
caller.
"""

from __future__ import annotations

import os
import queue
import select
import socket
import statistics
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from benchmarks import harness, kept_pools
from benchmarks.goals import Goal
from benchmarks.trivial import noop, timed_noop

Trip = Callable[[int], harness.Record]  # there and back, for one task
Opened = Callable[[int], Any]  # a context manager: a warm pool of so many workers, as a Trip
COUNT = 1_000
WARM = 100
TASK, ANSWER = struct.Struct("q"), struct.Struct("qdd")  # an item; a record


def round_trips(
    case: harness.Case, contestant: harness.Contestant, items: Sequence[int], chunk: int | None
) -> dict[str, float]:
    """Microseconds of one round trip: the median, and the 99th percentile."""
    took = contestant.run(case, items, chunk)
    return {
        "us_per_trip": statistics.median(took) * 1e6,
        "p99_us": statistics.quantiles(took, n=100)[98] * 1e6,
    }


def trips(opened: Opened) -> Callable[..., list[float]]:
    def run(case: harness.Case, items: Sequence[int], chunk: int | None) -> list[float]:
        took = []
        with opened(case.workers) as trip:
            for item in [*items[:WARM], *items]:
                began = perf_counter()
                result, start, end = trip(item)
                took.append(perf_counter() - began)
                assert result == item
                assert start <= end
        return took[WARM:]

    return run


def submitting(opened: kept_pools.Opened) -> Opened:
    """The trips of a pool with `submit`."""

    @contextmanager
    def trip_of(workers: int) -> Iterator[Trip]:
        with opened(workers) as pool:
            yield lambda item: pool.submit(timed_noop, item).result()

    return trip_of


@contextmanager
def launched(workers: int, **worker: Any) -> Iterator[Trip]:
    import worker_dispatcher

    tasks: queue.SimpleQueue[int] = queue.SimpleQueue()
    run = worker_dispatcher.launch(
        {
            "task": {"list": iter(tasks.get, -1), "function": noop},
            "worker": {"number": workers} | worker,
            "verbose": False,
        }
    )
    logs = iter(run)

    def trip(item: int) -> harness.Record:
        tasks.put(item)
        log = next(logs)
        return log["result"], log["started_at"], log["ended_at"]

    yield trip
    tasks.put(-1)
    run.wait()


@contextmanager
def processes(workers: int) -> Iterator[Trip]:
    with launched(workers, use_processing=True) as trip:
        yield trip


@contextmanager
def pool(workers: int) -> Iterator[Trip]:
    import multiprocessing

    with multiprocessing.Pool(workers) as opened:
        yield lambda item: opened.apply(timed_noop, (item,))


@contextmanager
def mpire(workers: int) -> Iterator[Trip]:
    from mpire import WorkerPool

    with WorkerPool(n_jobs=workers) as opened:
        yield lambda item: opened.apply(timed_noop, (item,))


@contextmanager
def forked() -> Iterator[socket.socket]:
    """The way to a worker process that is nothing but a worker."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            ours.close()
            while data := theirs.recv(TASK.size):
                theirs.send(ANSWER.pack(*timed_noop(*TASK.unpack(data))))
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        yield ours
    os.waitpid(child, 0)


@contextmanager
def bare_process(workers: int) -> Iterator[Trip]:
    with forked() as worker:

        def trip(item: int) -> harness.Record:
            worker.send(TASK.pack(item))
            return ANSWER.unpack(worker.recv(ANSWER.size))

        yield trip


@contextmanager
def relayed_process(workers: int) -> Iterator[Trip]:
    drawn, wake, ended = deque[int](), os.eventfd(0), queue.SimpleQueue[harness.Record]()

    def draw(item: int) -> None:
        drawn.append(item)
        os.eventfd_write(wake, 1)

    with forked() as worker:

        def drive() -> None:
            poll = select.poll()
            poll.register(wake, select.POLLIN)
            poll.register(worker, select.POLLIN)
            while True:
                for fd, _ in poll.poll():
                    if fd != wake:
                        ended.put(ANSWER.unpack(worker.recv(ANSWER.size)))
                        continue
                    os.eventfd_read(wake)
                    if drawn[0] < 0:
                        return
                    worker.send(TASK.pack(drawn.popleft()))

        with running(drive), reading(draw) as tasks:
            yield there_and_back(tasks, ended)
            draw(-1)
    os.close(wake)


@contextmanager
def bare_thread(workers: int) -> Iterator[Trip]:
    ended = queue.SimpleQueue[harness.Record]()
    with reading(lambda item: ended.put(timed_noop(item))) as tasks:
        yield there_and_back(tasks, ended)


@contextmanager
def relayed_thread(workers: int) -> Iterator[Trip]:
    news, ended = queue.SimpleQueue[Any](), queue.SimpleQueue[harness.Record]()
    with reading(lambda item: news.put(timed_noop(item))) as worker:

        def drive() -> None:
            for one in iter(news.get, -1):
                (worker if isinstance(one, int) else ended).put(one)

        with running(drive), reading(news.put) as tasks:
            yield there_and_back(tasks, ended)
            news.put(-1)


def there_and_back(tasks: queue.SimpleQueue[int], ended: queue.SimpleQueue[harness.Record]) -> Trip:
    def trip(item: int) -> harness.Record:
        tasks.put(item)
        return ended.get()

    return trip


@contextmanager
def reading(take: Callable[[int], None]) -> Iterator[queue.SimpleQueue[int]]:
    """A queue whose items a thread takes as they come."""
    tasks = queue.SimpleQueue[int]()

    def read() -> None:
        for item in iter(tasks.get, -1):
            take(item)

    with running(read):
        yield tasks
        tasks.put(-1)


@contextmanager
def running(work: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=work, daemon=True)  # a trip that fails ends the measurement
    thread.start()
    yield
    thread.join()


def contestant(name: str, kind: str, opened: Opened, needs: str | None = None) -> harness.Contestant:
    return harness.Contestant(name, kind, trips(opened), needs)


def check(items: Sequence[int], results: Sequence[int]) -> None:
    """Each trip asserts its own."""


def case(name: str, goals: tuple[Goal, ...], *contestants: harness.Contestant) -> harness.Case:
    return harness.Case(
        name, COUNT, noop, timed_noop, range, check, harness.no_figures, "us_per_trip",
        measure=round_trips, goals=goals, contestants=contestants,
    )  # fmt: skip


CASES = (
    case(
        "processes",
        (Goal(times=2, than="ProcessPoolExecutor (default)"),),
        contestant("worker_dispatcher", "ours", submitting(kept_pools.kept("process"))),
        contestant("worker_dispatcher, a launched run", "ours-run", processes),
        contestant("floor, a socket pair", "floor", bare_process),
        contestant("floor, the wake-ups of a launched run", "floor", relayed_process),
        contestant("ProcessPoolExecutor", "default", submitting(kept_pools.process_futures)),
        contestant("multiprocessing.Pool", "default", pool),
        contestant("loky", "default", submitting(kept_pools.Loky), "loky"),
        contestant("mpire", "default", mpire, "mpire"),
        contestant("pebble", "default", submitting(kept_pools.pebble), "pebble"),
    ),
    case(
        "threads",
        (Goal(times=1, than="ThreadPoolExecutor (default)"),),
        contestant("worker_dispatcher", "ours", submitting(kept_pools.kept("thread"))),
        contestant("worker_dispatcher, a launched run", "ours-run", launched),
        contestant("floor, two queues", "floor", bare_thread),
        contestant("floor, the wake-ups of a launched run", "floor", relayed_thread),
        contestant("ThreadPoolExecutor", "default", submitting(kept_pools.thread_futures)),
        contestant("pebble threads", "default", submitting(kept_pools.pebble_threads), "pebble"),
    ),
)
ROW = harness.Row(str(__doc__), CASES)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.k_round_trip"))
