"""The part that a pool has in one Dask worker: an ordinary pool, to which batches come as tasks of Dask."""

from __future__ import annotations

import math
import threading
import uuid
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from worker_dispatcher.call import Call
from worker_dispatcher.clock import LONGEST_WAIT, now
from worker_dispatcher.execute import catch
from worker_dispatcher.osproc.cores import blas_environment, usable_cores
from worker_dispatcher.pools.base import AttemptDone, Batch, BatchDone, Event, NotStarted, Pool, PoolFailed, Setup
from worker_dispatcher.pools.dask import clocks
from worker_dispatcher.pools.dask.messages import Back, Ended, Failed, Opening, Shipped, Work, load
from worker_dispatcher.pools.dask.outbox import Outbox, within
from worker_dispatcher.pools.dask.sealing import sealed, that_travels
from worker_dispatcher.pools.protocol.loading import unloadable

__all__ = ["Host"]

_LOOK = 0.02  # seconds from one look for what has begun to the next
_TELL_MOST = 16  # tasks of a batch of which it is said that they have begun: more together are short
_KEPT = 64  # calls that a host keeps: those used last


class _Ticket:
    """A batch that is here. pieces: what became of its tasks so far, by place; left: how many have none yet. Owned by
    the host's thread until `done` is set."""

    def __init__(self, work: Work, batch: Batch) -> None:
        self.work, self.batch, self.left = work, batch, work.tasks
        self.pieces: list[Ended | Failed | Back] = []
        self.done = threading.Event()
        self.broken: BaseException | None = None
        self.told = False  # that its tasks have begun

    def holds(self, task_id: int) -> bool:
        return self.work.first <= task_id < self.work.first + self.work.tasks

    def add(self, piece: Ended | Failed | Back, count: int) -> None:
        self.pieces.append(piece)
        self.left -= count
        if self.left <= 0:
            self.done.set()


class _Waiting:
    """The source of a host's pool: batches that came, in order. Used by the host's thread."""

    def __init__(self) -> None:
        self.batches: deque[Batch] = deque()
        self._alone: deque[Batch] = deque()

    def put(self, batch: Batch) -> None:
        (self._alone if batch.alone else self.batches).append(batch)

    def take(self, count: int) -> Batch | None:
        if not self.batches:
            return None
        batch = self.batches.popleft()
        if len(batch.items) > count:
            self.batches.appendleft(batch.part(count, len(batch.items)))
            batch = batch.part(0, count)
        return batch

    def take_alone(self) -> Batch | None:
        return self._alone.popleft() if self._alone else None

    def waiting(self) -> int:
        return sum(len(batch.items) for batch in self.batches)

    def call(self) -> Call | None:
        return self.batches[0].call if self.batches else None

    def due(self) -> float:
        return min((batch.dues[0] for batch in self.batches if batch.dues), default=0.0 if self.batches else math.inf)

    def crowd(self, within: float) -> int:
        until = self.due() + within
        return sum(1 for batch in self.batches for due in batch.dues or [0.0] * len(batch.items) if due <= until)

    def alone_waiting(self) -> bool:
        return bool(self._alone)

    def drop(self) -> list[Batch]:
        """All of it, which has not begun."""
        dropped = [*self._alone, *self.batches]
        self._alone.clear()
        self.batches.clear()
        return dropped


