"""Pools that are kept: WorkerPool, its groups and futures; floor 5.

    submit, schedule ──▶ Scheduler ── books: live, counts ──▶ TaskFuture, callbacks, groups
                            │ offer: an idle worker gets it here and now
                            ▼
       Backlog (source) ─▶ Driver ─▶ a pool of pools/ ─▶ Scheduler (sink, retries)

    pool.py       WorkerPool, the public face          group.py     TaskGroup
    scheduler.py  its inside: takes tasks in, has them run, ends their futures
    backlog.py    what waits: delayed, queued, parked behind a limiter or a group
    intake.py     how tasks come in: made, admitted, handed to an idle worker or to the backlog
    control.py    cancel, rescue, pause, resize, join, shutdown
    future.py     TaskFuture, TaskResult, Task         outcome.py   how a task has ended, in words
    lazy_future.py   a Future that makes its condition only for who waits
    settings.py   what may be said of each task        checks.py    what is wrong with arguments
    calling.py    what runs in a worker; current_task  shapes.py    which backend, how many workers
    lending.py    its workers for a run that has it as worker.pool      lent.py   what that has of it
    overflow.py   what a full pool does not take          away.py    what is called for it there
    callbacks.py  the thread of hooks                  lifetime.py  pools that are dropped, the end of the program
    results.py    what map gives                       progress.py  how far a map or a group is, in the terminal

Threads: one for each pool that has had a task, in `Driver.run`; one for callbacks, from the first on. A turn of the
driver may be taken by any thread: by one that submits, if a worker is idle; by a worker's, when its task has ended.
Futures are ended after the turn, so that what callbacks do holds up no other task.

The room promises: each task ends once, with a named state; the books are right before a future is done; nothing starts
after its end was told; a pool that nobody holds any more does what it has, and ends.
"""
