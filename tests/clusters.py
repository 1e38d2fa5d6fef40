"""A Dask cluster of this machine for the tests of one session: a program that ends once the session has.

It is nobody's child and has not the session's mark, so that no test counts as having left it.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

__all__ = ["address"]

_START = 120.0  # seconds that it may take to start, however much else the machine does


@functools.cache
def address(workers: int = 2, threads: int = 2) -> str:
    """Of the scheduler, with so many Dask workers of so many threads each."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    told = folder / "address"
    command = [sys.executable, __file__, str(os.getpid()), str(told), str(workers), str(threads)]
    environment = {key: value for key, value in os.environ.items() if key != "WORKER_DISPATCHER_TEST_SESSION"}
    environment["DASK_TEMPORARY_DIRECTORY"] = str(folder)
    # A shell that ends at once leaves it to the system's first process.
    subprocess.run(
        ["/bin/sh", "-c", 'setsid "$@" </dev/null >/dev/null 2>&1 &', "sh", *command], env=environment, check=True
    )
    until = time.monotonic() + _START
    while not told.exists():
        assert time.monotonic() < until, "the Dask cluster of the tests has not started"
        time.sleep(0.05)
    return told.read_text()


def main(session: int, told: Path, workers: int, threads: int) -> None:
    import distributed

    cluster = distributed.LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=workers,
        threads_per_worker=threads,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=50,
    )
    written = told.with_suffix(".new")
    written.write_text(cluster.scheduler_address)
    written.rename(told)
    while Path(f"/proc/{session}").exists():
        time.sleep(0.5)
    cluster.close(timeout=3)
    shutil.rmtree(told.parent, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
