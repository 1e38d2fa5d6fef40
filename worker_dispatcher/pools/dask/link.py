"""The client of a cluster, on an event loop of its own: what a pool asks of Dask, and what comes of it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from worker_dispatcher.clock import now
from worker_dispatcher.config.backend import Backend
from worker_dispatcher.errors import RunError
from worker_dispatcher.execute import describe
from worker_dispatcher.pools.dask import calls, clocks
from worker_dispatcher.pools.dask.arriving import Arriving
from worker_dispatcher.pools.dask.lifeline import key_of
from worker_dispatcher.pools.dask.local import LocalCluster
from worker_dispatcher.pools.dask.messages import Begun, Opening, Reply, Shipped, Work
from worker_dispatcher.pools.dask.reaching import reach, strange

__all__ = ["Link", "Lost"]

_REACH = 3.0  # seconds that a scheduler may take to answer
_ASK = 3.0  # seconds that all workers may take to answer what is asked of them beside their tasks
_LOOK = 0.5  # seconds from one look at the cluster to the next
_GONE = 3.0  # seconds without its scheduler after which a cluster is given up
_LARGE = 8 << 20  # bytes that are sent to all workers at once, and not through the scheduler's books
_SPEAKERS = 4  # that tell hosts something at a time: one may have to wait for a worker that stands still
_ROUNDS = 5  # looks at a clock, of which the quickest counts

_FETCHES = 200  # a second, of what Dask workers have logged, that a scheduler can be troubled with

T = TypeVar("T")


class Lost(Exception):
    """Dask does not know a batch any more, or could not get what came of it: it is run again."""


class Link:
    """Owned by its loop, in its own thread: the client, futures. Shared: ended and begun, in single steps; slots and
    failed, each a single store.

    begun: what hosts say of tasks that run. open_hosts: addresses of workers that are ready for batches.
    ended: (number of a batch, what came of it): a Reply, or an exception of Dask's. slots: threads of each worker, by
    address. tell: called when there is something in `ended`, or it has failed; from any thread.
    """

    def __init__(
        self,
        backend: Backend,
        tell: Callable[[], None],
        local: Callable[[], LocalCluster],
        logs: Arriving | None = None,
    ) -> None:
        """local: makes a cluster of this machine, where the backend names none. logs: takes what tasks log."""
        self._logs = logs
        self._taking: dict[str, asyncio.Lock] = {}  # by address of a Dask worker: of its records, which are in order
        self._backend, self._tell, self._make_local = backend, tell, local
        self._local: LocalCluster | None = None
        self.ended: deque[tuple[int, Reply | BaseException]] = deque()
        self.begun: deque[Any] = deque()
        self.open_hosts: set[str] = set()
        self.slots: dict[str, int] = {}
        self.failed: RunError | None = None
        self.offsets: dict[str, tuple[float, float]] = {}  # of the clocks of workers, and how far off each may be
        self._client: Any = None
        self._lifeline: Any = None  # held as long as hosts are to live
        self._futures: dict[int, Any] = {}
        self._sent: dict[int, Any] = {}  # by number of the call: what the cluster has of it
        self._tasks: set[asyncio.Task[Any]] = set()
        self._opening: set[str] = set()  # addresses of workers that were told to be ready
        self._unsaid: list[tuple[str, tuple[int, ...]]] = []  # what hosts are to be told
        self._speakers = 0  # how many tell it
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._loop.time = now  # type: ignore[method-assign]  # which no test of the user stops
        self._thread = threading.Thread(target=self._run, name="link to the Dask cluster", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(_note)
        self._loop.run_forever()
        if left := asyncio.all_tasks(self._loop):  # of Dask: what they have open is closed as they end
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(left, timeout=1))
        if self._client is not None:
            from tornado.ioloop import IOLoop

            if (made := IOLoop.current(instance=False)) is not None:
                made.close(all_fds=True)  # and with it what was given up as it was being connected
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T], within: float | None = None) -> T:
        """What a coroutine gives, in our loop. Raises TimeoutError."""
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, within), self._loop)
        return future.result()

    def _post(self, work: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(work)

    # For the pool

    def open(self, opening: Callable[[], Opening]) -> None:
        """Find the cluster, and tell it what the pool is, once `slots` are known. Raises RunError."""
        address, security = self._whom()
        reach(address)
        self._call(self._open(address, security))
        self._call(self._look_for_workers())
        self._call(self._begin(opening()))

    def submit(self, number: int, work: Work, call: Shipped | None, where: str) -> None:
        """Have a batch run. call: of its call, as it is packed; where: the worker that is to run it, as long as it is
        there; empty: any."""
        self._post(lambda: self._keep(self._submit(number, work, call, where)))

    def drop(self, call: int) -> None:
        """The cluster need not keep a call any more."""
        self._post(lambda: self._sent.pop(call, None))

    def prepare(self) -> bool:
        """Have each worker be ready for batches; True once they are."""
        for address in self.slots:
            if address not in self._opening:
                self._opening.add(address)
                self._post(partial(self._prepare, address))
        return bool(self.open_hosts) and self.open_hosts >= set(self.slots)

    def tell_hosts(self, pool: str, how: str, task_ids: tuple[int, ...] = ()) -> None:
        """See calls.tell_host. Waits for nobody."""
        self._post(partial(self._say, pool, how, task_ids))

    def close_hosts(self, pool: str, within: float) -> tuple[list[str], bool]:
        """(what went wrong in them, True if each has answered in time)."""
        try:
            return self._call(self._close_hosts(pool), within), True
        except (TimeoutError, OSError):
            return [], False

    def forget(self) -> None:
        """Have Dask run nothing of ours any more."""
        with suppress(TimeoutError, OSError, RuntimeError):
            self._call(self._cancel(), _ASK)

    def close(self) -> None:
        """Idempotent."""
        if self._closed:
            return
        self._closed = True
        with suppress(TimeoutError, OSError, RuntimeError):
            self._call(self._close(), _ASK)
        self._post(self._loop.stop)
        self._thread.join()
        if self._local is not None:
            self._local.close()

    # In the loop

    def _keep(self, work: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _whom(self) -> tuple[str, Any]:
        """(address, Dask's security) of the cluster."""
        client, security = self._backend.client, self._backend.security
        if client is not None:
            return str(client.scheduler.address), client.security
        if self._backend.address is None:
            self._local = self._make_local()
            return self._local.address, self._local.security
        if security is None:
            return self._backend.address, None
        from distributed import Security

        make: Any = Security
        files = {"tls_ca_file": security.ca, "tls_client_cert": security.cert, "tls_client_key": security.key}
        return self._backend.address, make(require_encryption=True, **files)

    async def _open(self, address: str, security: Any) -> None:
        import distributed

        try:
            make: Any = distributed.Client
            self._client = await make(
                address, security=security, asynchronous=True, set_as_default=False, timeout=_REACH
            )
        except Exception as error:
            kind, message, _ = describe(error.__cause__ or error)
            raise RunError(f"cannot use the Dask cluster at {address}: {kind}: {message[:500]}") from error

    async def _begin(self, opening: Opening) -> None:
        await self._compare(opening)
        offsets = {address: offset for address, (offset, _) in self.offsets.items()}
        self._sent[0] = await self._ship(opening._replace(offsets=offsets))
        self._lifeline = self._client.submit(calls.itself, None, key=key_of(opening.pool), pure=False)
        if opening.tells or opening.logs is not None:
            self._client.subscribe_topic(opening.pool, partial(self._hear, opening.pool))
        self._keep(self._watch())

    def _hear(self, pool: str, event: tuple[float, Any]) -> None:
        kind, address, *told = event[1]
        if kind == "begun":
            self._hear_begun(address, *told)
        elif self._logs is not None:
            self._keep(self._take_logs(pool, address, self._logs))

    def _hear_begun(self, address: str, host: str, tasks: dict[str, Any], pids: dict[str, int]) -> None:
        numbers = {int(number): pid for number, pid in pids.items()}
        self.begun.append(Begun(address, host, {int(one): tuple(how) for one, how in tasks.items()}, numbers))
        self._tell()

    def _prepare(self, address: str) -> None:
        async def prepare() -> None:
            future = self._client.submit(
                calls.open_host, self._sent[0], workers=[address], allow_other_workers=False, pure=False
            )
            try:
                reply: Reply = await future
            except (Exception, asyncio.CancelledError):  # a batch that is sent there will say it
                self.open_hosts.add(address)
            else:
                self.open_hosts.add(address)
                if reply.broken is not None:
                    self.ended.append((0, reply))
            self._tell()

        self._keep(prepare())

    async def _look_for_workers(self) -> None:
        """Wait until there is one. A cluster that grows with its work is shown some."""
        until, shown = now() + self._backend.timeout, None
        while not (found := await self._client.nthreads()):
            if shown is None:
                shown = self._client.submit(calls.itself, None, pure=False)
            if now() > until:
                where, seconds = self._client.scheduler.address, self._backend.timeout
                raise RunError(f"the Dask cluster at {where} has had no worker for {seconds:g} s; start one there")
            await asyncio.sleep(0.05)
        self.slots = dict(found)

    async def _compare(self, opening: Opening) -> None:
        """Raises RunError where a worker could not run what it is sent."""
        answers = await self._answers(calls.look_here)
        for address, found in answers.items():
            if isinstance(found, BaseException):
                raise strange(address, found)
            python, version, _, clock = found
            if python != opening.python:
                theirs, ours = (".".join(map(str, one)) for one in (python, opening.python))
                text = f"runs Python {theirs}, and this program {ours}; functions cannot be sent from one to the other"
                raise RunError(f"the Dask worker {address} {text}: use one version for both")
            if version != opening.version:
                text = f"has worker_dispatcher {version}, and this program {opening.version}: install one for both"
                raise RunError(f"the Dask worker {address} {text}")
            if clock.boot and clock.boot == opening.clock.boot:
                self.offsets[address] = 0.0, 0.0
            else:
                await self._measure(address)

    async def _measure(self, address: str) -> None:
        """How the clock of a worker differs from ours."""
        looks = []
        for _ in range(_ROUNDS):
            asked = now()
            found = (await self._client.run(calls.look_here, workers=[address])).get(address)
            if found is not None:
                looks.append(clocks.measured(asked, now(), found[3].monotonic))
        if looks:
            self.offsets[address] = min(looks, key=lambda look: look[1])

    async def _answers(self, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        try:
            return await asyncio.wait_for(self._ask(function, *arguments), _ASK)
        except TimeoutError:
            return {}  # one stands still, and none is heard for it

    async def _ask(
        self, function: Callable[..., Any], *arguments: Any, workers: list[str] | None = None
    ) -> dict[str, Any]:
        """What each worker answers, by address: an exception where it cannot."""
        answers: dict[str, Any] = await self._client.run(function, *arguments, workers=workers, on_error="return")
        return answers

    def _say(self, pool: str, how: str, task_ids: tuple[int, ...]) -> None:
        self._unsaid.append((how, task_ids))
        if self._speakers < _SPEAKERS:
            self._speakers += 1
            self._keep(self._tell_hosts(pool))

    async def _tell_hosts(self, pool: str) -> None:
        """All that is to be told, at once: each question of its own takes a connection."""
        while self._unsaid:
            what, self._unsaid = self._unsaid, []
            with suppress(OSError, TimeoutError):  # of a scheduler that is gone `_watch` tells
                await self._ask(calls.tell_host, pool, what)
        self._speakers -= 1

    async def _take_logs(self, pool: str, address: str, logs: Arriving) -> None:
        """Fetch what tasks have logged in a Dask worker until there is no more. The handlers have taken what came
        before more is fetched."""
        while address in self.slots:
            handled, found = asyncio.Event(), None
            async with self._turn(address):
                with suppress(OSError):
                    found = (await self._ask(calls.take_logs, pool, workers=[address])).get(address)
                if isinstance(found, list) and found:
                    logs.put(address, found, partial(self._post, handled.set))
            if found == []:
                return
            if isinstance(found, list):  # else it could not be asked
                await handled.wait()
            await asyncio.sleep(len(self.slots) / _FETCHES)

    def _turn(self, address: str) -> asyncio.Lock:
        return self._taking.setdefault(address, asyncio.Lock())

    async def _close_hosts(self, pool: str) -> list[str]:
        """What went wrong in them."""
        answers, texts = await self._ask(calls.close_host, pool), list[str]()
        for address, found in answers.items():
            if isinstance(found, tuple):
                texts += found[0]
                if self._logs is not None and found[1]:
                    async with self._turn(address):  # what was fetched before comes before
                        self._logs.put(address, found[1], lambda: None)
        return texts

    async def _ship(self, value: Any) -> Any:
        """A value that the cluster keeps, once in each worker that needs it."""
        size = value.setup.size if isinstance(value, Opening) else value.size
        if size > _LARGE:
            return await self._client.scatter(value, broadcast=True, hash=False)
        return self._client.submit(calls.itself, value, pure=False)

    async def _submit(self, number: int, work: Work, call: Shipped | None, where: str) -> None:
        try:
            sent = None
            if work.call:
                if work.call not in self._sent:
                    self._sent[work.call] = await self._ship(call)
                sent = self._sent[work.call]
            at = {"workers": [where], "allow_other_workers": True} if where else {}
            future = self._client.submit(calls.run_batch, self._sent[0], sent, work, pure=False, **at)
            self._futures[number] = future
            ended: Reply | BaseException = await future
        except BaseException as error:
            ended = Lost(describe(error)[1]) if _is_loss(error) else error
            if self._client.status != "running":
                self.failed = self.failed or self._gone()
        if self._futures.pop(number, None) is None and not isinstance(ended, Exception):
            return
        self.ended.append((number, ended))
        self._tell()

    async def _watch(self) -> None:
        lost_since = 0.0
        while True:
            await asyncio.sleep(_LOOK)
            if self._client.status != "running":
                lost_since = lost_since or now()
                if now() - lost_since > _GONE or self._client.status == "closed":
                    self.failed = self._gone()
                    self._tell()
                    return
                continue
            lost_since = 0.0
            with suppress(OSError, TimeoutError):  # Dask's errors of connections are OSErrors
                slots = dict(await asyncio.wait_for(self._client.nthreads(), _ASK))
                if slots != self.slots:
                    self.slots = slots
                    self._tell()

    def _gone(self) -> RunError:
        return RunError(f"the scheduler of the Dask cluster at {self.address} is gone")

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return str(self._client.scheduler.address)

    async def _cancel(self) -> None:
        futures = list(self._futures.values())
        self._futures.clear()
        if futures:
            await self._client.cancel(futures, force=True)

    async def _close(self) -> None:
        tasks = list(self._tasks)
        while tasks:  # before Python 3.12 `wait_for` may swallow that
            for task in tasks:
                task.cancel()
            tasks = [*(await asyncio.wait(tasks, timeout=0.1))[1]]
        self._futures.clear()
        self._sent.clear()
        if self._client is not None:
            pool = self._client.rpc
            comms = [comm for some in (pool.available, pool.occupied) for found in some.values() for comm in found]
            try:
                await self._client.close(timeout=1)
            finally:
                for comm in comms:  # that had no time to say good-bye
                    comm.abort()


def _note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What Dask leaves behind in its loop, such as a wait that was given up when it closed: it concerns no task."""
    logging.getLogger("worker_dispatcher").debug("Dask: %s", context.get("message"), exc_info=context.get("exception"))


def _is_loss(error: BaseException) -> bool:
    """Dask does not know any more what it was given; the oldest version that we take says it with another word."""
    return type(error).__name__ in ("CancelledError", "FutureCancelledError")
