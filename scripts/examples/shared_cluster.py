"""One Dask cluster as the shared bucket of two programs: each works here first, and spills over when it is full.

Two threads stand for the two programs. The cluster is one of this machine; give an address to use another:

    python scripts/examples/shared_cluster.py tcp://scheduler:8786
"""

import os
import sys
import tempfile
import threading
import time
from collections import Counter

from worker_dispatcher import WorkerPool

ORDERS = 60


def bill(order: int) -> tuple[int, int]:
    """What takes its time; gives the order, and which process did it."""
    time.sleep(0.02)
    return order, os.getpid()


def shop(name: str, address: str, done: dict[str, Counter[str]]) -> None:
    """Takes orders faster than its two workers can bill them."""
    backend = {"type": "dask", "address": address}
    with (
        WorkerPool(kind="dask", backend=backend) as cluster,
        WorkerPool(2, capacity=4, overflow=cluster) as pool,
    ):
        results = [future.result() for future in [pool.submit(bill, order) for order in range(ORDERS)]]
    assert [order for order, _ in results] == list(range(ORDERS))
    done[name] = Counter("here" if pid == os.getpid() else "on the cluster" for _, pid in results)


def main(address: str) -> None:
    done: dict[str, Counter[str]] = {}
    shops = [threading.Thread(target=shop, args=(name, address, done)) for name in ("north", "south")]
    for one in shops:
        one.start()
    for one in shops:
        one.join()
    for name, counts in sorted(done.items()):
        print(f"{name}: {counts.total()} orders billed, some here: {counts['here'] > 0}", end=", ")
        print(f"some on the cluster: {counts['on the cluster'] > 0}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        import distributed

        quiet = {"dashboard_address": None, "silence_logs": 50}
        with (
            tempfile.TemporaryDirectory() as folder,
            distributed.LocalCluster(n_workers=2, threads_per_worker=2, local_directory=folder, **quiet) as made,
        ):
            main(made.scheduler_address)
