"""The pools: what runs tasks, and says of each how it ended; floor 3.

    driver's thread                                       threads and processes that run tasks
    ThreadPool ── feed ──▶ crew ───────────────────────▶ its threads, or one thread with an event loop
       wait    ◀── done, bailed (appends), wake ◀─────────┘
    ProcessPool ─ feed ─▶ Remote ══ private channel ═══▶ worker process: Solo (one slot, the main thread)
       wait    ◀─ one poll ─┘     ══ slate ════════════                  Host (many slots: a crew, in a grid)

    base.py       the contract in words and types: Batch in; Finished, Ended, Returned, Broken out
    threads.py    ThreadPool          processes.py  ProcessPool: processes and the grid
    functions.py  the calls that its tasks are of       batching.py   how many tasks of one go together
    dealing.py    which process gets them
    crew.py       threads that claim tasks; the same in a ThreadPool and in a worker process; loop.py  coroutines
    timers.py     the event loop that those run on
    claims.py     what those share: slots, the tasks nobody has claimed, and columns of those that have ended
    roster.py     which worker processes there are: started, buried, replaced
    remote.py     one worker process as the pool sees it       held.py  which tasks it holds
    worker.py     what runs in that process; host.py  in a grid's      loading.py  how it takes in what it runs
    reporting.py  how it says what has ended               reported.py  how the pool reads that
    frames.py     the words these two exchange
    watch.py      what no message tells of workers: too much memory, a worker.init that does not return
    hooks.py      how that and worker.exit fared            logs.py  what workers log      capture.py  what tasks print

Tasks with due times reach a worker before they are due; it waits for the moment itself, so that neither the driver
nor a channel is between the clock and the task.

Threads: a pool has none to manage itself. It is driven by whoever calls feed and wait; only `wake` may come from
elsewhere. A crew owns its threads, all daemons. A worker process keeps its main thread for its tasks, or for its
channel where it has a crew. What workers log is handled here by a thread that starts with the first record.

A worker, as worker.init knows it, is what runs one task at a time: the main thread of a process, each thread of a crew.
The coroutines of a loop share one.

The room promises: each task given to a pool is settled once or handed back, a dead worker included; a task that was
not begun is handed back without blame; a process over its time is killed, a thread over its time is left behind and
replaced; `close` returns when the pool's processes are gone. Retries, records and the task list are the driver's.

To add a backend: a class with the methods of base.Pool, and one branch in dispatch.plan.open_pool.
"""

__all__ = ["GRID_ENTRY", "WORKER_ENTRY"]

# What a worker process runs; here, where it costs no import.
WORKER_ENTRY = "worker_dispatcher.pools.worker:main"
GRID_ENTRY = "worker_dispatcher.pools.host:main"
