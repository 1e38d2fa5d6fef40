"""What a pool and its hosts in Dask workers send each other, and how it is packed.

Dask carries bytes of ours: what cannot be packed or loaded is one task's failure, and never Dask's. Packed by pickle,
and by cloudpickle where the other side could not import what is named: a Dask worker serves many programs, none of
which is its `__main__`.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from worker_dispatcher.execute import SMALL
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.pools.dask.clocks import Clock
from worker_dispatcher.records import Failure
from worker_dispatcher.tracebacks import own
from worker_dispatcher.wire import names_what_stays_here

PLAIN = SMALL | {str, bytes}  # of these, results travel as they are


class Shipped:
    """A pickle and its buffers, which Dask sends without a copy."""

    __slots__ = ("buffers", "head")

    def __init__(self, head: Any, buffers: Sequence[Any] = ()) -> None:
        self.head, self.buffers = head, buffers

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        kind: Any = pickle.PickleBuffer if protocol >= 5 else bytes  # Dask takes 4 where it cannot ask the other side
        return Shipped, (kind(self.head), [kind(one) for one in self.buffers])

    @property
    def size(self) -> int:
        return len(self.head) + sum(memoryview(one).nbytes for one in self.buffers)


def pack(value: Any) -> Shipped:
    """Runs user code, and raises what that raises."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        head = pickle.dumps(value, 5, buffer_callback=buffers.append)
        portable = not names_what_stays_here([head])
    except own(Exception):  # the program's own may be the reason; if it is not, the second error is the one to show
        portable = False
    if not portable:
        import cloudpickle

        buffers = []
        head = cloudpickle.dumps(value, 5, buffer_callback=buffers.append)
    return Shipped(head, [one.raw() for one in buffers])


def load(shipped: Shipped) -> Any:
    """The value again, for the caller alone: its arrays may be written to. Runs user code."""
    return pickle.loads(shipped.head, buffers=[bytearray(one) for one in shipped.buffers])


class Opening(NamedTuple):
    """What a host is told once. python, version: of who sends it; kind: 'threads', 'processes' or 'grid'; sizes:
    tasks at a time in each Dask worker, by address; empty for one in each of its threads; processes: of a grid, there;
    paths: where the sender imports from, for a worker of the same machine; offsets: by address of a worker, what is
    added to a moment of the sender's clock for one of its own, as it was measured; tells: a host says what has begun;
    logs: (levels, True if what is not fetched in time is lost) where what tasks log is to be fetched; looks_every:
    seconds from one look whether the pool is still there to the next.
    """

    pool: str
    python: tuple[int, int]
    version: str
    clock: Clock
    kind: str
    sizes: dict[str, int]
    processes: int | None
    method: str | None
    blas_threads: int | None
    setup: Shipped
    paths: list[str]
    offsets: dict[str, float]
    tells: bool
    logs: tuple[dict[str, int], bool] | None = None
    looks_every: float = 30.0


class Work(NamedTuple):
    """A batch on its way. number: of the batch; tasks: how many; call: the number of its call, 0 for that of the setup;
    where: the Dask worker that is to run it, where each has a share, and size: its share; else empty, and 0; dues:
    bytes of doubles."""

    pool: str
    number: int
    first: int
    tasks: int
    attempt: int
    call: int
    timeout: float | None
    stop_at: float
    where: str
    size: int
    dues: bytes | None
    alone: bool
    items: Shipped


class Ended(NamedTuple):
    """Tasks of a batch that ended ok, by their places in it. sealed: by place in the columns, a result that is not of
    PLAIN, packed with its metadata."""

    places: Sequence[int]
    starts: Sequence[float]
    ends: Sequence[float]
    results: list[Any]
    sealed: dict[int, Shipped]
    workers: int | Sequence[int]


class Failed(NamedTuple):
    """One task that failed. more: its exception (None where that cannot travel) and its metadata, packed."""

    place: int
    started: float
    ended: float
    failure: Failure
    more: Shipped | None
    worker: int


class Back(NamedTuple):
    """Tasks that were not begun, from place to place (exclusive). alone: they are to have no company."""

    low: int
    high: int
    alone: bool


class Begun(NamedTuple):
    """Tasks that run in a host: since when, on the sender's clock, and in which of its workers, by id."""

    address: str
    host: str
    tasks: dict[int, tuple[float, int]]
    pids: dict[int, int]


class Broken(NamedTuple):
    """What was raised, in words, and packed where that can be."""

    type: str
    message: str
    traceback: str = ""
    notes: Sequence[str] = ()
    exception: Shipped | None = None


class Reply(NamedTuple):
    """What became of a batch. Times are on the sender's clock. host: which one, new with each; pids: of its workers, by
    number; broken: why nothing can run there."""

    address: str
    host: str
    pids: dict[int, int]
    pieces: list[Ended | Failed | Back]
    broken: Broken | None = None
