"""How the ended tasks of a worker process are reported: packed in the task's own time, sent a column each."""

from __future__ import annotations

import itertools
import marshal
import operator
import os
import struct
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from worker_dispatcher.call import Call
from worker_dispatcher.execute import SMALL, catch
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.osproc.channel import Channel
from worker_dispatcher.pools.base import Setup
from worker_dispatcher.pools.protocol.frames import ENDED, EXCEPTION, REPORT, send_packed
from worker_dispatcher.pools.protocol.loading import not_sent
from worker_dispatcher.pools.runners.task_queue import Columns
from worker_dispatcher.records import Failure, doubles
from worker_dispatcher.script.main_module import PARENT
from worker_dispatcher.task_span import TaskSpan
from worker_dispatcher.wire import LARGE_PICKLE, pack, pack_large, to_parts, unpack

__all__ = ["EncodedResult", "Reports", "exception_parts", "made_again", "parts_to_add"]

_PLAIN = SMALL | {str, bytes}  # of these, what is left to be sent is not packed
_REPORT_BYTES = 1 << 20  # of packed results that may wait
_FEW = 100  # tasks of which the times go as they are: to put them in an array first is for many
_HEAVY = 4096  # bytes of a result that are counted before the next task begins
_EXCEPTION_LIMIT = 1 << 20  # bytes of a pickled exception that are worth sending


class EncodedResult(NamedTuple):
    """A result and its metadata, packed, in place of the result: a pickle, or where that is large or has buffers of
    its own, parts of a frame. fds: to be sent and closed."""

    head: bytes
    parts: Sequence[bytes | memoryview] = ()
    fds: Sequence[int] = ()

    @staticmethod
    def of(value: Any) -> EncodedResult:
        """Runs user code. Test-loaded here, where a load that raises, exits or kills hurts only this task."""
        large = type(value[0]) in (bytes, bytearray, str) and len(value[0]) >= LARGE_PICKLE
        packed = pack_large(value, PARENT) if large else pack(value, PARENT)
        if not packed.plain:
            unpack(packed.head + b"".join(packed.rest), packed.buffers)
        if not packed.buffers and packed.head_size < LARGE_PICKLE:
            return EncodedResult(packed.head)
        return EncodedResult(b"", *to_parts(packed))


