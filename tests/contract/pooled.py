"""What the tests of WorkerPool share: a pool of each kind, and its books."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import address
from gates import Gate

from worker_dispatcher import WorkerPool

KINDS = ("thread", "process", "grid", "coroutine")
APART = ("process", "grid")  # workers have processes of their own
PLAIN = ("thread", "process", "grid")  # take plain functions


@pytest.fixture(params=[*KINDS, "dask"])
def kind(request: pytest.FixtureRequest) -> str:
    """Every kind of pool; `@pytest.mark.parametrize("kind", ...)` names fewer."""
    differs = request.node.get_closest_marker("differs_on_a_cluster")
    if differs is not None and request.param == "dask":
        pytest.skip(differs.args[0])
    return str(request.param)


@pytest.fixture
def new_pool(kind: str) -> Iterator[Callable[..., WorkerPool]]:
    """new_pool(max_workers=2, **settings): a pool of the kind; it ends with the test."""
    pools: list[WorkerPool] = []

    def make(max_workers: int = 2, **settings: Any) -> WorkerPool:
        if kind == "grid":
            settings.setdefault("threads_per_process", min(2, max_workers))
        if kind == "dask":
            settings.setdefault("backend", {"type": "dask", "address": address()})
        pools.append(WorkerPool(max_workers, kind=kind, **settings))
        return pools[-1]

    yield make
    for pool in pools:
        pool.shutdown(kill=True, timeout=20)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path)
    yield made
    made.open()  # threads that were left behind end


def adds_up(pool: WorkerPool) -> bool:
    """The books of a pool at a quiet moment."""
    stats = pool.stats()
    ends = stats.succeeded + stats.failed + stats.timeout + stats.expired + stats.cancelled + stats.rescued
    return stats.submitted == ends + len(pool)