class Host:
    """Drives a pool in a thread of its own, for those threads of Dask that bring batches and wait for them.

    Owned by its thread: the pool, the source, tickets. Shared: _asked, in single steps; _calls, under _mutex.
    offset: added to our clock for the sender's. size: tasks that are to run at a time, a single store.
    """

    def __init__(
        self,
        opening: Opening,
        setup: Setup,
        threads: int,
        address: str,
        tell: Callable[..., object],
        box: Outbox | None = None,
    ) -> None:
        """tell: is given what is to be told while batches run, as builtins. box: takes what tasks log; it is closed
        with this."""
        self.name, self.address, self._tell, self.box = uuid.uuid4().hex, address, tell, box
        self.offset = -opening.offsets.get(address, -clocks.offset_between(clocks.look(), opening.clock))
        self._setup = _shifted(setup, self.offset)
        self.pids: dict[int, int] = {}
        self._asked: deque[Callable[[], object]] = deque()
        self._source, self._tickets = _Waiting(), list[_Ticket]()
        self._calls: OrderedDict[int, tuple[Call | None, BaseException | None]] = OrderedDict()
        self._mutex = threading.Lock()
        self._closing, self._tells = False, opening.tells
        self._opening, self._threads = opening, threads
        self.size = self._fitted = _size_of(opening, address, threads)
        with within(box):
            self._pool: Pool = _open_pool(opening, self._setup, self.size, self.pids.__setitem__, box)
        self._thread = threading.Thread(target=self._live, name=f"host of {opening.pool}", daemon=True)
        self._thread.start()

    # For threads of Dask

    def run(self, work: Work, call: Shipped | None) -> _Ticket:
        """Have a batch run; returns once all of it has become of something."""
        items: Any = None
        with within(self.box):
            found, error = self._call(work.call, call)
            if error is None:
                items, error = catch(load, work.items)
        if error is None and len(items) != work.tasks:
            error = ValueError("the batch does not hold what it says")
        dues = None if work.dues is None else array("d", [due - self.offset for due in array("d", work.dues)])
        limits = work.timeout, work.stop_at - self.offset
        batch = Batch(work.first, () if error else items, work.alone, dues, work.attempt, found, *limits)
        ticket = _Ticket(work, batch)
        if error is not None:
            _refuse(ticket, unloadable(found or self._setup.call, error))
            return ticket
        self.ask(partial(self._begin, ticket))
        while not ticket.done.wait(1.0):
            if not self._thread.is_alive():
                ticket.broken = ticket.broken or RuntimeError("the pool of this worker was closed")
                return ticket
        return ticket

    def fit(self, work: Work) -> None:
        """Run as many at a time as a batch says that comes."""
        if work.where in ("", self.address):
            self.size = work.size or self._threads

    def _call(self, number: int, call: Shipped | None) -> tuple[Call | None, BaseException | None]:
        if number == 0 or call is None:
            return None, None
        with self._mutex:
            if number not in self._calls:
                made, error = catch(load, call)
                self._calls[number] = (None if error else _call_here(made, self.offset)), error
                if len(self._calls) > _KEPT:
                    self._calls.popitem(last=False)
            self._calls.move_to_end(number)
            return self._calls[number]

    def ask(self, action: Callable[[], object]) -> None:
        """Have the host's thread call this. From any thread."""
        self._asked.append(action)
        self._pool.wake()

    def close(self) -> list[str]:
        """End; what went wrong and cost no task."""
        self._closing = True
        self._pool.wake()
        self._thread.join()
        if self.box is not None:
            self.box.close()
        return list(self._pool.complaints.texts)

    def hurry(self) -> None:
        self._pool.hurry()

    # In its own thread

    def _live(self) -> None:
        with within(self.box):  # threads of the pool that start later are in it, too
            self._drive()

    def _drive(self) -> None:
        pool = self._pool
        try:
            while not self._closing:
                for event in pool.collect():
                    self._take(event)
                while self._asked:
                    self._asked.popleft()()
                pool.feed(self._source)
                pool.sleep(min(pool.due, now() + (self._tell_begun() if self._tells else LONGEST_WAIT)))
            while self._asked:  # such as to stop, which ends otherwise than to close
                self._asked.popleft()()
        except BaseException as error:
            self._break(error)
        finally:
            pool.close()
            self._break(RuntimeError("the pool of this worker was closed"))

    def _begin(self, ticket: _Ticket) -> None:
        if any(ticket.holds(one.work.first) or one.holds(ticket.work.first) for one in self._tickets):
            ticket.add(Back(0, ticket.work.tasks, False), ticket.work.tasks)  # Dask has run it here before
            return
        if self.size != self._fitted:
            self._fitted = self.size
            self._pool.resize(_slots_of(self._opening, self._fitted))
        self._tickets.append(ticket)
        self._source.put(ticket.batch)

    def _tell_begun(self) -> float:
        """Say which tasks have begun that may run for long; for how many seconds nothing is to be said."""
        unknown = [ticket for ticket in self._tickets if not ticket.told]
        if not unknown:
            return LONGEST_WAIT
        found: dict[str, tuple[float, int]] = {}
        for ticket in unknown:
            ids = range(ticket.work.first, ticket.work.first + ticket.work.tasks)
            begun = [(one, how) for one in ids if (how := self._pool.runs(one)) is not None]
            found |= {str(one): (since + self.offset, number) for one, (since, number) in begun}
            ticket.told = len(begun) == len(ids) or len(ids) > _TELL_MOST
        if found:
            self._tell(self.address, self.name, found, {str(number): pid for number, pid in self.pids.items()})
        return _LOOK

    def end_task(self, task_id: int) -> None:
        """See Pool.kill."""
        if any(ticket.holds(task_id) for ticket in self._tickets):
            self.give_back()
            self._pool.kill(task_id)

    def ask_to_stop(self, task_id: int) -> None:
        self._pool.ask_to_stop(task_id)

    def give_back(self) -> None:
        """What has not begun is not to begin here."""
        for batch in self._source.drop():
            self._take(NotStarted(batch))
        self._pool.pause()
        self._pool.resume()

    def stop(self) -> None:
        """See Pool.stop."""
        for batch in self._source.drop():
            self._take(NotStarted(batch))
        for event in self._pool.stop():
            self._take(event)
        self._closing = True

    def _take(self, event: Event) -> None:
        match event:
            case BatchDone():
                for run in event.runs():
                    self._ended(run)
            case AttemptDone():
                self._failed(event)
            case NotStarted():
                self._came_back(event.batch)
            case PoolFailed():
                self._break(event.error)
                self._closing = True
        self._tickets = [ticket for ticket in self._tickets if ticket.left > 0]

    def _parts(self, first: int, count: int) -> Iterator[tuple[_Ticket, int, int]]:
        """(ticket, from, to) of neighbours: places in what was told of them."""
        for ticket in self._tickets:
            low = max(first, ticket.work.first)
            high = min(first + count, ticket.work.first + ticket.work.tasks)
            if low < high:
                yield ticket, low - first, high - first

    def _ended(self, run: BatchDone) -> None:
        for ticket, low, high in self._parts(run.first, len(run.results)):
            place = run.first + low - ticket.work.first
            went = Ended(
                range(place, place + high - low),
                [at + self.offset for at in run.starts[low:high]],
                [at + self.offset for at in run.ends[low:high]],
                list(run.results[low:high]),
                {},
                run.worker if isinstance(run.worker, int) else list(run.worker[low:high]),
            )
            noted = ((one - run.first - low, found) for one, found in run.metadata.items() if found)
            notes = {at: found for at, found in noted if 0 <= at < high - low}
            for piece in sealed(went, notes, run.call or self._setup.call):
                ticket.add(piece, len(piece.places) if isinstance(piece, Ended) else 1)

    def _failed(self, event: AttemptDone) -> None:
        for ticket, _, _ in self._parts(event.task_id, 1):
            place, times = event.task_id - ticket.work.first, (event.started + self.offset, event.ended + self.offset)
            if event.failure is None:
                columns = [times[0]], [times[1]], [event.result]
                noted = {0: event.metadata} if event.metadata else {}
                went = Ended([place], *columns, {}, event.worker)
                for piece in sealed(went, noted, event.batch.call or self._setup.call):
                    ticket.add(piece, 1)
            else:
                failure, notes = event.failure, event.metadata or None
                more = None
                if failure.exception is not None or notes:
                    more = that_travels(failure.exception, notes)
                ticket.add(Failed(place, *times, failure._replace(exception=None), more, event.worker), 1)

    def _came_back(self, batch: Batch) -> None:
        for ticket, low, high in self._parts(batch.first, len(batch.items)):
            place = batch.first + low - ticket.work.first
            ticket.add(Back(place, place + high - low, batch.alone), high - low)

    def _break(self, error: BaseException) -> None:
        """Nothing runs here any more."""
        for batch in self._source.drop():
            self._take(NotStarted(batch))
        for ticket in self._tickets:
            ticket.broken = error
            ticket.done.set()
        self._tickets = []


