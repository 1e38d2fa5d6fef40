"""Tasks that go to an idle worker process one by one, from the thread that submits them and past all that is done for
batches; and their ends."""

from __future__ import annotations

import math
from collections.abc import Callable

from worker_dispatcher.execute import catch
from worker_dispatcher.pools.base import AttemptDone, Batch, BatchDone, Done, End, Event, NotStarted
from worker_dispatcher.pools.parent.functions import Function, Functions
from worker_dispatcher.pools.parent.supervisor import Supervisor

__all__ = ["Offers"]

Pack = Callable[[Function, Batch], tuple[int, list[bytes | memoryview], list[int]]]


class Offers:
    """Owned by whoever drives the pool. To the worker, and in the books, such a task is as any other."""

    def __init__(self, supervisor: Supervisor, functions: Functions) -> None:
        self._supervisor, self._functions = supervisor, functions
        self._open: dict[int, Done] = {}  # by id of the task

    def give(self, batch: Batch, done: Done, pack: Pack) -> bool:
        """Give one task to an idle worker; False if there is none, or it cannot be packed: fed, it is told why."""
        supervisor = self._supervisor
        handle = None if supervisor.closed else next((one for one in supervisor.handles if one.idle), None)
        if handle is None:
            return False
        function = self._functions.of(batch.call)
        packed, error = catch(pack, function, batch)
        if error is not None:
            return False
        _, parts, fds = packed
        self._open[batch.first] = done
        handle.give(batch, function, parts, fds)
        supervisor.rewatch(handle)
        return True

    def end(self, fd: int) -> End | None:
        """Hear a worker that speaks on a descriptor: what `Pool.offered_end` gives. If it is None, a turn is needed."""
        supervisor = self._supervisor
        if (handle := supervisor.speaker(fd)) is None:
            return None
        events = handle.receive(to_the_end=False)
        supervisor.rewatch(handle)
        if len(events) == 1 and handle.idle and handle.errors.due == math.inf:
            end = events[0]
            if isinstance(end, BatchDone) and end.ids is None and len(end.results) == 1:
                done = self._open.pop(end.first, None)
                if done is not None and isinstance(end.worker, int):
                    self._functions.of(end.call).batching.measure(end)
                    return done, (end.first, end.results[0], end.starts[0], end.ends[0], end.worker)
        supervisor.events += events
        return None

    def forget(self, event: Event) -> None:
        """It is told of what was offered, as of anything else."""
        if not self._open:
            return
        if isinstance(event, BatchDone):
            ids = event.task_ids
        elif isinstance(event, NotStarted):
            ids = range(event.batch.first, event.batch.first + len(event.batch.items))
        else:
            ids = (event.task_id,) if isinstance(event, AttemptDone) else ()
        for task_id in ids:
            self._open.pop(task_id, None)
