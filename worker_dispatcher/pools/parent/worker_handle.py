"""One worker process as its pool sees it: what it holds, how it is told, how its end is read."""

from __future__ import annotations

import marshal
import math
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from worker_dispatcher.clock import now, sleep
from worker_dispatcher.osproc.channel import LAST_WORDS, Channel, Crowded, Frame, Gone
from worker_dispatcher.osproc.shared_status import SETTLE, SharedStatus
from worker_dispatcher.osproc.starter import ForkStarter, Process, ServerStarter
from worker_dispatcher.osproc.system import readable
from worker_dispatcher.pools.base import Batch, Event, NotStarted, PoolFailed, Setup
from worker_dispatcher.pools.in_flight import InFlight, Revoked, one_by_one
from worker_dispatcher.pools.parent.functions import Function, Known
from worker_dispatcher.pools.parent.late_errors import LateErrors
from worker_dispatcher.pools.parent.life import Life, State, Why
from worker_dispatcher.pools.protocol import frames
from worker_dispatcher.pools.protocol.decode import Report, one_ended
from worker_dispatcher.pools.protocol.hooks import init_error, load_error
from worker_dispatcher.records import CANCELLED, TIMEOUT, Failure
from worker_dispatcher.tracebacks import own
from worker_dispatcher.wire import inlined

__all__ = ["WorkerHandle"]

_LONGEST_ANSWER = 1.0  # seconds: threads that compute keep the one that answers from it
_TERSE = 1 << 15  # bytes: the system keeps about 200 000 for a channel that nobody reads


