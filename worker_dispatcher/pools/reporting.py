"""How the ended tasks of a worker process are reported: packed in the task's own time, sent a column each."""

from __future__ import annotations

import itertools
import os
import pickle
import struct
from array import array
from typing import Any, NamedTuple

from worker_dispatcher.execute import Ended, failure_from, guarded
from worker_dispatcher.osproc.channel import Channel
from worker_dispatcher.pools.base import Setup
from worker_dispatcher.pools.frames import EXCEPTION, REPORT
from worker_dispatcher.records import Failure
from worker_dispatcher.wire import LARGE, is_plain, pack, to_parts, unpack

__all__ = ["Reports", "Sealed"]

_REPORT_BYTES = 1 << 20  # of packed results that may wait
_EXCEPTION_LIMIT = 1 << 20  # bytes of a pickled exception that are worth sending
_SMALL = frozenset({type(None), bool, int, float, complex})  # types whose values need no packing, whatever they are


class Sealed(NamedTuple):
    """A result and its metadata, packed, in place of the result. fds: to be sent and closed."""

    parts: list[bytes | memoryview]
    fds: list[int]

    @staticmethod
    def of(value: Any) -> Sealed:
        """Runs user code. Test-loaded here, where a load that raises, exits or kills hurts only this task."""
        packed = pack(value)
        if not packed.plain:
            unpack(packed.head, packed.buffers)
        return Sealed(*to_parts(packed))


class Reports:
    """Ended attempts on their way to the parent, a column each. Used by the main thread only, but for `seal`."""

    def __init__(self, channel: Channel, setup: Setup) -> None:
        self._channel, self._setup = channel, setup
        self._pid = os.getpid()
        self._clear()

    def _clear(self) -> None:
        self.seqs: list[int] = []
        self._slots: list[int] = []
        self._starts, self._ends = array("d"), array("d")
        self._results: list[Any] = []
        self._failures: dict[int, tuple[Any, ...]] = {}
        self._packed: list[int] = []
        self._parts: list[bytes | memoryview] = []
        self._fds: list[int] = []
        self._bytes = 0
        self._exceptions: list[tuple[int, BaseException]] = []

    def seal(self, ended: Ended) -> Ended:
        """Pack what is more than a small builtin; what cannot be packed or loaded becomes the task's error.

        Runs user code, so it belongs to the task: called while the slate still names it. Any thread.
        """
        result, metadata = ended.result, ended.metadata
        if metadata is None and is_plain((result,)) and not (type(result) in (str, bytes) and len(result) > LARGE):
            return ended
        sealed, error = guarded(Sealed.of, (result, metadata))
        if error is None:
            return ended._replace(result=sealed, metadata=None)
        failure = ended.failure  # if it failed anyway, its metadata is lost, its own error is not
        if failure is None:
            failure = failure_from(self._setup.call, error)
            failure = failure._replace(message=f"the result cannot be sent to the parent process: {failure.message}")
        return ended._replace(result=None, metadata=None, failure=failure)

    def add(self, seq: int, slot: int, ended: Ended) -> None:
        """Take in one ended attempt, sealed or not."""
        result, failure = ended.result, ended.failure
        if ended.metadata is not None or type(result) not in _SMALL:
            result, failure = self._add_packed(ended)
        if failure is not None:
            if failure.exception is not None:
                self._exceptions.append((seq, failure.exception))
            self._failures[len(self.seqs)] = tuple(failure._replace(exception=None))
        self.seqs.append(seq)
        self._slots.append(slot)
        self._starts.append(ended.started)
        self._ends.append(ended.ended)
        self._results.append(result)

    def _add_packed(self, ended: Ended) -> tuple[Any, Failure | None]:
        if type(ended.result) is not Sealed:
            ended = self.seal(ended)
        sealed = ended.result
        if type(sealed) is not Sealed:
            return sealed, ended.failure
        self._packed.append(len(self.seqs))
        self._parts += sealed.parts
        self._fds += sealed.fds
        self._bytes += sum(map(len, sealed.parts))
        return None, ended.failure

    @property
    def full(self) -> bool:
        return self._bytes > _REPORT_BYTES or len(self._fds) >= 4

    def send(self) -> None:
        """Report what there is. Raises Gone when the parent is."""
        if os.getpid() != self._pid:
            os._exit(0)  # a task forked and its child came back here: it has nothing to report
        if not self.seqs:
            return
        runs = self._put_in_order()
        slots: Any = self._slots[0] if len(set(self._slots)) == 1 else self._slots
        times = self._starts.tobytes(), self._ends.tobytes()
        columns = (runs, slots, *times, self._results, self._failures, self._packed)
        try:
            self._channel.send(REPORT, [pickle.dumps(columns, 5), *self._parts], self._fds)
        finally:
            for fd in self._fds:
                os.close(fd)
        exceptions = self._exceptions
        self._clear()
        for seq, error in exceptions:
            self._send_exception(seq, error)

    def _put_in_order(self) -> list[tuple[int, int]]:
        """Sort the columns by seq: here, where workers do it side by side. The runs of neighbours: (seq, how many)."""
        seqs, count = self.seqs, len(self.seqs)
        if seqs[-1] - seqs[0] + 1 == count and all(a < b for a, b in itertools.pairwise(seqs)):
            return [(seqs[0], count)]
        order = sorted(range(count), key=seqs.__getitem__)
        self.seqs, self._slots = [seqs[at] for at in order], [self._slots[at] for at in order]
        self._starts = array("d", map(self._starts.__getitem__, order))
        self._ends = array("d", map(self._ends.__getitem__, order))
        self._results = [self._results[at] for at in order]
        place = {old: new for new, old in enumerate(order)}
        self._failures = {place[at]: failure for at, failure in self._failures.items()}
        self._packed = [place[at] for at in self._packed]
        bounds = [at for at in range(1, count) if self.seqs[at] != self.seqs[at - 1] + 1]
        return [(self.seqs[a], b - a) for a, b in itertools.pairwise([0, *bounds, count])]

    def _send_exception(self, seq: int, error: BaseException) -> None:
        # After the report: an exception whose own loading ends this process must not take its task's record along.
        error.__traceback__ = None
        packed, broken = guarded(pack, error)
        if broken is None and packed.size < _EXCEPTION_LIMIT:
            loaded, broken = guarded(unpack, packed.head, packed.buffers)
            if broken is None and isinstance(loaded, BaseException):
                parts, fds = to_parts(packed)
                self._channel.send(EXCEPTION, [struct.pack("<Q", seq), *parts], fds)
                return
        self._channel.send(EXCEPTION, [struct.pack("<Q", seq)])
