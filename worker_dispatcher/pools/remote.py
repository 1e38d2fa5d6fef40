"""One worker process as its pool sees it: what it holds, how it is told, how its end is read."""

from __future__ import annotations

import math
import socket
import struct
import sys
from contextlib import ExitStack

from worker_dispatcher.clock import now
from worker_dispatcher.execute import guarded
from worker_dispatcher.osproc.channel import Channel, Crowded, Frame, Gone
from worker_dispatcher.osproc.slate import SETTLE, Slate
from worker_dispatcher.osproc.starter import ForkStarter, Process, ServerStarter
from worker_dispatcher.pools import frames
from worker_dispatcher.pools.base import Batch, Broken, Ended, Event, Finished, Returned, Setup
from worker_dispatcher.pools.functions import Function, Known
from worker_dispatcher.pools.held import Held, Piece, Revoked, one_by_one
from worker_dispatcher.pools.hooks import init_error, load_error
from worker_dispatcher.pools.reported import Report
from worker_dispatcher.records import CANCELLED, CRASHED, TIMEOUT, Failure
from worker_dispatcher.wire import from_parts, inlined, unpack

__all__ = ["Remote"]

_EXCEPTION_WAIT = 1.0  # seconds to wait for the exception object of a failed task before its text must do
_TERSE = 1 << 15  # bytes: the system keeps about 200 000 for a channel that nobody reads


