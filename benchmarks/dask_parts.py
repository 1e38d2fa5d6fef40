"""Parts of a Dask cluster as programs, for V: `scheduler`, or `workers ADDRESS COUNT FOLDER`, until the input ends.

Workers are Dask's own, of one thread each, as many as wanted in one process: what the scheduler hears of them is what
it hears of as many machines. They have no nanny and no web server.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import AsyncExitStack
from typing import Any

from worker_dispatcher.pools.dask.serve import QuietScheduler, QuietWorker

AT_ONCE = 25  # workers that start together


async def wait_for_the_end() -> None:
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


async def scheduler() -> None:
    make: Any = QuietScheduler
    async with make(host="127.0.0.1", port=0, dashboard=False) as made:
        print(made.address, flush=True)
        await wait_for_the_end()


async def workers(address: str, count: int, folder: str) -> None:
    make: Any = QuietWorker
    options = {"nthreads": 1, "host": "127.0.0.1", "dashboard": False, "memory_limit": 0, "local_directory": folder}
    async with AsyncExitStack() as stack:
        for low in range(0, count, AT_ONCE):
            some = [make(address, **options) for _ in range(low, min(low + AT_ONCE, count))]
            for one in await asyncio.gather(*some):
                stack.push_async_callback(one.close, nanny=False)
        print(count, flush=True)
        await wait_for_the_end()


def main(kind: str, *rest: str) -> None:
    logging.getLogger("distributed").setLevel(logging.ERROR)
    asyncio.run(scheduler() if kind == "scheduler" else workers(rest[0], int(rest[1]), rest[2]))


if __name__ == "__main__":
    main(*sys.argv[1:])
