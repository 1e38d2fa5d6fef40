"""LocalJob, ThreadJob and ProcessJob: calls in the workers of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker_dispatcher.config.signature import generator_word, is_coroutine_function
from worker_dispatcher.engine.events import Entry
from worker_dispatcher.engine.job import Job

if TYPE_CHECKING:
    from worker_dispatcher.engine.engine import Engine


class LocalJob(Job):
    """Runs in a thread of the engine's own, one after the other; coroutine functions on one loop, many at once."""

    where, uses = "local", ("job", "local")

    def prepare(self, engine: Engine, at: float) -> Entry:
        self.entry.uses = ("job",) if is_coroutine_function(self.func) or generator_word(self.func) else self.uses
        return super().prepare(engine, at)


class ThreadJob(Job):
    """Runs in a thread. For work that waits."""

    where, uses = "thread", ("job", "thread")


class ProcessJob(Job):
    """Runs in a worker process. For work that computes, or may crash."""

    where, uses = "process", ("job", "process")