class WorkerHandle:
    """A worker process with `slots` threads or coroutines (one: its main thread).

    Owned by the pool's driving thread. fd: of its channel. numbers: of its slots in the records, number the first.
    pid: what it has said itself, which may be before the starter does.
    held: the tasks that it has; done: how many have come back; given: the seq of the last of all that it was given;
    alone: it runs one that must have no company; due: when its last task may start, or has started if that is past.
    closing_at: when it will be killed, or infinite. verdicts: seq -> how the tasks end for which it is killed.
    early: tasks whose end was told while they run, id by seq: it is killed when the others have ended.
    over: what is told of it where it is killed for its memory; else empty. complaints: what cost no task. imported: the
    names of modules that it had to import. last_words: why it could not go on, as it said; or empty. gone: its channel
    has ended. garbled: its words make no sense: code of the user has written there. answered: a grid process has, since
    `revoke` asked it.
    heard_at: of its last word or our last question; said_at: of its last word or first task after a rest.
    terse: what was read of it last is under _TERSE, so that several times as much fits into the channel.
    settles_at: when the slate may be believed after `revoke`.
    """

    def __init__(self, starter: ServerStarter | ForkStarter, slots: int, number: int, setup: Setup) -> None:
        self.slots, self.number, self.numbers = slots, number, range(number, number + slots)
        self.life, self.held = Life(), InFlight()
        self.alone = self.gone = self.garbled = self.terse = False
        self.answered = True
        self.pid: int | None = None
        self.complaints, self.imported = list[str](), list[str]()
        self.over = self.last_words = ""
        self.given, self.due = 0, 0.0
        self.heard_at = self.said_at = now()
        self.closing_at = self.settles_at = self._answer_by = math.inf
        self.verdicts: dict[int, Failure] = {}
        self.early: dict[int, int] = {}
        self._most = sys.maxsize if setup.max_tasks is None else setup.max_tasks
        self._known, self.done = Known(), 0
        self.errors = LateErrors()
        self._paused = self._leaving = self._wholly = self._over = False  # over: nothing more is read
        self.watched = 0  # for what the pool's poll watches the channel
        self._revoked = Revoked()  # what was taken back, and the worker has yet to drop
        ours, theirs = socket.socketpair()
        try:
            self.slate = SharedStatus.shared(slots if slots == 1 else slots + 1)  # and one row for the loading of tasks
            self.channel = Channel(ours, blocking=False)
            self.fd = ours.fileno()
            self.process: Process = starter.start(theirs, self.slate.fd, self.fd)
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

    def give(self, batch: Batch, function: Function, parts: list[bytes | memoryview], fds: Sequence[int]) -> None:
        """Hand over a batch. function: its call, packed; parts, fds: its items, to be sent. Closes fds."""
        if (head := self._known.learn(function.number)) is not None:
            assert function.parts is not None
            self._send_shared(frames.FUNCTION, [head], function.parts, function.fds, [])
        if not self.held.count:
            self.heard_at = self.said_at = now()
        seq, self.given = self.given + 1, self.given + len(batch.items)
        self.held.add(seq, batch)
        self.alone = batch.alone  # a suspect: its harm may show when it has ended, and no other is to meet it
        self._most = self.done + self.held.count if batch.alone else self._most
        self.due = 0.0 if batch.dues is None else batch.dues[-1]
        try:
            head = frames.head_of(seq, batch, function.number)
            if fds:
                frames.send_packed(self.channel, frames.WORK, [head], parts, fds)
            else:
                self.channel.send(frames.WORK, [head, *parts])
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
        return self._most - self.done - self.held.count

    @property
    def ready(self) -> bool:
        """It takes tasks, and runs them."""
        return self.life.was_ready

    @property
    def open(self) -> bool:
        """It may be given a task now."""
        held_up = self.alone or self.gone or not self.answered or self.settles_at < math.inf or self._revoked
        free = self._most > self.done + self.held.count
        return self.life.open and free and not (held_up or self.early) and self.closing_at == math.inf

    @property
    def idle(self) -> bool:
        """It would begin a task at once."""
        return self.held.count < self.slots and self.life.was_ready and self.open

    @property
    def spent(self) -> bool:
        """It has run all the tasks it may, and can go."""
        return self.done >= self._most and self.life.state is State.READY and not self.held.count

    def restless(self, at: float) -> bool:
        """There is something to do about it at a moment (monotonic), or it is on its way out."""
        moment = at >= self.settles_at or at >= self.errors.due or at >= self.closing_at
        return moment or self.done >= self._most or self.life.state is State.DRAINING or bool(self.early)

    @property
    def revoking(self) -> bool:
        return self.settles_at < math.inf or bool(self._revoked) or not self.answered

    @property
    def has_waiting(self) -> bool:
        """It holds more tasks than can run at once, and nobody asks for them."""
        return self.held.count > self.slots and not self.revoking

    def revoke(self, *, wholly: bool = False) -> None:
        """Ask for what it has not begun. wholly: also where it is about to begin."""
        self._wholly = wholly
        if self.slots == 1 or not self.ready:
            self.slate.halt[0] = 1
            self.settles_at = now() + SETTLE
        else:  # of many slots, the slate says which run, and not which have ended since the last report
            self.answered, self.heard_at = False, now()
            self._answer_by = self.heard_at + _LONGEST_ANSWER
            self._send(frames.DROP, [], [])

    def withdraw(self) -> list[Event]:
        """`revoke`, and what comes of it: all that has certainly not begun. Waits for that, though not for ever."""
        if not self.revoking:
            self.revoke(wholly=True)
        self._wholly, events = True, list[Event]()
        if self.settles_at < math.inf:
            sleep(max(0.0, self.settles_at - now()))
            events += self.take_back()
        while not (self.answered or self._over) and readable(self.fd, max(0.0, self._answer_by - now())):
            events += self.receive(to_the_end=False)
        return events

    def take_back(self) -> list[Event]:
        """After `revoke` has settled: what a worker has certainly not begun, which is single or is just starting."""
        self.settles_at = math.inf
        begun = max(self.slate.begun(), default=0)
        events = self.receive()  # after that: what is not on the slate any more was reported before
        if self.slots > 1 and self.ready:  # by now
            self._lift()
            self.revoke(wholly=True)
            return events
        if (begun < 0 or (begun == 0 and self.ready)) and not (self._paused or self._wholly):
            self._lift()
            return events
        self._wholly = False
        pieces = self.held.take(max(begun, 0) + 1, self.given + 1)
        self._revoked.add(pieces)
        self._lift()
        return events + [NotStarted(p.tasks()) for p in pieces]

    def _lift(self) -> None:
        """Let it begin tasks again once it holds nothing that was taken from it."""
        held = self.slots == 1 and self.held.count
        if self.settles_at == math.inf and not (self._revoked or held or self._paused):
            self.slate.halt[0] = 0

    def pause(self) -> None:
        """Have it begin nothing more; what it has not begun comes back."""
        self._paused = True
        self.slate.halt[0] = 1
        if self.held.count and not self.revoking:
            self.revoke()

    def resume(self) -> None:
        """Let it begin tasks again."""
        self._paused = False
        self._lift()

    # To its end

    def drain(self, why: Why) -> None:
        """Give it nothing more, and let it leave once what it has begun has ended."""
        if not self.life.was_ready:
            self.kill(why)  # it would load, and run worker.init, for nothing
            return
        self.life.move(State.DRAINING, why)
        if self.held.count and not self.revoking:
            self.revoke()

    def leave(self, grace: float) -> None:
        """Tell it to leave, if it is draining and holds nothing; it has so many seconds for that."""
        if self.life.state is State.DRAINING and not (self.held.count or self._leaving):
            self._leaving, self.closing_at = True, now() + grace
            self.channel.hang_up()

    def runs(self, task_id: int) -> tuple[float, int] | None:
        """See `Pool.runs`."""
        slot = self._slot_of(task_id)
        return None if slot is None else (self.slate.started[slot], self.number + slot)

    def ask_to_stop(self, task_id: int) -> bool:
        """See `Pool.ask_to_stop`."""
        if (slot := self._slot_of(task_id)) is not None:
            self.slate.unwanted[slot] = self.slate.running[slot]
        return slot is not None

    def _slot_of(self, task_id: int) -> int | None:
        """Where a task runs; None if it does not."""
        seq = self.held.seq_of(task_id)
        return self.slate.slot_of(seq) if seq else None

    def kill(self, why: Why | None = None) -> None:
        """End it, for this reason unless it has another one. At any time."""
        self.closing_at = math.inf
        self.life.end(why, killed=True)
        self.process.kill()

    # From the worker

    def receive(self, *, to_the_end: bool = True) -> list[Event]:
        """Read what it says, without blocking; all of it, or what one look finds (a poll tells of the rest)."""
        events: list[Event] = []
        if self._over:
            return events
        try:
            if self.channel.unsent:
                self.channel.flush()
            while heard := self.channel.receive():
                self.terse = sum(map(_size, heard)) < _TERSE
                for frame in heard:
                    events += self._understand(frame)
                if not to_the_end:
                    break
        except Gone:
            self.gone = self._over = True
            self.garbled = self.garbled or self.channel.garbled
        except own(Exception):  # not the user's code, which is guarded: what was sent is not what a worker says
            self.gone = self._over = self.garbled = True
        if not self.held.count:
            self.alone = False
        return events

    def _understand(self, frame: Frame) -> list[Event]:
        self.heard_at = self.said_at = now()
        if frame.kind == frames.ENDED:
            self.done += 1
            end = one_ended(frame, self.held, self.number)
            self._lift()
            return end
        if frame.kind == frames.REPORT:
            end = self._report(frame)
            self._lift()
            return end
        if frame.kind == frames.DROPPED:
            first, end = struct.unpack("<QQ", frame.parts[0])
            self.answered = self.answered or not end  # the answer to DROP names none
            return self._dropped(first, end)
        if frame.kind == frames.UNLOADABLE:
            seq, count, *_ = frames.open_head(frame)
            self._revoked.forget([(seq, count)])
            self._lift()
            return one_by_one(self.held.take(seq, seq + count))
        if frame.kind == frames.READY:
            self.pid = int(frame.parts[0])
            if self.life.state is State.STARTING:
                self.life.move(State.READY)
            return []
        if frame.kind == frames.EXCEPTION:
            return self.errors.take(frame)
        if frame.kind == frames.INIT_FAILED:
            self.life.because(Why.TOLD)
            return [PoolFailed(init_error(frame, self.number))]
        if frame.kind == frames.BROKEN:
            self.life.because(Why.TOLD)
            return [PoolFailed(load_error(frame))]
        if frame.kind == frames.COMPLAINT:
            self.complaints.append(bytes(frame.parts[0]).decode(errors="replace"))
        elif frame.kind == frames.IMPORTED:
            self.imported += marshal.loads(frame.parts[0])
        elif frame.kind == LAST_WORDS:
            self.last_words = bytes(frame.parts[0]).decode(errors="replace")
        else:
            raise ValueError(f"no worker says {frame.kind}")
        return []

    def _dropped(self, a: int, b: int) -> list[Event]:
        self._revoked.drop(a, b)
        events: list[Event] = [NotStarted(p.tasks()) for p in self.held.take(a, b)]
        self.settles_at = math.inf
        self._lift()
        return events

    def _report(self, frame: Frame) -> list[Event]:
        report = Report.of(frame, self.number)
        self._revoked.forget(report.runs)  # of what could not be loaded
        self.done += len(report.results)
        events, failed = report.settle(self.held)
        if failed:
            self.errors.expect(failed)
        return events

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
        return not self.life.was_ready or self.in_init

    @property
    def cause(self) -> str:
        """How it ended, in words."""
        return self.over or self.process.cause + (f": {self.last_words}" if self.last_words else "")

    def silent_since(self) -> float:
        """Since when it has had tasks, and begun none; infinite where that is not so."""
        if self.in_init:
            self.said_at = now()
        waits = self.ready and self.held.count and not self.slate.begun()
        return self.said_at if waits else math.inf

    def condemn(self, seq: int) -> None:
        """Blame its end on a task over its time; seq as the slate has it. A batch being loaded is not one task."""
        if seq > 0 or self.held.fellows(-seq) == 1:
            why = f"ran longer than its timeout of {self.held.batch_of(abs(seq)).timeout or 0.0:g} s"
            self.verdicts[abs(seq)] = Failure("TaskTimeout", why, status=TIMEOUT)

    def end_task(self, seq: int) -> bool:
        """Blame nobody: a task is to end with this worker. False if it has not begun."""
        if begun := seq in self.slate.begun():
            self.verdicts[seq] = Failure("", "", status=CANCELLED)
        return begun

    def cancel_running(self) -> None:
        """Blame nobody: what runs is cancelled by us. What is being loaded, or is about to turn back because the time
        is over, had not begun."""
        self.life.because(Why.CANCELLED)
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
