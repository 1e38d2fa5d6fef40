"""What Dask calls in a worker for a pool: its batches, as tasks of Dask; and what else it asks, beside them."""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Any

from worker_dispatcher.errors import RunError
from worker_dispatcher.execute import catch, describe
from worker_dispatcher.pools.base import Setup
from worker_dispatcher.pools.dask import clocks
from worker_dispatcher.pools.dask.host import Host
from worker_dispatcher.pools.dask.lifeline import follow
from worker_dispatcher.pools.dask.messages import Broken, Opening, Reply, Shipped, Work, load
from worker_dispatcher.pools.dask.outbox import Outbox, within
from worker_dispatcher.pools.dask.sealing import that_travels
from worker_dispatcher.version import VERSION

__all__ = ["close_host", "itself", "look_here", "open_host", "run_batch", "take_logs", "tell_host"]

_ENDED_MOST = 1000  # pools that are known to be over

# By the name of the pool and the address of the Dask worker: one process may be several. Under _mutex.
_hosts: dict[tuple[str, str], Host] = {}
_over: OrderedDict[str, None] = OrderedDict()  # pools that were closed: a batch that comes late opens none again
_mutex = threading.Lock()


def run_batch(opening: Opening, call: Shipped | None, work: Work) -> Reply:
    """A task of Dask: a batch of ours."""
    worker = _dask_worker()
    address = str(worker.address)
    host, broken = _host_of(opening, worker)
    if host is None:
        return Reply(address, "", {}, [], broken)
    host.fit(work)
    if host.size > int(worker.state.nthreads):
        import distributed

        leave: Any = distributed.secede
        leave()  # who may run more at a time than Dask has threads has to have more batches, too
    ticket = host.run(work, call)
    if ticket.broken is not None:
        return Reply(address, host.name, dict(host.pids), ticket.pieces, _told(ticket.broken))
    return Reply(address, host.name, dict(host.pids), ticket.pieces)


def _dask_worker() -> Any:
    from distributed import get_worker

    return get_worker()


def _told(error: BaseException) -> Broken:
    told, notes = describe(error), [str(note) for note in getattr(error, "__notes__", ())]
    return Broken(*told, notes, that_travels(error, None))


def open_host(opening: Opening) -> Reply:
    """A task of Dask: be ready for batches."""
    worker = _dask_worker()
    host, broken = _host_of(opening, worker)
    return Reply(str(worker.address), "" if host is None else host.name, {}, [], broken)


def _host_of(opening: Opening, worker: Any) -> tuple[Host | None, Broken | None]:
    """The host of a pool, opened if it is not there; or why it cannot be."""
    key = opening.pool, str(worker.address)
    with _mutex:
        if (host := _hosts.get(key)) is not None:
            return host, None
        if opening.pool in _over:
            return None, Broken("RunError", "the pool was closed")
        if opening.paths and clocks.look().boot == opening.clock.boot:
            sys.path += [path for path in opening.paths if path not in sys.path]

        def tell(*what: Any) -> None:
            worker.log_event(opening.pool, what)

        box = None
        if opening.logs is not None:
            levels, drops = opening.logs
            told_of = partial(tell, "logs", str(worker.address))
            box = Outbox(levels, worker.loop.asyncio_loop, told_of, drops=drops)
        with within(box):
            setup, error = catch(load, opening.setup)
        if error is not None:
            kind, message, traceback = describe(error)
            text = (
                f"cannot load task.function, task.config or on_done: {kind}: {message}; what they import must be there"
            )
            error = RunError(f"the Dask worker {worker.address} {text}")
            error.add_note(traceback)
        if error is None:
            there = int(worker.state.nthreads), str(worker.address)
            host, error = catch(Host, opening, Setup.of(setup), *there, partial(tell, "begun"), box)
        if error is not None:
            if box is not None:
                box.give_up()
            return None, _told(error)
        assert host is not None
        _hosts[key] = host
        lives, end = partial(_hosts.__contains__, key), partial(_abandon, key, worker)
        worker.loop.add_callback(follow, worker, opening.pool, opening.looks_every, lives, end)
        return host, None


def look_here() -> tuple[tuple[int, int], str, int, clocks.Clock]:
    """(Python, version of this package, process id, clocks) of a Dask worker."""
    return (sys.version_info[0], sys.version_info[1]), VERSION, os.getpid(), clocks.look()


# What Dask calls beside its tasks is told the worker under the name dask_worker.


def tell_host(pool: str, what: Sequence[tuple[str, Sequence[int]]], dask_worker: Any = None) -> None:
    """Tell the host of a pool, if there is one, in order. what: 'kill' or 'ask' tasks, 'give_back', 'stop', 'hurry'."""
    for how, task_ids in what:
        _tell_host((pool, str(dask_worker.address)), how, task_ids)


def _tell_host(key: tuple[str, str], how: str, task_ids: Sequence[int]) -> None:
    if how == "stop":
        with _mutex:
            _close_for_good(key[0])  # a batch that is on its way opens no host any more
    host = _hosts.get(key)
    if host is None:
        return
    if how == "hurry":
        host.hurry()
    elif how in ("give_back", "stop"):
        host.ask(getattr(host, how))
    else:
        for task_id in task_ids:
            host.ask(partial(host.end_task if how == "kill" else host.ask_to_stop, task_id))


async def take_logs(pool: str, dask_worker: Any = None) -> list[bytes]:
    """What tasks of a pool have logged here, the oldest of it; nothing: there is no more at the moment."""
    host = _hosts.get((pool, str(dask_worker.address)))
    return [] if host is None or host.box is None else host.box.take()


async def close_host(pool: str, dask_worker: Any = None) -> tuple[list[str], list[bytes]]:
    """End the host of a pool: what went wrong and cost no task, and what is left of what its tasks have logged. On the
    worker's loop, which goes on meanwhile."""
    import asyncio

    key = pool, str(dask_worker.address)
    with _mutex:
        host = _hosts.get(key)
        _close_for_good(pool)
    if host is None:
        return [], []
    texts = await asyncio.to_thread(host.close)
    with _mutex:
        _hosts.pop(key, None)  # not before: what it logs as it closes is fetched
    return texts, [] if host.box is None else host.box.rest()


async def _abandon(key: tuple[str, str], worker: Any) -> None:
    """End a host whose pool is gone."""
    if (host := _hosts.get(key)) is not None and host.box is not None:
        host.box.give_up()  # what logs waits for who would fetch it
    _tell_host(key, "stop", ())
    await close_host(key[0], worker)


def _close_for_good(pool: str) -> None:
    """Under _mutex."""
    _over[pool] = None
    while len(_over) > _ENDED_MOST:
        _over.popitem(last=False)


def itself(value: Any) -> Any:
    """A task of Dask that gives what it is given: a value that the cluster has, and has again if it is lost."""
    return value