class Reports:
    """Ended attempts on their way to the parent, a column each. Used by the main thread only, but for `seal_value`."""

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
        self._heads: list[int] = []  # places in the results where a pickle stands
        self._packed: list[int] = []  # places whose result is in the parts
        self._parts: list[bytes | memoryview] = []
        self._fds: list[int] = []
        self._bytes = 0
        self._exceptions: list[tuple[int, BaseException]] = []

    def seal_value(self, call: Call, result: Any, metadata: dict[Any, Any] | None) -> tuple[Any, Failure | None, bool]:
        """(what to send for a result, why it cannot be sent, whether it is heavy). Whatever is more than a small
        builtin is packed; what cannot be packed or loaded is the task's error.

        Runs user code, so it belongs to the task: called while the slate still names it. Any thread.
        """
        kind = type(result)
        if not metadata and (kind in SMALL or ((kind is str or kind is bytes) and len(result) < _HEAVY)):
            return result, None, False
        sealed, error = catch(EncodedResult.of, (result, metadata or None))
        if error is None:
            return sealed, None, len(sealed.head) > _HEAVY or bool(sealed.parts)
        return None, not_sent(call, error, "the result cannot be sent to the parent process"), False

    def add(self, ended: Columns) -> None:
        """Take in ended tasks, sealed."""
        base, results = len(self.seqs), ended.results
        if not SMALL.issuperset(map(type, results)):
            results = [self._place(at, result) for at, result in enumerate(results, base)]
        for at, (failure, _) in ended.apart.items():
            if failure is not None:
                if failure.exception is not None:
                    self._exceptions.append((ended.seqs[at], failure.exception))
                self._failures[base + at] = (*failure[:4], failure.exception is not None, *failure[5:])
        self.seqs += ended.seqs
        self._slots += ended.numbers
        self._starts += doubles(ended.starts)
        self._ends += doubles(ended.ends)
        self._results += results

    def _place(self, at: int, result: Any) -> Any:
        """What stands in a place of the results for a sealed one."""
        if type(result) is not EncodedResult:
            self._bytes += len(result) if isinstance(result, (str, bytes)) else 0
            return result
        if result.head:
            self._heads.append(at)
            self._bytes += len(result.head)
            return result.head
        self._packed.append(at)
        self._parts += result.parts
        self._fds += result.fds
        self._bytes += sum(map(len, result.parts))
        return None

    @property
    def full(self) -> bool:
        return self._bytes > _REPORT_BYTES or len(self._fds) >= 4

    def send_run(self, went: TaskSpan) -> None:
        """`add` and `send` for what was not taken of a stretch in slot 0: without a failure, and with nothing packed,
        it goes as it is."""
        count = went.ended
        if self.seqs or went.taken or went.apart or not count or not _PLAIN.issuperset(map(type, went.results)):
            self.add(Columns.of_stretch(0, went))
            self.send()
            return
        self._stay()
        if count == 1 == len(went.ends):
            one = went.seqs[0], 0, went.starts[0], went.ends[0], went.results[0]
            self._channel.send(ENDED, [_as_bytes(one)])
            return
        times: Any = went.starts[:count], went.ends
        if count > _FEW:
            times = map(doubles, times)
        columns: Any = [(went.seqs[0], count)], 0, *times, went.results, {}, (), ()
        self._channel.send(REPORT, [_as_bytes(columns)])

    def _stay(self) -> None:
        if os.getpid() != self._pid:
            os._exit(0)  # a task forked and its child came back here: it has nothing to report

    def send(self) -> None:
        """Report what there is. Raises Gone when the parent is."""
        self._stay()
        if not self.seqs:
            return
        runs = self._put_in_order()
        slots: Any = self._slots[0] if len(set(self._slots)) == 1 else self._slots
        columns = runs, slots, self._starts, self._ends, self._results, self._failures, self._heads, self._packed
        send_packed(self._channel, REPORT, [_as_bytes(columns)], self._parts, self._fds)
        exceptions = self._exceptions
        self._clear()
        for seq, error in exceptions:
            self._send_exception(seq, error)

    def _put_in_order(self) -> list[tuple[int, int]]:
        """Sort the columns by seq: here, where workers do it side by side. The runs of neighbours: (seq, how many)."""
        count = len(self.seqs)
        if not all(map(operator.lt, self.seqs, itertools.islice(self.seqs, 1, None))):
            self._sort(count)
        seqs = self.seqs
        if seqs[-1] - seqs[0] + 1 == count:
            return [(seqs[0], count)]
        bounds = [at for at in range(1, count) if seqs[at] != seqs[at - 1] + 1]
        return [(seqs[a], b - a) for a, b in itertools.pairwise([0, *bounds, count])]

    def _sort(self, count: int) -> None:
        seqs = self.seqs
        order = sorted(range(count), key=seqs.__getitem__)
        self.seqs, self._slots = [seqs[at] for at in order], [self._slots[at] for at in order]
        self._starts = array("d", map(self._starts.__getitem__, order))
        self._ends = array("d", map(self._ends.__getitem__, order))
        self._results = [self._results[at] for at in order]
        place = {old: new for new, old in enumerate(order)}
        self._failures = {place[at]: failure for at, failure in self._failures.items()}
        self._heads = [place[at] for at in self._heads]
        self._packed = [place[at] for at in self._packed]

    def _send_exception(self, seq: int, error: BaseException) -> None:
        # After the report: an exception whose own loading ends this process must not take its task's record along.
        parts, fds = exception_parts(error, bare=self._setup.kept)
        send_packed(self._channel, EXCEPTION, [struct.pack("<Q", seq)], parts, fds)


def _as_bytes(columns: tuple[Any, ...]) -> bytes:
    """The columns of a report, which are all of builtins; arrays become bytes. `Report.of` reads them."""
    return marshal.dumps(columns, 2)  # half the cost of a pickle; from 3 on it looks for what is there twice


def parts_to_add(ended: Columns) -> Iterator[Columns]:
    """Ended tasks in parts, each of which `Reports.add` can take in before it is looked whether the report is full."""
    heavy = [at + 1 for at, one in enumerate(ended.results) if type(one) is EncodedResult and one.parts]
    return itertools.starmap(ended.part, itertools.pairwise([0, *heavy, len(ended.seqs)])) if heavy else iter((ended,))


def exception_parts(error: BaseException, *, bare: bool = False) -> tuple[list[bytes | memoryview], list[int]]:
    """(parts, descriptors) of a frame that brings an exception to the parent; none where it cannot be brought there.
    bare: also without its constructor."""
    error.__traceback__ = None
    for form in (lambda: error, lambda: _Bare(error))[: 1 + bare]:
        packed, broken = catch(lambda form=form: pack(form(), PARENT))
        if broken is None and packed.size < _EXCEPTION_LIMIT:
            loaded, broken = catch(unpack, packed.head, packed.buffers)
            if broken is None and isinstance(loaded, BaseException):
                return to_parts(packed)
    return [], []


class _Bare:
    """In the place of an exception that cannot be loaded, for the most part since its constructor takes other arguments
    than it hands on to Exception: made without that constructor. All that it holds must be packed as ever."""

    def __init__(self, error: BaseException) -> None:
        self._made = type(error), error.args, dict(vars(error))

    def __reduce__(self) -> tuple[Any, ...]:
        return made_again, self._made


def made_again(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    """An exception, without a call of its constructor."""
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(state)
    return error
