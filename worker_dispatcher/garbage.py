"""The cycle collector, where many objects are made that stay; floor 0."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collections() -> Iterator[None]:
    """Inside, the cycle collector rests, which would look again and again at what is made, in vain: of a million dicts
    that takes twice as long as making them.

    It is one for all threads, so it rests only where this is the only one: nobody is there who could miss it, switch
    it, or fork a child that would go on without it.
    """
    rests = gc.isenabled() and threading.active_count() == 1
    try:
        if rests:
            gc.disable()
        yield
    finally:
        if rests:
            gc.enable()
