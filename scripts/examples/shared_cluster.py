"""One Dask cluster as the shared bucket of two programs: each works here first, and spills over when it is full.

Two threads stand for the two programs, and a cluster of this machine for yours, unless you give its address:

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


def shop(name: str, address: str, done: dict[str, Counter[bool]]) -> None:
    """Takes orders faster than its two workers can bill them."""
    with (
        WorkerPool(kind="dask", backend={"type": "dask", "address": address}) as cluster,
        WorkerPool(2, capacity=4, overflow=cluster) as pool,
    ):
        results = [future.result() for future in [pool.submit(bill, order) for order in range(ORDERS)]]
    assert [order for order, _ in results] == list(range(ORDERS))
    done[name] = Counter(pid == os.getpid() for _, pid in results)


def main(address: str) -> None:
    done: dict[str, Counter[bool]] = {}
    shops = [threading.Thread(target=shop, args=(name, address, done)) for name in ("north", "south")]
    for one in shops:
        one.start()
    for one in shops:
        one.join()
    for name, here in sorted(done.items()):
        print(f"{name}: {here.total()} orders billed, {here[True]} here and {here[False]} on the cluster")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        import dask
        from distributed import LocalCluster

        with tempfile.TemporaryDirectory() as folder, dask.config.set(temporary_directory=folder):
            shape = {"n_workers": 2, "threads_per_worker": 2, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
            with LocalCluster(**shape, local_directory=folder, silence_logs=50) as made:
                main(made.scheduler_address)
