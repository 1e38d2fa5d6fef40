"""A Dask cluster of this machine, for one pool: in processes of its own, which end with it, or with this process."""

from __future__ import annotations

import os
import sys
from typing import Any

from worker_dispatcher.errors import RunError
from worker_dispatcher.osproc.companion import Companion
from worker_dispatcher.osproc.cores import usable_cores

__all__ = ["LocalCluster"]

_START = 60.0  # seconds that the cluster may take to start


class LocalCluster:
    """address: of its scheduler, on loopback; security: what a client needs, certificates that are made for this
    cluster and exist in memory only: any user of the machine can reach loopback."""

    def __init__(self, workers: int | None, threads: int, memory_limit: int | None) -> None:
        """workers: Dask workers, None for one per usable core; threads: of each; memory_limit: bytes of each, None for
        its share of what there is. Raises RunError."""
        said = {"workers": workers or usable_cores(), "threads": threads, "memory_limit": memory_limit}
        self._process = Companion("worker_dispatcher.pools.dask.serve", said, [*sys.path, os.getcwd()])
        try:
            from distributed import Security  # half a second, in which the other process has begun

            if (word := self._process.word(_START)) is None:
                raise RunError("the Dask cluster of this machine did not start; what it said of it is above")
            self.address: str = word[0]
            secure: Any = Security
            self.security = secure(require_encryption=True, **word[1])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it; returns when its processes are gone. Idempotent."""
        self._process.close()
