"""DaskJob: a job on a Dask cluster. Needs the package distributed: `pip install "worker-dispatcher[dask]"`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from worker_dispatcher.config.signature import is_coroutine_function
from worker_dispatcher.engine.job import Job
from worker_dispatcher.errors import ConfigError

if TYPE_CHECKING:
    from worker_dispatcher.engine.engine import Engine
    from worker_dispatcher.engine.events import Entry


class DaskJob(Job):
    """Runs on the Dask cluster of `engine.dask_client`: by default one that is started on this machine.

    Nothing ends what a cluster runs: a job that is cancelled, or over its `deadline`, has ended for the engine, and its
    slot is free; the function goes on. For the same reason there is no `timeout`. If a worker of the cluster dies, Dask
    runs its tasks again: such a job may run twice.
    """

    where, uses = "dask", ("job", "dask")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.timeout is not None:
            problem = ("timeout", "nothing ends what a cluster runs: say deadline=, which ends the wait")
            raise ConfigError([problem], "DaskJob()")

    def prepare(self, engine: Engine, at: float) -> Entry:
        engine.dask_client  # noqa: B018  # a cluster takes a second to start: here, where nothing else waits
        return super().prepare(engine, at)


class DaskPool:
    """A cluster, as the workers of an engine see it. Used by the one thread that acts for the engine."""

    kind = "dask"

    def __init__(self, client: Any) -> None:
        self._executor = client.get_executor(pure=False)
        self._unfinished: set[Future[Any]] = set()

    def submit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        if is_coroutine_function(function):
            future = self._executor.submit(_run, function, args, kwargs)
        else:
            future = self._executor.submit(function, *args, **kwargs)  # as it is: workers need nothing of ours
        found: Future[Any] = future
        self._unfinished.add(found)
        found.add_done_callback(self._unfinished.discard)
        return found

    def __len__(self) -> int:
        return len(self._unfinished)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, kill: bool = False) -> None:
        if cancel_futures or kill:
            for future in list(self._unfinished):
                future.cancel()


class Cluster:
    """The client that DaskJobs use. own: it was made here, with a cluster on this machine, and is closed with it."""

    def __init__(self) -> None:
        self._client: Any = None
        self._own = False

    def client(self) -> Any:
        """The client; one of a fresh cluster on this machine if none was set."""
        if self._client is None:
            import distributed

            # Its dashboard is a web server, which nobody asked to reach from elsewhere.
            cluster = distributed.LocalCluster(host="127.0.0.1", dashboard_address="127.0.0.1:0")  # type: ignore[no-untyped-call]
            self._client, self._own = distributed.Client(cluster), True  # type: ignore[no-untyped-call]
        return self._client

    def use(self, client: Any) -> None:
        """Have jobs go to the cluster of a client. One that is asynchronous belongs to its event loop: another client
        of the same cluster is made."""
        import distributed

        self.close()
        if not isinstance(client, distributed.Client):
            raise ConfigError([("dask_client", f"expected a distributed.Client, got {client!r}")], "Engine")
        if client.asynchronous:
            known: Any = client
            address = known.scheduler_info()["address"]
            self._client = distributed.Client(address, security=client.security)  # type: ignore[no-untyped-call]
            self._own = True
        else:
            self._client = client

    def close(self) -> None:
        """Let go of the client; close what was made here."""
        client, own = self._client, self._own
        self._client, self._own = None, False
        if own:
            cluster = client.cluster
            client.close()
            if cluster is not None:
                cluster.close()


def _run(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return asyncio.run(function(*args, **kwargs))
