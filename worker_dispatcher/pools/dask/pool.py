"""DaskPool: batches of tasks run as tasks of a Dask cluster."""

from __future__ import annotations

import math
import os
import queue
import sys
import uuid
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any

from worker_dispatcher.call import Call
from worker_dispatcher.clock import now
from worker_dispatcher.config.backend import Backend
from worker_dispatcher.errors import RemoteTraceback, RunError
from worker_dispatcher.execute import catch
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.osproc.cores import usable_cores
from worker_dispatcher.pools import base
from worker_dispatcher.pools.base import AttemptDone, Batch, BatchDone, Done, Event, NotStarted, PoolFailed, Setup
from worker_dispatcher.pools.dask import clocks
from worker_dispatcher.pools.dask.arriving import Arriving
from worker_dispatcher.pools.dask.books import Books, Sent
from worker_dispatcher.pools.dask.link import Link
from worker_dispatcher.pools.dask.local import LocalCluster
from worker_dispatcher.pools.dask.messages import Opening, Reply, Shipped, Work, load, pack
from worker_dispatcher.pools.dask.shares import Shares
from worker_dispatcher.pools.dask.verdict import verdict
from worker_dispatcher.pools.parent.batching import Batching
from worker_dispatcher.pools.protocol.loading import not_sent
from worker_dispatcher.pools.protocol.log_forwarding import levels
from worker_dispatcher.records import CANCELLED, Failure
from worker_dispatcher.version import VERSION

__all__ = ["DaskPool", "Place"]

_RATE = 200  # batches a second that a scheduler, and we, can be troubled with
_SECONDS = 0.1  # of work, at least, that a batch of short tasks aims at
_LEAST = 0.005  # of work, which is not shared out: to send it takes as long
_GROWTH = 4  # at most this many times the last batch
_MOST = 50_000  # tasks of a batch
_BYTES = 8 << 20  # of packed items that a batch aims at
_SPAN = 0.02  # seconds of due times that go to a worker at once
_KEPT = 64  # calls that a pool, and each host, keeps: those used last
_STOP = 3.0  # seconds that a stop waits for what hosts say


class Place(NamedTuple):
    """Where in the cluster tasks run. kind: 'threads', 'processes' or 'grid'; most: tasks at a time in all, None for as
    many as the cluster has threads; processes, method, blas_threads: see Opening."""

    kind: str = "threads"
    most: int | None = None
    processes: int | None = None
    method: str | None = None
    blas_threads: int | None = None


_ANYWHERE = Place()


