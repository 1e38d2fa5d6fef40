"""Exception objects of failed tasks, which come after the tasks' ends."""

from __future__ import annotations

import math
import struct

from worker_dispatcher.clock import now
from worker_dispatcher.execute import catch
from worker_dispatcher.osproc.channel import Frame
from worker_dispatcher.osproc.system import close_all
from worker_dispatcher.pools.base import AttemptDone, Event
from worker_dispatcher.wire import from_parts, unpack

__all__ = ["LateErrors"]

_LONGEST_WAIT = 1.0  # seconds for an object, before its text must do


class LateErrors:
    """Failed tasks of one worker that are told of once their exception objects are here. Owned by the driving thread.

    due: when `give_up` is (monotonic), infinite where none is waited for: an object may not let itself be brought here.
    """

    def __init__(self) -> None:
        self._failed: dict[int, AttemptDone] = {}  # by seq
        self.due = math.inf

    def expect(self, failed: dict[int, AttemptDone]) -> None:
        """These have failed, by seq; their objects are to come."""
        self._failed.update(failed)
        self.due = min(self.due, now() + _LONGEST_WAIT)

    def take(self, frame: Frame) -> list[Event]:
        """An object has come: the end of its task."""
        (seq,) = struct.unpack("<Q", frame.parts[0])
        if (ended := self._failed.pop(seq, None)) is None:
            close_all(frame.fds)
            return []
        assert ended.failure is not None
        if len(frame.parts) > 1:
            error = catch(lambda: unpack(*from_parts(frame.parts[1:], frame.fds)))[0]
            ended = ended._replace(failure=ended.failure._replace(exception=error))
        if not self._failed:
            self.due = math.inf
        return [ended]

    def give_up(self) -> list[Event]:
        """The ends of those whose objects have not come."""
        failed, self._failed, self.due = [*self._failed.values()], {}, math.inf
        return [*failed]
