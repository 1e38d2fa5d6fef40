"""What runs many tasks in one process: a ThreadPool has a Runner, and so has each worker process of a grid.

    worker_threads.py  ThreadRunner: threads that claim tasks
    coroutines.py      CoroutineRunner: coroutines on one loop in one thread
    task_queue.py      what they share: slots, the tasks that nobody has claimed, columns of those that have ended
    event_loop.py      the loop, with timers that cost less
    kept_loop.py       the loop of a thread that is kept, for coroutine functions among others

The room promises: a task is claimed by one thread; it is reported or given up, never both and never neither. To claim
is `next()` on a shared iterator, and to report is an append: both are one step under the interpreter lock, and would
need a lock of their own on a build without it.
"""

__all__: list[str] = []