class DaskPool:
    """Runs tasks in the workers of a Dask cluster.

    Owned by the driver: everything here. What happens in the cluster comes through the link.
    Waits: `sleep`, on _news.
    addresses: of the Dask worker that each worker is in, by number.
    """

    apart = True
    place = "worker of the cluster"

    def __init__(
        self,
        setup: Setup,
        backend: Backend,
        place: Place = _ANYWHERE,
        named: base.Name = base.nobody,
        packed: Shipped | None = None,
    ) -> None:
        """packed: the setup, where the caller has packed it. Raises RunError where the cluster cannot be used."""
        self._setup, self._place = setup, place
        self._books = Books(named)
        self.pids, self.addresses = self._books.pids, self._books.addresses
        self.complaints = base.Complaints()
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._name = f"{os.getpid()}-{uuid.uuid4().hex}"
        self._sent: dict[int, Sent] = {}
        self._number = self._at = 0  # of the last batch; of the Dask worker that has had the last due times
        self._begun: dict[int, tuple[float, int]] = {}  # tasks that run, as far as hosts have said so
        self._calls: OrderedDict[int, tuple[int, Call]] = OrderedDict()  # by id of a call that is kept alive here
        self._last_call = 0
        self._shares = Shares(place.most, bound=not (setup.timed or setup.coroutine))  # these need no threads of Dask
        self._packed: dict[int, Shipped] = {}
        self._batching: dict[int, Batching] = {0: Batching()}
        self._events: list[Event] = []
        self._paused = self._closed = self._failed = False
        self._patience = base.Patience()
        told = pack(setup.told()) if packed is None else packed
        self._logs = Arriving(self.complaints) if setup.forward_logging else None
        self._link = Link(backend, self.wake, self._local, self._logs)
        try:
            self._link.open(lambda: self._opening(told))
        except BaseException:
            self._link.close()
            raise

    def _local(self) -> LocalCluster:
        """Of as many threads as tasks may run at a time, spread as a grid is here."""
        most = self._place.most or usable_cores()
        workers = self._place.processes or (min(most, usable_cores()) if self._place.kind == "grid" else most)
        return LocalCluster(workers, -(-most // workers), self._setup.memory_limit)

    @property
    def facts(self) -> dict[str, Any]:
        """Of the cluster, for who reads what came of a run. clock_offset, clock_error: seconds, of each Dask worker."""
        clocks_of = {one: {"clock_offset": at, "clock_error": by} for one, (at, by) in self._link.offsets.items()}
        return {"address": self._link.address, "workers": clocks_of}

    def _opening(self, packed: Shipped) -> Opening:
        p = self._place
        self._shares.fit(self._link.slots)
        python = sys.version_info[0], sys.version_info[1]
        shape = p.kind, self._shares.sizes, p.processes, p.method, p.blas_threads
        clock, paths = clocks.look(), [*sys.path, os.getcwd()]
        logs = None if self._logs is None else (levels(), self._setup.forward_logging == "drop")
        return Opening(self._name, python, VERSION, clock, *shape, packed, paths, {}, self._setup.kept, logs)

    # Feeding

    @property
    def _size(self) -> int:
        """Tasks that may run at a time."""
        there = self._shares.there
        return min(there, self._place.most or there)

    def prepare(self, workers: int) -> bool:
        return self._link.prepare()

    def feed(self, source: base.Source) -> None:
        if self._paused or self._failed:
            return
        self._shares.fit(self._link.slots)
        while source.alone_waiting() and len(self._sent) < self._size:
            if (batch := source.take_alone()) is not None:
                self._give(batch)
        if self._setup.timed:
            self._feed_timed(source)
            return
        while (waiting := source.waiting()) > 0:
            batching = self._known(source.call())[1]
            count = self._count(waiting, batching)
            if count <= 0:
                return
            batch = source.take(count)
            if batch is None:
                return
            self._give(batch)

    def _feed_timed(self, source: base.Source) -> None:
        """What is due together goes to one worker, and what is due after that to the next: each has its share, and
        waits for the moments itself."""
        addresses = [*self._shares.sizes]
        while addresses and source.waiting() and (batch := source.take(max(1, source.crowd(_SPAN)))) is not None:
            self._at += 1
            self._give(batch, addresses[self._at % len(addresses)])

    def _count(self, waiting: int, batching: Batching) -> int:
        """How many tasks go out together; 0 where no more are to go now."""
        size, per_task = self._size, batching.per_task
        short = 0 < per_task < base.ONE_BY_ONE_FROM
        # Dask hands on what is ahead as soon as there is room; whether it has begun is not known at once. Where each
        # Dask worker has its share, what is ahead would wait for one of them, and others may have room before.
        one_by_one = self._setup.kept or (self._setup.recorded and not short) or self._shares.sizes
        if len(self._sent) >= size + (0 if one_by_one else -(-size // 2)):
            return 0
        if size < self._shares.there:
            return 1  # there is room for more at a time than may run since a `resize`
        if not per_task:
            return 1
        seconds = max(_SECONDS, size / _RATE)
        share = max(-(-waiting // (2 * size)), _LEAST / per_task)
        bulk = max(1, int(_BYTES / batching.bytes_per_task))
        wanted = min(seconds / per_task, batching.last * _GROWTH, share, bulk, _MOST)
        return max(1, int(wanted)) if short else 1

    def _known(self, call: Call | None) -> tuple[int, Batching]:
        """The number of a call, 0 for that of the setup, and what is known of its tasks."""
        if call is None:
            return 0, self._batching[0]
        if id(call) not in self._calls:
            self._last_call += 1
            self._calls[id(call)] = self._last_call, call
            self._batching[self._last_call] = Batching()
            if len(self._calls) > _KEPT:
                self._forget_call(self._calls.popitem(last=False)[1][0])
        self._calls.move_to_end(id(call))
        number = self._calls[id(call)][0]
        return number, self._batching[number]

    def _forget_call(self, number: int) -> None:
        del self._batching[number]
        self._packed.pop(number, None)
        self._link.drop(number)

    def _give(self, batch: Batch, where: str = "") -> None:
        """where: the Dask worker that is to run it, if it is still there."""
        number, batching = self._known(batch.call)
        sent, error = catch(self._pack, number, batch)
        if error is not None:
            if len(batch.items) > 1:
                for nth in range(len(batch.items)):
                    self._give(batch.part(nth, nth + 1), where)
                return
            failure = not_sent(batch.call or self._setup.call, error, "the task cannot be sent to the cluster")
            del error  # it holds this frame, and would hold itself
            at = now()
            self._events.append(AttemptDone(batch, at, at, None, failure, None, 0))
            return
        call, items = sent
        self._number += 1
        dues = None if batch.dues is None else batch.dues.tobytes()
        where = where or self._emptiest()
        limits = batch.timeout, batch.stop_at, where, self._shares.sizes.get(where, 0)
        head = self._name, self._number, batch.first, len(batch.items), batch.attempt, number
        work = Work(*head, *limits, dues, batch.alone, items)
        batching.sent(len(batch.items), items.size)
        self._sent[self._number] = self._books.add(batch, where)
        self._link.submit(self._number, work, call, where)

    def _emptiest(self) -> str:
        """The Dask worker with the fewest batches for what it may run; empty where Dask decides."""
        if not (sizes := self._shares.sizes):
            return ""
        held = Counter(sent.where for sent in self._sent.values())
        return min(sizes, key=lambda one: held[one] / sizes[one])

    def _pack(self, number: int, batch: Batch) -> tuple[Shipped | None, Shipped]:
        """(its call, its items), packed. Runs user code."""
        if number and number not in self._packed:
            self._packed[number] = pack(batch.call)
        items = batch.items if isinstance(batch.items, (range, list)) else list(batch.items)
        return self._packed.get(number), pack(items)

    def offer(self, batch: Batch, done: Done) -> bool:
        return False

    def offered_end(self) -> base.End | None:
        return None

    # Waiting

    @property
    def roomy(self) -> bool:
        return not self._paused and not self._failed and len(self._sent) < self._size

    @property
    def due(self) -> float:
        return 0.0 if self._events or self._link.ended else math.inf

    def sleep(self, until: float) -> None:
        try:
            self._news.get(timeout=None if until == math.inf else max(0.0, until - now()))
        except queue.Empty:
            pass

    def wake(self) -> None:
        self._news.put(None)

    def hurry(self) -> None:
        self._patience.lose()
        self._news.put(None)

    def collect(self) -> list[Event]:
        while not self._news.empty():
            try:
                self._news.get_nowait()
            except queue.Empty:
                break
        for _ in range(len(self._link.ended)):
            self._hear(*self._link.ended.popleft())
        for _ in range(len(self._link.begun)):
            self._begun |= self._books.begun(self._link.begun.popleft())
        if self._link.failed is not None and not self._failed:
            self._fail(self._link.failed)
        events, self._events = self._events, []
        for event in events:
            if isinstance(event, BatchDone):
                self._known(event.call)[1].measure(event)
            elif isinstance(event, AttemptDone) and event.worker:
                self._known(event.batch.call)[1].measure(event)
        return events

    def _fail(self, error: BaseException) -> None:
        self._failed = True
        self._events.append(PoolFailed(error))

    def _hear(self, number: int, ended: Reply | BaseException) -> None:
        """What has become of a batch; of number 0, of a host that was to be ready."""
        sent = self._sent.pop(number, None)
        if number == 0 and isinstance(ended, Reply) and not self._failed:
            self._fail(_broken(ended))
        if sent is None:
            return
        if isinstance(ended, Reply):
            self._events += self._books.take(sent, ended)
            if ended.broken is not None and not self._failed:
                self._fail(_broken(ended))
        left = self._books.left_of(sent)
        if self._begun:
            for task_id in range(sent.batch.first, sent.batch.first + len(sent.batch.items)):
                self._begun.pop(task_id, None)
        if isinstance(ended, Reply):
            self._events += map(NotStarted, left)
            return
        for batch in left:
            found = verdict(batch, ended)
            if isinstance(found, list):
                self._events += found
            else:
                self._events.append(NotStarted(batch))
                if not self._failed:
                    self._fail(found)

    # What a pool that is kept can do

    def pause(self) -> None:
        self._paused = True
        self._link.tell_hosts(self._name, "give_back")

    def resume(self) -> None:
        self._paused = False

    def resize(self, slots: Sequence[int]) -> None:
        self._place = self._place._replace(most=sum(slots))
        self._shares.resize(sum(slots))

    def runs(self, task_id: int) -> tuple[float, int] | None:
        return self._begun.get(task_id)

    def retire(self, idle: float) -> float:
        return math.inf

    def ask_to_stop(self, task_id: int) -> bool:
        self._link.tell_hosts(self._name, "ask", (task_id,))
        return task_id in self._begun

    def withdraw(self, task_id: int) -> None:
        """What was sent may begin at any time."""

    def kill(self, task_id: int) -> None:
        self._link.tell_hosts(self._name, "kill", (task_id,))

    # Ending

    def stop(self) -> list[Event]:
        self._link.tell_hosts(self._name, "stop")
        if self._logs is not None:
            self._logs.hurry = True
        until = now() + _STOP
        while self._sent and self._link.failed is None and (left := min(until, self._patience.by) - now()) > 0:
            self.sleep(now() + min(left, 0.1))
            for _ in range(len(self._link.ended)):
                self._hear(*self._link.ended.popleft())
        self._link.forget()
        at = now()
        for piece in self._books.held.take_all():
            for batch in map(piece.tasks().part, range(piece.high - piece.low), range(1, piece.high - piece.low + 1)):
                # Whether it runs nobody knows who could be asked.
                self._events.append(AttemptDone(batch, at, at, None, Failure("", "", status=CANCELLED), None, 0))
        self._sent.clear()
        events, self._events = self._events, []
        return [event for event in events if not isinstance(event, PoolFailed)]

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._link.failed is None:
            texts, all_in_time = self._link.close_hosts(self._name, self._setup.exit_grace + _STOP)
            for text in texts:
                self.complaints.add(text)
            if not all_in_time and self._setup.hooks is not None:
                self.complaints.add(self._setup.exit_late)
        self._link.close()
        if self._logs is not None:
            self._logs.close()


def _broken(reply: Reply) -> BaseException:
    """Why no worker can run what it is sent: what it has raised, as it was or in words."""
    assert reply.broken is not None
    told, error = reply.broken, None
    if told.exception is not None:
        found, _ = catch(load, told.exception)
        error = found[0] if found else None
    if error is None:
        error = RunError(f"the Dask worker {reply.address} cannot run the tasks: {told.type}: {told.message}")
    exception: BaseException = error
    exception.__notes__ = [*told.notes, f"  in the Dask worker {reply.address}"]
    exception.__cause__ = exception.__cause__ or RemoteTraceback(told.traceback)
    return exception
