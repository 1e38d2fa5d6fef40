"""The bare idea, without timeouts, callbacks or errors: forked workers claim the next indices themselves.

A claim moves the shared offset of an unlinked file by k, which is atomic for a regular file. k follows the measured
duration (2 ms of work), grows at most eightfold a step, and shrinks toward the end. The parent only collects.
Also here: threads of one process that share the tasks, and open loop by one thread that waits for the next due time.
"""

from __future__ import annotations

import os
import pickle
import selectors
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

BATCH_SECONDS = 2e-3
REPORT_SECONDS = 5e-3  # how long a result waits for company on its way to the parent


def run(timed: Callable[[Any], Any], items: Sequence[Any], workers: int, threads: int = 1) -> list[Any]:
    """timed(item) for each item, in order, on forked processes of so many threads each."""
    results: list[Any] = [None] * len(items)
    children = []
    with tempfile.TemporaryFile() as tickets, selectors.DefaultSelector() as selector:
        for _ in range(workers):
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                _work(timed, items, (workers, threads), tickets.fileno(), writing)
            os.close(writing)
            children.append(child)
            selector.register(reading, selectors.EVENT_READ, bytearray())
        while selector.get_map():
            for key, _ in selector.select():
                if not _collect(key.fd, key.data, results):
                    selector.unregister(key.fd)
                    os.close(key.fd)
    for child in children:
        _, status = os.waitpid(child, 0)
        assert status == 0, f"a worker of the floor ended with {status}"
    return results


def _collect(source: int, buffer: bytearray, results: list[Any]) -> bool:
    """Take what is there into results; False at the end of the pipe."""
    chunk = os.read(source, 1 << 20)
    buffer += chunk
    while len(buffer) >= 4:
        (size,) = struct.unpack_from("<I", buffer)
        if len(buffer) < 4 + size:
            break
        for first, rows in pickle.loads(memoryview(buffer)[4 : 4 + size]):
            results[first : first + len(rows)] = rows
        del buffer[: 4 + size]
    return bool(chunk)


def _work(timed: Callable[[Any], Any], items: Sequence[Any], shape: tuple[int, int], tickets: int, sink: int) -> None:
    code = 1
    try:
        with Outbox(sink) as outbox:
            arguments = (timed, items, shape[0] * shape[1], tickets, outbox)
            others = [threading.Thread(target=_claim_and_run, args=arguments) for _ in range(shape[1] - 1)]
            for thread in others:
                thread.start()
            _claim_and_run(*arguments)
            for thread in others:
                thread.join()
        code = 0
    finally:
        os._exit(code)


def _claim_and_run(
    timed: Callable[[Any], Any], items: Sequence[Any], workers: int, tickets: int, outbox: Outbox
) -> None:
    clock, count, size = time.perf_counter, len(items), 1
    while True:
        first = os.lseek(tickets, size, os.SEEK_CUR) - size
        if first >= count:
            break
        began = clock()
        rows = [timed(item) for item in items[first : min(first + size, count)]]
        took = clock() - began
        outbox.put(first, rows)
        affordable = int(BATCH_SECONDS * len(rows) / max(took, 1e-9))
        size = max(1, min(affordable, 8 * size, (count - first) // (2 * workers)))


class Outbox:
    """What the threads of one process have done, on its way to the parent."""

    def __init__(self, sink: int) -> None:
        self._out = open(sink, "wb", buffering=0)  # noqa: SIM115
        self._lock = threading.Lock()
        self._rows: list[tuple[int, list[Any]]] = []
        self._sent = time.perf_counter()

    def put(self, first: int, rows: list[Any]) -> None:
        with self._lock:
            self._rows.append((first, rows))
            if time.perf_counter() - self._sent > REPORT_SECONDS:
                self._send()

    def _send(self) -> None:
        frame = pickle.dumps(self._rows, 5)
        data = memoryview(struct.pack("<I", len(frame)) + frame)
        while data:
            data = data[self._out.write(data) :]
        self._rows, self._sent = [], time.perf_counter()

    def __enter__(self) -> Outbox:
        return self

    def __exit__(self, *_: object) -> None:
        self._send()
        self._out.close()


def run_in_threads(timed: Callable[[Any], Any], items: Sequence[Any], workers: int, batch: int) -> list[Any]:
    """timed(item) for each item, in order, on threads that take the next `batch` from one iterator."""
    results: list[Any] = [None] * len(items)
    firsts = iter(range(0, len(items), batch))  # of C, so that the next one is taken in one step

    def work() -> None:
        for first in firsts:
            rows = [timed(item) for item in items[first : first + batch]]
            results[first : first + len(rows)] = rows

    _in_threads(work, workers)
    return results


def run_open_loop(task: Callable[[Any], Any], items: Sequence[Any], rate: float, workers: int) -> list[Any]:
    """(task(item), due, start) for each item. The thread that holds the lock waits for the next due time, lets the
    next one wait, and runs its task."""
    records: list[Any] = [None] * len(items)
    numbers, lock, began = iter(range(len(items))), threading.Lock(), time.monotonic() + 0.1

    def work() -> None:
        while True:
            with lock:
                nth = next(numbers, None)
                if nth is None:
                    break
                due = began + nth / rate
                if (ahead := due - time.monotonic()) > 0:
                    time.sleep(ahead)
            start = time.monotonic()
            records[nth] = (task(items[nth]), due, start)

    _in_threads(work, workers)
    return records


def _in_threads(work: Callable[[], None], count: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