class Remote:
    """A worker process with `slots` threads or coroutines (one: its main thread).

    Owned by the pool's driving thread. number: of its first slot, for the records.
    alone: it runs a task that must have no company. closing_at: when it will be killed, or infinite.
    severed: it is killed because it lives, but its channel does not.
    orphaned: its end is nobody's fault: its fork server took it along, it could not be watched, or we stop it.
    frozen: it is killed because not even its main thread moves. answered: it has, since `revoke` asked a grid process.
    heard_at: of its last word or our last question; said_at: of its last word, or of its first task after a rest.
    over: what is told of it where it is killed for its memory; else empty.
    told_why: it has said itself why it ends. released: it was told to end. complaints: what cost no task.
    garbled: what it says makes no sense, since code of the user has written where it says it.
    terse: what was read of it last was so little that several times as much finds room on the way.
    due: when its last task may start, or has started if that is past.
    tells_at: when `tell_failed` is due: an exception object may not let itself be brought here.
    pid: what it has said itself, which may be before the starter does.
    """

    def __init__(self, starter: ServerStarter | ForkStarter, slots: int, number: int, setup: Setup) -> None:
        self.slots, self.number = slots, number
        self.held = Held()
        self.ready = self.alone = False
        self.pid: int | None = None
        self.gone = self.garbled = self.severed = self.orphaned = self.frozen = False
        self.answered = True
        self.told_why = self.released = self.killed = False
        self.complaints: list[str] = []
        self.over = ""
        self.terse = False
        self.due = 0.0
        self.heard_at = self.said_at = now()
        self.closing_at = math.inf
        self.verdicts: dict[int, Failure] = {}  # seq -> why this worker is killed
        self._seq = 1
        self._most = sys.maxsize if setup.max_tasks is None else setup.max_tasks
        self._known = Known()
        self._done = 0
        self._failed: dict[int, Ended] = {}  # by seq: tasks whose exception object is still to come
        self.tells_at = math.inf
        self._revoked_at = math.inf
        self._revoked = Revoked()  # what was taken back, and the worker has yet to drop
        ours, theirs = socket.socketpair()
        try:
            self.slate = Slate.shared(slots if slots == 1 else slots + 1)  # and one row for the loading of tasks
            self.channel = Channel(ours, blocking=False)
            self.process: Process = starter.start(theirs, self.slate.fd, ours.fileno())
        except BaseException:
            ours.close()
            if hasattr(self, "slate"):
                self.slate.close()
            raise
        finally:
            theirs.close()

    # Towards the worker

    def greet(self, parts: list[bytes | memoryview], fds: list[int]) -> None:
        self._send_shared(frames.SETUP, [], parts[:-1], fds, parts[-1:])

    def _send_shared(
        self,
        kind: int,
        heads: list[bytes],
        packed: list[bytes | memoryview],
        fds: list[int],
        tails: list[bytes | memoryview],
    ) -> None:
        """Send what every worker gets, and leave its descriptors open."""
        try:
            self._send(kind, [*heads, *packed, *tails], fds)
        except Crowded:
            self._send(kind, [*heads, *inlined(packed, fds), *tails], [])

    def give(self, batch: Batch, function: Function, parts: list[bytes | memoryview], fds: list[int]) -> None:
        """Hand over a batch. function: its call, packed; parts, fds: its items, to be sent. Closes fds."""
        if (head := self._known.learn(function.number)) is not None:
            assert function.parts is not None
            self._send_shared(frames.FUNCTION, [head], function.parts, function.fds, [])
        seq = self._seq
        self._seq += len(batch.items)
        self.held.add(seq, batch)
        self.alone = batch.alone
        self.due = 0.0 if batch.dues is None else batch.dues[-1]
        if len(self.held) == len(batch.items):
            self.heard_at = self.said_at = now()
        try:
            head = frames.head_of(seq, batch, function.number)
            frames.send_packed(self.channel, frames.WORK, [head], parts, fds)
        except Gone:
            self.gone = True

    def _send(self, kind: int, parts: list[bytes | memoryview], fds: list[int]) -> None:
        try:
            self.channel.send(kind, parts, fds)
        except Gone:
            self.gone = True  # its end is read from the sentinel, not from here

    @property
    def room(self) -> int:
        """How many tasks it may yet be given, beside those it holds."""
        return self._most - self._done - len(self.held)

    @property
    def spent(self) -> bool:
        """It has run all the tasks it may, and can go."""
        return self._done >= self._most and not len(self.held) and not self.released

    @property
    def revoking(self) -> bool:
        return self._revoked_at < math.inf or bool(self._revoked) or not self.answered

    @property
    def settles_at(self) -> float:
        """When the slate may be believed after `revoke`."""
        return self._revoked_at + SETTLE

    def revoke(self) -> None:
        """Ask for what it has not begun."""
        if self.slots == 1:
            self.slate.halt[0] = 1
            self._revoked_at = now()
        else:
            self.answered = False
            self._send(frames.DROP, [], [])
            self.heard_at = now()

    def take_back(self) -> list[Event]:
        """After `revoke` has settled: what a busy single worker has certainly not begun."""
        self._revoked_at = math.inf
        begun = max(self.slate.begun(), default=0)
        if begun <= 0:
            self._lift()
            return []
        pieces = self.held.take(begun + 1, self._seq)
        self._revoked.add(pieces)
        self._lift()
        return [Returned(p.tasks()) for p in pieces]

    def _lift(self) -> None:
        """Let it begin tasks again once it holds nothing that was taken from it."""
        if self._revoked_at == math.inf and not self._revoked and not len(self.held):
            self.slate.halt[0] = 0

    def kill(self) -> None:
        self.closing_at, self.killed = math.inf, True
        self.process.kill()

    # From the worker

    def receive(self, *, to_the_end: bool = True) -> list[Event]:
        """Read what it says, without blocking; all of it, or what one look finds (a poll tells of the rest)."""
        events: list[Event] = []
        if self.garbled:
            return events
        try:
            self.channel.flush()
            while heard := self.channel.receive():
                self.terse = sum(map(_size, heard)) < _TERSE
                for frame in heard:
                    events += self._hear(frame)
                if not to_the_end:
                    break
        except Gone:
            self.gone = True
            self.garbled = self.garbled or self.channel.garbled
        if not len(self.held):
            self.alone = False
        return events

    def _hear(self, frame: Frame) -> list[Event]:
        try:
            return self._understand(frame)
        except Exception as error:  # not the user's code, which is guarded: what was sent is not what a worker says
            self.garbled = True
            raise Gone from error

    def _understand(self, frame: Frame) -> list[Event]:
        self.heard_at = self.said_at = now()
        if frame.kind == frames.REPORT:
            events = self._report(frame)
            self._lift()
            return events
        if frame.kind == frames.DROPPED:
            self.answered = True
            return self._dropped(*struct.unpack("<QQ", frame.parts[0]))
        if frame.kind == frames.UNLOADABLE:
            seq, count, *_ = frames.open_head(frame)
            return one_by_one(self.held.take(seq, seq + count))
        if frame.kind == frames.READY:
            self.pid = int(frame.parts[0])
            self.ready = True
            return []
        if frame.kind == frames.EXCEPTION:
            return self._exception(frame)
        if frame.kind == frames.INIT_FAILED:
            self.told_why = True
            return [Broken(init_error(frame, self.number))]
        if frame.kind == frames.COMPLAINT:
            self.complaints.append(bytes(frame.parts[0]).decode(errors="replace"))
            return []
        if frame.kind != frames.BROKEN:
            raise ValueError(f"no worker says {frame.kind}")
        self.told_why = True
        return [Broken(load_error(frame))]

    def _exception(self, frame: Frame) -> list[Event]:
        (seq,) = struct.unpack("<Q", frame.parts[0])
        if (ended := self._failed.pop(seq, None)) is None:
            return []
        assert ended.failure is not None
        if len(frame.parts) > 1:
            error = guarded(lambda: unpack(*from_parts(frame.parts[1:], frame.fds)))[0]
            ended = ended._replace(failure=ended.failure._replace(exception=error))
        if not self._failed:
            self.tells_at = math.inf
        return [ended]

    def tell_failed(self) -> list[Event]:
        """Failed tasks whose exception objects have not come: their text must do."""
        failed, self._failed, self.tells_at = [*self._failed.values()], {}, math.inf
        return [*failed]

    def _dropped(self, a: int, b: int) -> list[Event]:
        self._revoked.drop(a, b)
        events: list[Event] = [Returned(p.tasks()) for p in self.held.take(a, b)]
        self._revoked_at = math.inf
        self._lift()
        return events

    def _report(self, frame: Frame) -> list[Event]:
        report = Report.of(frame, self.number)
        runs, failures = report.runs, report.failures
        if not failures and len(runs) > 1 and (taken := self.held.take_ids(runs)) is not None:
            ids, call = taken
            self._done += len(ids)
            notes = {ids[at]: found for at, found in report.metadata.items() if found}
            columns = report.starts, report.ends, report.results
            return [Finished(ids[0], *columns, notes, report.numbers, ids, call)]
        events: list[Event] = []
        low = 0
        for seq, count in runs:
            if failures and any(at in failures for at in range(low, low + count)):
                for at in range(low, low + count):
                    events += self._one(seq + at - low, at, report)
            else:
                events += self._run(seq, low, count, report)
            low += count
        self._done += low
        return events

    def _one(self, seq: int, at: int, report: Report) -> list[Event]:
        """The task of a seq, which stands at a place in the report's columns."""
        failure, follows = None, False  # follows: its exception object, in a frame of its own
        if at in report.failures:
            failure = Failure(*report.failures[at])
            failure, follows = failure._replace(exception=None), bool(failure.exception)
        events: list[Event] = []
        for piece in self.held.take(seq, seq + 1):
            number = report.numbers if isinstance(report.numbers, int) else report.numbers[at]
            times, notes = (report.starts[at], report.ends[at]), report.metadata.get(at)
            ended = Ended(piece.tasks(), *times, report.results[at], failure, notes, number)
            if follows:
                self._failed[seq], self.tells_at = ended, min(self.tells_at, now() + _EXCEPTION_WAIT)
            else:
                events.append(ended)
        return events

    def _run(self, seq: int, low: int, count: int, report: Report) -> list[Event]:
        """`count` tasks from a seq on, which stand from a place on in the report's columns; all ended ok."""
        events: list[Event] = []
        for piece in self.held.take(seq, seq + count):
            a, b = low + piece.seq - seq, low + piece.end - seq
            whole = a == 0 and b == len(report.results)
            notes = {
                piece.first_id + at - a: report.metadata[at]
                for at in (range(a, b) if report.metadata else ())
                if report.metadata.get(at)
            }
            starts, ends, results = report.starts, report.ends, report.results
            if not whole:
                starts, ends, results = starts[a:b], ends[a:b], results[a:b]
            numbers = report.numbers if isinstance(report.numbers, int) else report.numbers[a:b]
            events.append(Finished(piece.first_id, starts, ends, results, notes, numbers, None, piece.batch.call))
        return events

    # Its end

    def bury(self) -> list[Event]:
        """After its process has ended: read the last words, then settle all it held."""
        events = self.receive()
        begun = self.slate.begun()
        if self.verdicts:
            for seq, since in begun.items():
                if (verdict := self.verdicts.get(abs(seq))) is not None:
                    events += self._settle(self.held.take(abs(seq), abs(seq) + 1), since, verdict)
        elif not self.orphaned:
            events += self._blame(begun)
        events += self.tell_failed()
        return events + [Returned(p.tasks()) for p in self.held.take_all()]

    @property
    def in_init(self) -> bool:
        """A slot of it runs worker.init, or did when it ended."""
        return self.slate.in_init_since() < math.inf

    @property
    def moves(self) -> bool:
        """It has begun to be a worker; how long that takes to load what it runs is the user's affair."""
        return self.ready or bool(self.slate.started[0])

    @property
    def stillborn(self) -> bool:
        """It has ended, through no task's fault, before it could begin one."""
        return not self.ready or self.in_init or bool(self.over and not self._done and not self.slate.begun())

    @property
    def cause(self) -> str:
        """How it ended, in words."""
        return self.over or self.process.cause

    def _blame(self, begun: dict[int, float]) -> list[Event]:
        """Its death is the fault of the one task it ran. If it may have been one of several, each runs again on its
        own: the tasks of a batch that was being loaded, and what ran at once in a grid."""
        # One that has ended in order, with nobody telling it to, was made to believe that its parent is gone.
        if self.frozen or self.severed or self.garbled or self.slate.end[0]:
            return self._suspect(begun)
        suspects = [
            piece for seq in begun for piece in (self.held.take(seq, seq + 1) if seq > 0 else self._batch_at(-seq))
        ]
        if self.in_init or sum(p.high - p.low for p in suspects) != 1:
            return one_by_one(suspects, alone=self.slots > 1)
        seq = suspects[0].seq
        when = " while it loaded the task" if -seq in begun else ""
        failure = Failure("WorkerDied", f"its worker process {self.cause}{when}", status=CRASHED)
        return self._settle(suspects, begun.get(seq, begun.get(-seq, self.said_at)), failure)

    def _suspect(self, begun: dict[int, float]) -> list[Event]:
        """It stood still or lost its channel, and the task that did it may have ended before that was noticed.
        So each that may have run is run again, and judged, on its own."""
        last = self._seq
        if self.slots == 1 and (begun or self.slate.end[0]):  # else it has gone on, and was not heard
            last = max(map(abs, begun), default=0)
        suspects = self.held.take(1, last + 1)
        if not self.alone:
            return one_by_one(suspects, alone=True)
        failure = Failure(
            "WorkerDied",
            "its worker process closed its connection to the parent process, or wrote to it",
            status=CRASHED,
        )
        if self.frozen:
            failure = Failure(
                "TaskTimeout", "its worker process stood still for longer than its timeout", status=TIMEOUT
            )
        return self._settle(suspects, self.said_at, failure)

    def _settle(self, pieces: list[Piece], since: float, failure: Failure) -> list[Event]:
        at = now()
        return [Ended(piece.tasks(), since, at, None, failure, None, self.number) for piece in pieces]

    def silent_since(self) -> float:
        """Since when it has had tasks, and begun none; infinite where that is not so."""
        if self.in_init:
            self.said_at = now()
        waits = self.ready and len(self.held) and not self.slate.begun()
        return self.said_at if waits else math.inf

    def condemn(self, seq: int) -> None:
        """Blame its end on a task over its time; seq as the slate has it. A batch being loaded is not one task."""
        if seq > 0 or self._loads_one(-seq):
            why = f"ran longer than its timeout of {self.held.batch_of(abs(seq)).timeout or 0.0:g} s"
            self.verdicts[abs(seq)] = Failure("TaskTimeout", why, status=TIMEOUT)

    def _loads_one(self, seq: int) -> bool:
        """True if the batch whose first task has this seq has no other."""
        pieces = self._batch_at(seq)
        for piece in pieces:
            self.held.add(piece.seq, piece.tasks())
        return sum(p.high - p.low for p in pieces) == 1

    def _batch_at(self, seq: int) -> list[Piece]:
        """Take the pieces of the batch whose first task has this seq."""
        first = self.held.take(seq, seq + 1)
        if not first:
            return []
        end = seq + len(first[0].batch.items) - first[0].low
        return first + self.held.take(seq + 1, end)

    def cancel_running(self) -> None:
        """Blame nobody: what runs is cancelled by us. What is being loaded, or is about to turn back because the time
        is over, had not begun."""
        self.orphaned = True
        running = (seq for seq, since in self.slate.begun().items() if since < self.held.batch_of(seq).stop_at)
        self.verdicts |= {seq: Failure("", "", status=CANCELLED) for seq in running if seq > 0}

    def close(self) -> None:
        with ExitStack() as each:
            each.callback(self.process.close)
            each.callback(self.slate.close)
            each.callback(self.channel.close)


def _size(frame: Frame) -> int:
    """Bytes; a descriptor stands for many."""
    return sum(map(len, frame.parts)) + _TERSE * len(frame.fds)