def _refuse(ticket: _Ticket, failure: Any) -> None:
    """What cannot be loaded: the failure of a task, if it is one; else each by itself again."""
    count, at = ticket.work.tasks, now()
    if count > 1:
        for place in range(count):
            ticket.add(Back(place, place + 1, True), 1)
        return
    more = that_travels(failure.exception, None) if failure.exception is not None else None
    ticket.add(Failed(0, at, at, failure._replace(exception=None), more, 0), 1)


def _shifted(setup: Setup, offset: float) -> Setup:
    return setup._replace(call=_call_here(setup.call, offset))


def _call_here(call: Call, offset: float) -> Call:
    """A call whose anchor is on our clock."""
    if call.anchor is None or not offset:
        return call
    return call._replace(anchor=call.anchor._replace(monotonic=call.anchor.monotonic - offset))


def _size_of(opening: Opening, address: str, threads: int) -> int:
    """How many tasks run at a time in a Dask worker that has so many threads."""
    return opening.sizes.get(address, 1) if opening.sizes else threads  # 1: it has come since


def _slots_of(opening: Opening, size: int) -> list[int]:
    """Tasks at a time of each process; in threads all are in one."""
    if opening.kind != "grid":
        return [1] * size if opening.kind == "processes" else [size]
    processes = min(size, opening.processes or size)
    each, more = divmod(size, processes)
    return [each + (at < more) for at in range(processes)]


def _open_pool(
    opening: Opening, setup: Setup, size: int, named: Callable[[int, int], object], logs: Outbox | None
) -> Pool:
    if opening.kind == "threads":
        from worker_dispatcher.pools.threads import ThreadPool

        return ThreadPool(setup, size, named)
    from worker_dispatcher.pools.processes import ProcessPool

    slots = _slots_of(opening, size)
    environment = blas_environment(opening.blas_threads, usable_cores(), len(slots))
    place = "worker process" if opening.kind == "processes" else "worker"
    return ProcessPool(
        setup,
        slots,
        method=opening.method,
        environment=environment,
        place=place,
        many=opening.kind == "grid",
        named=named,
        logs=logs,
    )
