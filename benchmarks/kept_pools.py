"""Pools that are kept, ours and others': opened(workers) is one, for a `with` block."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

Opened = Callable[[int], AbstractContextManager[Any]]


def kept(kind: str) -> Opened:
    def opened(workers: int) -> Any:
        from worker_dispatcher import WorkerPool

        return WorkerPool(workers, kind=kind)

    return opened


def process_futures(workers: int) -> Any:
    from concurrent.futures import ProcessPoolExecutor

    return ProcessPoolExecutor(workers)


def thread_futures(workers: int) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(workers)


class Loky:
    """loky's reusable executor outlives the block, as it is meant to."""

    def __init__(self, workers: int) -> None:
        from loky import get_reusable_executor

        self._executor = get_reusable_executor(max_workers=workers)

    def __enter__(self) -> Any:
        return self._executor

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown()


class Closing:
    """pebble's pools: `submit` is called otherwise, and they are closed and joined."""

    def __init__(self, kind: str, workers: int) -> None:
        import pebble

        self._pool = getattr(pebble, kind)(max_workers=workers)

    def __enter__(self) -> Any:
        return self

    def submit(self, function: Callable[[int], Any], item: int) -> Any:
        return self._pool.schedule(function, (item,))

    def __exit__(self, *error: object) -> None:
        self._pool.close()
        self._pool.join()


def pebble(workers: int) -> Any:
    return Closing("ProcessPool", workers)


def pebble_threads(workers: int) -> Any:
    return Closing("ThreadPool", workers)
