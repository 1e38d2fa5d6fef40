"""Who waits for jobs to end, in threads and on event loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager

from worker_dispatcher.clock import LONGEST_WAIT, now
from worker_dispatcher.engine.slips import moment_in
from worker_dispatcher.execute import catch


class Waiters:
    """Facts that become true as jobs end, and who waits for them. Thread-safe.

    Shared, under _mutex: _all.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._all: list[tuple[Callable[[], bool], Future[None]]] = []

    def announce(self) -> None:
        """Jobs have ended, or their callbacks were called: look who waits for that."""
        if not self._all:
            return
        with self._mutex:
            waiters = list(self._all)
        for fact, news in waiters:
            if not news.done() and catch(fact) != (False, None):
                catch(news.set_result, None)

    def wait(self, fact: Callable[[], bool], timeout: float | None, step: float = LONGEST_WAIT) -> bool:
        """Wait until a fact is true; False if it is not in time. step: seconds after which it is looked at anyway."""
        until = None if timeout is None else moment_in(timeout)
        while not fact():
            left = step if until is None else min(step, until - now())
            if left <= 0:
                return False
            with self._waiting(fact) as news:
                wait([news], left)  # what a handler of signals raises goes through
        return True

    async def wait_async(self, fact: Callable[[], bool], timeout: float | None, step: float = LONGEST_WAIT) -> bool:
        """The same, on an event loop."""
        until = None if timeout is None else moment_in(timeout)
        while not fact():
            left = step if until is None else min(step, until - now())
            if left <= 0:
                return False
            with self._waiting(fact) as news:
                await asyncio.wait([asyncio.wrap_future(news)], timeout=left)
        return True

    @contextmanager
    def _waiting(self, fact: Callable[[], bool]) -> Iterator[Future[None]]:
        """A future that is done once the fact is true, or raises."""
        waiter = fact, Future[None]()
        with self._mutex:
            self._all.append(waiter)
        try:
            if catch(fact) != (False, None):  # it became so before anybody knew who waits
                catch(waiter[1].set_result, None)
            yield waiter[1]
        finally:
            with self._mutex:
                self._all.remove(waiter)
