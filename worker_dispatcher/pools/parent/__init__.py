"""The user's process: what a ProcessPool knows of its worker processes. Owned by the pool's driving thread, all of it.

    supervisor.py     which workers there are: started, watched, reaped, replaced; the one poll
    worker_handle.py  one worker: what it is told, what it says          life.py      its states, and why it ends
    verdict.py        what becomes of its tasks when it has ended        deadlines.py what is over its time
    dealing.py        which worker gets the next tasks                   limits.py    memory, silence, a stuck init
    offers.py         tasks given to idle workers one by one
    functions.py      the calls that tasks are of                        batching.py  how many tasks go together

The room promises: a worker holds nothing that others wait for; what it held is settled when its process has ended; a
task that was begun is blamed for a death only if no other can have caused it.
"""

__all__: list[str] = []
