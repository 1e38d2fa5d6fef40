"""What a host tells of ended tasks, ready to be sent: what cannot be packed is a failure of its own task."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from worker_dispatcher.call import Call
from worker_dispatcher.execute import catch
from worker_dispatcher.pools.dask.messages import PLAIN, Ended, Failed, Shipped, load, pack
from worker_dispatcher.pools.protocol.loading import not_sent

__all__ = ["sealed", "that_travels"]


def sealed(went: Ended, notes: dict[int, dict[Any, Any]], call: Call) -> list[Ended | Failed]:
    """What ended ok, ready to be sent; what cannot be is a failure of its own. notes: by place in the columns."""
    results, lost = went.results, dict[int, Failed]()
    odd = {at for at, result in enumerate(results) if type(result) not in PLAIN} | notes.keys()
    for at in sorted(odd):
        sealed, error = catch(pack, (results[at], notes.get(at)))
        if error is None:
            went.sealed[at], results[at] = sealed, None
            continue
        failure = not_sent(call, error, "the result cannot be sent to the parent process")
        worker = went.workers if isinstance(went.workers, int) else went.workers[at]
        failure = failure._replace(exception=None)
        lost[at] = Failed(went.places[at], went.starts[at], went.ends[at], failure, None, worker)
        del error  # it holds this frame, and would hold itself
    return [*_without(went, lost), *lost.values()] if lost else [went]


def _without(went: Ended, lost: Container[int]) -> list[Ended | Failed]:
    """The columns without some places; nothing, where nothing is left."""
    kept = [at for at in range(len(went.results)) if at not in lost]
    new = {old: at for at, old in enumerate(kept)}
    workers = went.workers if isinstance(went.workers, int) else [went.workers[at] for at in kept]
    places, results = [went.places[at] for at in kept], [went.results[at] for at in kept]
    starts, ends = ([one[at] for at in kept] for one in (went.starts, went.ends))
    still = {new[at]: one for at, one in went.sealed.items()}
    return [Ended(places, starts, ends, results, still, workers)] if kept else []


def that_travels(error: BaseException | None, notes: dict[Any, Any] | None) -> Shipped | None:
    """An exception and metadata, packed; without the one, or both, that cannot be packed and loaded."""
    if error is not None:
        error.__traceback__ = None
    for form in ((error, notes), (None, notes)):
        packed, broken = catch(pack, form)
        if broken is None and catch(load, packed)[1] is None:
            found: Shipped = packed
            return found
    return None
