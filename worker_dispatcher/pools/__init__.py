"""The pools: what runs tasks, and says of each how it ended; floor 3.

    driver's thread                                     threads and processes that run tasks
    ThreadPool ── feed ──▶ Runner ────────────────────▶ its threads, or one thread with an event loop
       collect ◀── done, bailed (appends), wake ◀──────┘
    ProcessPool ─ feed ─▶ WorkerHandle ══ channel ════▶ worker process: SingleWorker (one slot, the main thread)
       sleep   ◀─ one poll ─┘          ══ slate ══════                  GridWorker (many slots: a Runner)

    base.py       the contract in words and types: Batch in; BatchDone, AttemptDone, NotStarted, PoolFailed out
    threads.py    ThreadPool          processes.py  ProcessPool: processes and the grid
    booking.py    what threads say, as it is told      handed.py     tasks handed to an idle thread
    in_flight.py  the tasks that were handed out, and have not ended
    runners/      runs tasks in one process: for a ThreadPool in the user's, for a grid in each worker
    parent/       a ProcessPool's side of its workers
    protocol/     what both sides say, and how it is packed
    worker/       what a worker process is

Tasks with due times reach a worker before they are due; it waits for the moment itself, so that neither the driver
nor a channel is between the clock and the task.

Threads: a pool has none to manage itself. It is driven by whoever calls feed and collect, one thread at a time. A
runner owns its threads, all daemons. A worker process keeps its main thread for its tasks, or for its channel where it
has a runner. What workers log is handled here by a thread that starts with the first record.

A worker, as worker.init knows it, is what runs one task at a time: the main thread of a process, each thread of a
runner. The coroutines of a loop share one.

The room promises: each task given to a pool is settled once or handed back, a dead worker included; a task that was
not begun is handed back without blame; a process over its time is killed, a thread over its time is left behind and
replaced; `close` returns when the pool's processes are gone. Retries, records and the task list are the driver's.

To add a backend: a class with the methods of base.Pool, and one branch in dispatch.plan.open_pool.
"""

__all__ = ["GRID_ENTRY", "WORKER_ENTRY"]

# What a worker process runs; here, where it costs no import.
WORKER_ENTRY = "worker_dispatcher.pools.worker.single:main"
GRID_ENTRY = "worker_dispatcher.pools.worker.grid:main"
