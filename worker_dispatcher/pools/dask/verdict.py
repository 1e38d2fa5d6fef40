"""What becomes of a batch that Dask could not run.

| what Dask says | one task | several |
| --- | --- | --- |
| killed the workers that it ran on, time and again (KilledWorker) | WorkerDied | run again in smaller batches |
| lost, or cancelled by somebody | run again, a few times | run again, a few times |
| anything else | the pool cannot go on | the pool cannot go on |
"""

from __future__ import annotations

from worker_dispatcher.clock import now
from worker_dispatcher.errors import RunError
from worker_dispatcher.execute import describe
from worker_dispatcher.pools.base import AttemptDone, Batch, Event, NotStarted
from worker_dispatcher.pools.dask.link import Lost
from worker_dispatcher.records import CRASHED, Failure

__all__ = ["verdict"]

_LOST_MOST = 3  # times that a batch may be lost, before nothing is sent any more
_PARTS = 8  # into which a batch is cut that has killed workers


def verdict(batch: Batch, error: BaseException) -> list[Event] | RunError:
    """What has happened to its tasks, or why the pool cannot go on."""
    from distributed import KilledWorker

    if isinstance(error, Lost):
        if batch.forgiven >= _LOST_MOST:
            return RunError(f"the Dask cluster has lost tasks {batch.forgiven + 1} times: {error}")
        return [NotStarted(batch._replace(forgiven=batch.forgiven + 1))]
    if isinstance(error, KilledWorker):
        if len(batch.items) == 1:
            at = now()
            return [AttemptDone(batch, at, at, None, Failure("WorkerDied", _death(error), status=CRASHED), None, 0)]
        size = -(-len(batch.items) // _PARTS)
        parts = [batch.part(low, low + size) for low in range(0, len(batch.items), size)]
        return [NotStarted(part._replace(alone=True)) for part in parts]
    kind, message, _ = describe(error)
    if isinstance(error, ImportError):
        return RunError(f"a Dask worker cannot import what it needs ({message}); install it there, as it is here")
    return RunError(f"the Dask cluster cannot run the tasks: {kind}: {message[:1000]}")


def _death(error: Exception) -> str:
    count, last = error.args[2] + 1, error.args[1]
    text = f"{count} Dask workers ended while they ran it, the last of them {last.address}"
    limit = getattr(last, "memory_limit", 0)
    if limit:
        text += f"; Dask ends a worker that needs more than its memory_limit, which is {limit / 2**20:.0f} MiB there"
    return text
