"""What no message tells of worker processes, and is looked for now and then."""

from __future__ import annotations

import math
from collections.abc import Sequence

from worker_dispatcher.clock import now
from worker_dispatcher.errors import RunError
from worker_dispatcher.pools.base import LONGEST_INIT, Broken, Event, Setup
from worker_dispatcher.pools.remote import Remote

__all__ = ["Watch"]


class Watch:
    """Looks at a pool's workers for a worker.init that does not return. Used by the pool's driving thread.

    due: when to look again (monotonic); infinite where there is nothing to look for.
    """

    def __init__(self, setup: Setup) -> None:
        self.due = math.inf if setup.hooks is None else now() + LONGEST_INIT

    def look(self, remotes: Sequence[Remote]) -> list[Event]:
        at = now()
        self.due = at + LONGEST_INIT / 10
        since, number = min(((r.slate.in_init_since(), r.number) for r in remotes), default=(math.inf, 0))
        if at - since < LONGEST_INIT:
            return []
        text = f"worker.init has not returned after {at - since:.0f} s in worker process {number}"
        return [Broken(RunError(text))]
