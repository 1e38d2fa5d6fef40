"""What a pool and its worker processes say to each other; no user code runs here but what packing and loading run.

    frames.py   the words            encode.py  results out of a worker      decode.py  the same, as the pool reads it
    loading.py  functions and tasks into a worker                            hooks.py   how worker.init and exit went
    log_forwarding.py  what workers log, on a socket of its own

The room promises: what cannot be sent or loaded fails the task that it belongs to, by name, and no other.
"""

__all__: list[str] = []
