"""The user's tasks: what `task.list` may be, and how each kind is drawn from, once and in order."""

from __future__ import annotations

import itertools
import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from worker_dispatcher.clock import LONGEST_WAIT
from worker_dispatcher.execute import catch
from worker_dispatcher.records import Records
from worker_dispatcher.tracebacks import is_foreign, part_from_frames


class TaskList:
    """The user's tasks, each drawn once, in order. total: how many there are, None if unknown.

    drawing: the user's iterator is running; the one place in a run where Ctrl-C may raise.
    ahead: how many are known to the records, and wait to be taken.
    """

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.drawn = self.ahead = 0
        self.drawing = False
        self.error: BaseException | None = None  # what the user's iterator raised; nothing is drawn after it
        self.wake: Callable[[], None] = lambda: None  # tells the driver that there is something to draw

    def available(self) -> int:
        """How many could be drawn without waiting."""
        return 0 if self.error is not None or self.total is None else self.total - self.drawn

    @property
    def ended(self) -> bool:
        return self.error is not None or self.drawn == self.total

    def draw(self, count: int) -> Sequence[Any]:
        """The next tasks, at most `count`."""
        raise NotImplementedError

    def take(self, count: int, records: Records, dues: array[float] | None) -> tuple[int, Sequence[Any]]:
        """(id of the first, items) of the next tasks, at most `count`, which the records know from now on; no items if
        there are none now. dues: when each is due (monotonic), or None."""
        items = self.draw(count)
        if not len(items):
            return 0, ()
        return records.draw(len(items), None if dues is None else dues[: len(items)]), items

    def item_of(self, task_id: int) -> Any:
        """The item of a task that was drawn; None where only the task had it."""
        return None

    def end(self) -> None:
        """No more tasks are wanted."""

    def left(self) -> Iterable[tuple[int, Sequence[Any]]]:
        """(id of the first, items) of what the records know and was not taken."""
        return ()

    def left_over(self) -> int:
        """How many tasks the user's iterable has given that were never drawn, once the run has ended."""
        return 0

    def interrupt(self) -> None:
        """Ctrl-C, in the thread that draws: KeyboardInterrupt if it is in the user's code, else nothing."""
        if self.drawing:
            self.drawing = False  # once: the next one may find us in our own code already
            raise KeyboardInterrupt

    def _next(self, items: Iterator[Any]) -> Any:
        """The next task, or _NO_MORE. What the iterator raises is kept in `error`."""
        try:
            self.drawing = True
            found = next(items, _NO_MORE)
            self.drawing = False
        except BaseException as error:
            self.drawing = False
            if is_foreign(error) and not isinstance(error, KeyboardInterrupt):
                raise
            self.error = part_from_frames(error)
            return _NO_MORE
        return found


_NO_MORE = object()
_ENDLESS = 1 << 62  # more tasks than any run will have


class _Sequence(TaskList):
    """A list, tuple or range: slices of it."""

    def __init__(self, items: Sequence[Any]) -> None:
        super().__init__(len(items))
        self._items = items

    def draw(self, count: int) -> Sequence[Any]:
        items = self._items[self.drawn : self.drawn + count]
        self.drawn += len(items)
        return items

    def item_of(self, task_id: int) -> Any:
        return self._items[task_id - 1]


class _Counted(TaskList):
    """A count, or None for no end: that many tasks, each an empty dict of its own."""

    def available(self) -> int:
        return _ENDLESS if self.total is None else super().available()

    def draw(self, count: int) -> Sequence[Any]:
        count = min(count, self.available())
        self.drawn += count
        return [{} for _ in range(count)]


def _rounds(items: Iterable[Any]) -> Iterator[Any]:
    """All items again and again; ends after a round without any: an iterable with a length may give its items only
    once."""
    some = True
    while some:
        some = False
        for item in items:
            some = True
            yield item


class _Iterated(TaskList):
    """Any other iterable that knows its length: advanced in the driver's thread, which is the caller's.

    total: None where it is begun again at its end. What it gives counts, not what it says: one that has more than its
    length is drawn from to its end.
    """

    def __init__(self, items: Iterable[Any], total: int | None) -> None:
        super().__init__(total)
        self._iterator: Iterator[Any] = iter(items)

    def available(self) -> int:
        return _ENDLESS if self.total is None and not self.ended else super().available()

    def draw(self, count: int) -> Sequence[Any]:
        found: list[Any] = []
        for _ in range(count):
            if (item := self._next(self._iterator)) is _NO_MORE:
                if self.error is None:
                    self.total = self.drawn + len(found)
                break
            found.append(item)
        self.drawn += len(found)
        # One that has more to give than it says is drawn from to its end.
        if self.drawn == self.total and found and (item := self._next(self._iterator)) is not _NO_MORE:
            self._iterator, self.total = itertools.chain((item,), self._iterator), None
        return found


class IteratorFeed(TaskList):
    """An iterable of unknown length, drawn by the caller's thread while the driver runs in another.

    Shared: everything, under _changed. The buffer is small at first, so that a lazy iterable stays lazy, and
    grows only when the driver runs it dry although the iterable had filled it.
    """

    def __init__(self, items: Iterable[Any], at_least: int) -> None:
        super().__init__(None)
        self._items = itertools.chain.from_iterable((items,))  # asks the iterable for its iterator at the first task
        self._room = at_least
        self._buffer: deque[Any] = deque()
        self._changed = threading.Condition()
        self._over = False
        self._was_full = False

    def available(self) -> int:
        return len(self._buffer)

    @property
    def ended(self) -> bool:
        return self._over and not self._buffer

    def draw(self, count: int) -> Sequence[Any]:
        with self._changed:
            found = [self._buffer.popleft() for _ in range(min(count, len(self._buffer)))]
            if not self._buffer and self._was_full:
                self._room = min(2 * self._room, 4096)
                self._was_full = False
            self._changed.notify()
        self.drawn += len(found)
        return found

    def pour(self) -> None:
        """Draw until the iterable or the run ends. Called in the caller's thread; keeps what the iterable raises."""
        if self._over:
            return
        while (item := self._next(self._items)) is not _NO_MORE and self._put(item):
            pass
        self.end()

    def _put(self, item: Any) -> bool:
        with self._changed:
            while len(self._buffer) >= self._room and not self._over:
                self._was_full = True
                self._changed.wait(LONGEST_WAIT)
            # While the buffer holds something the driver does not wait for more: the pool is full.
            waited_for = not self._buffer
            self._buffer.append(item)  # also after the end: it was given to us, and counts as not run
            wanted = not self._over
        if waited_for:
            self.wake()
        return wanted

    def end(self) -> None:
        """No more tasks are wanted, or the iterable has ended. Any thread."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self.wake()

    def left_over(self) -> int:
        return len(self._buffer)


def task_list(given: Any, workers: int, *, cycle: bool = False) -> TaskList:
    """The tasks of a checked `task.list`. workers: how many tasks at least an IteratorFeed holds ready.

    cycle: what knows its length begins again at its end, and the schedule ends the run.
    """
    if isinstance(given, int) or given is None:
        return _Counted(None if cycle else given)
    if isinstance(given, (list, tuple)):
        given = tuple(given)
    length = catch(len, given)[0]  # a range may be longer than len() can say
    if length is not None and cycle and length:
        return _Iterated(_rounds(given), None)
    if isinstance(given, (tuple, range)) and length is not None:
        return _Sequence(given)
    if length is not None:
        return _Iterated(given, length)
    return IteratorFeed(given, 2 * workers)
