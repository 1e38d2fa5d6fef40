"""PoolFull, apart from errors.py because its base class brings `threading`; floor 0."""

from __future__ import annotations

import queue

from worker_dispatcher.errors import PACKAGE, WorkerDispatcherError


class PoolFull(WorkerDispatcherError, queue.Full):
    """The pool has as many tasks as its capacity allows, and was not to wait for room."""

    __module__ = PACKAGE
