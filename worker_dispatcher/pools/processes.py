"""The process pool and the grid: worker processes fed in batches from the driver's thread.

The parent does nothing per task. Batches are sized by the measured time per task, so that tiny tasks travel
by the hundred and long ones singly; what a worker has not begun can be taken back for one that is idle.
"""

from __future__ import annotations

import marshal
import math
import os
import select
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from worker_dispatcher.clock import now
from worker_dispatcher.execute import catch
from worker_dispatcher.osproc.starter import ForkStarter, ServerStarter
from worker_dispatcher.osproc.system import close_all, given, no_worker, readable
from worker_dispatcher.pools import GRID_ENTRY, WORKER_ENTRY, base
from worker_dispatcher.pools.base import AttemptDone, Batch, BatchDone, Done, End, Event, PoolFailed, Setup, Source
from worker_dispatcher.pools.parent import dealing
from worker_dispatcher.pools.parent.batching import pack_items
from worker_dispatcher.pools.parent.deadlines import Deadlines
from worker_dispatcher.pools.parent.functions import Function, Functions
from worker_dispatcher.pools.parent.imports import NO_NEEDS, preload_for, starter_of
from worker_dispatcher.pools.parent.limits import Limits
from worker_dispatcher.pools.parent.offers import Offers
from worker_dispatcher.pools.parent.supervisor import EXIT_GRACE, Supervisor
from worker_dispatcher.pools.parent.worker_handle import WorkerHandle
from worker_dispatcher.pools.protocol.loading import flush, inherit, not_sent
from worker_dispatcher.pools.protocol.log_forwarding import Incoming, Logs, levels
from worker_dispatcher.script import main_module
from worker_dispatcher.signals import held
from worker_dispatcher.tracebacks import own
from worker_dispatcher.wire import Packed, pack_large, to_parts

__all__ = ["ProcessPool"]

_ENDS_WITHIN = 3.0  # seconds that a stop waits for the ends of workers that it has killed
_LAST_WORDS = 0.05  # seconds that a stop waits for reports that are on their way
_STEP = 0.1  # seconds from one look at the clock to the next, in a wait of so many seconds


class ProcessPool:
    """Runs tasks in worker processes; a task over its time is killed, not forgotten.

    Owned by the driver: everything. Shared: _wake, an eventfd, under _waking; _patience.
    Waits: `sleep`, one poll over channels, sentinels, the starter and _wake, until the next deadline.
    slots: the number of threads or coroutines of each process, in order.
    """

    apart = True

    def __init__(
        self,
        setup: Setup,
        slots: Sequence[int],
        *,
        method: str | None,
        environment: dict[str, str],
        place: str = "worker process",
        many: bool = False,
        named: base.Name = base.nobody,
        packed: Packed | None = None,
        inherited: Sequence[int] = (),
        logs: Logs | None = None,
    ) -> None:
        """many: a process may have several slots at some time. packed: the setup as it is sent, where the caller has
        packed it. inherited: descriptors that go with it; they are closed with the pool. logs: who takes what workers
        log, if that is forwarded; None: the handlers of this process."""
        self._setup, self._patience = setup, base.Patience()
        self._waking = threading.RLock()  # one thread may come here twice: a signal handler wakes, too
        self.place, self._needs, self._unused = place, NO_NEEDS, setup.kept
        self._greeting_fds = list(inherited)
        self._logs = logs
        with ExitStack() as undo:
            undo.callback(close_all, self._greeting_fds)
            try:
                self._wake = given("eventfd", lambda: os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
                undo.callback(os.close, self._wake)
                self._many = many or max(slots) > 1
                self._open(slots, method, environment, named, packed, undo)
            except own(OSError) as error:
                raise no_worker(error) from error
            undo.pop_all()
        self._functions = Functions()
        self._batching = self._functions.of(None).batching  # of what was given last
        self._offers = Offers(self._supervisor, self._functions)
        self._deadlines = Deadlines(self._supervisor, kept=setup.kept)
        self._limits = Limits(setup)
        self._paused = False
        self._heard: list[tuple[int, int]] = []  # descriptors with news, and what the poll says of them
        self._behind = False  # some worker may hold more tasks than it can run at once
        self._asleep = False  # in `sleep`, with what was watched for when it began
        self._full = False  # no worker had room when tasks were handed out last
        self._sated = False  # all that waited was; then, where only the driver makes turns, some news need none

    def _open(
        self,
        slots: Sequence[int],
        method: str | None,
        environment: dict[str, str],
        named: base.Name,
        packed: Packed | None,
        undo: ExitStack,
    ) -> None:
        setup, entry = self._setup, GRID_ENTRY if self._many else WORKER_ENTRY
        parts, about_main = list[bytes | memoryview](), None
        if method == "fork":
            self._reader = main_module.fork()
            self._starter: ServerStarter | ForkStarter = ForkStarter(entry, environment, flush, partial(inherit, setup))
        else:
            self._reader = main_module.FRESH
            packed = packed or pack_large(setup.told())
            parts, self._greeting_fds[:0] = to_parts(packed)
            about_main = main_module.facts()
            self._needs, self._starter = starter_of(setup, packed, entry, environment, method == "spawn")
        undo.callback(self._starter.close)
        complaints = base.Complaints()
        self._logs = (self._logs or Incoming(complaints)) if setup.forward_logging else None
        fds, about_logs = self._greeting_fds, None
        if self._logs is not None:
            undo.callback(self._logs.close)
            fds = [*fds, self._logs.theirs]
            about_logs = levels(), len(fds), setup.forward_logging == "drop"
        manners = marshal.dumps((about_logs, about_main, bool(self._needs.key)))
        self._supervisor = Supervisor(setup, list(slots), self._starter, ([*parts, manners], fds), complaints, named)
        self.pids, self.complaints = self._supervisor.pids, self._supervisor.complaints
        self.left_behind, self.retire = self._supervisor.left_behind, self._supervisor.retire
        self._handles, self._events = self._supervisor.handles, self._supervisor.events
        self._poll = self._supervisor.poll
        self._poll.register(self._wake, select.POLLIN)
        self._logs_fd = -1 if self._logs is None else self._logs.fileno()
        if self._logs is not None:
            self._poll.register(self._logs_fd, select.POLLIN)

    # Feeding

    def prepare(self, workers: int) -> bool:
        self._grow(workers)
        return all(handle.ready for handle in self._handles) and bool(self._handles)

    def feed(self, source: Source) -> None:
        if self._paused:
            return
        waiting, alone, handles = source.waiting(), source.alone_waiting(), self._handles
        self._full = self._sated = False
        if self._setup.timed:
            self._grow(dealing.wanted(source, handles, self._task_time()))
        elif waiting or alone:
            if self._unused and waiting and isinstance(self._starter, ServerStarter):
                preload_for(source.call(), self._setup, self._needs, self._starter)
                self._unused = False
            self._grow(waiting + alone)
        reserved = self._feed_alone(source) if alone else None
        if reserved is not None:
            handles = [handle for handle in handles if handle is not reserved]
        if waiting:
            slots, loads = sum(handle.slots for handle in self._handles), dealing.by_load(handles)
        while waiting > 0:
            batching = self._functions.of(source.call()).batching
            long = not 0 < batching.per_task < (base.LONG if self._setup.kept else base.ONE_BY_ONE_FROM)
            one_by_one = self._setup.timed or (long and (self._setup.recorded or self._setup.kept))
            ahead = 0 if one_by_one else batching.last
            handle = dealing.roomiest(handles, loads, ahead)
            if handle is None:
                self._full = reserved is None
                return
            free = max(0, handle.slots - handle.held.count)
            if self._setup.timed:
                count = min(free, -(-source.crowd(dealing.SPAN) // len(self._handles)))
            else:
                count = batching.size(waiting, handle.slots, slots, free)
                count = min(count, free) if one_by_one else count
            batch = source.take(min(count, handle.room))
            if batch is None:
                return
            self._give(handle, batch)
            waiting -= len(batch.items)
        self._sated = not (alone or self._setup.kept)
        if self._behind:  # nothing is left to hand out
            dealing.rob(self._handles, self._has_room)

    def _grow(self, waiting: int) -> None:
        with held():  # else there may be a worker of whose end nobody hears
            self._supervisor.grow(waiting)

    def offer(self, batch: Batch, done: Done) -> bool:
        if self._paused or not self._offers.give(batch, done, self._pack):
            return False
        self._deadlines.given(batch)
        if self._asleep and self._supervisor.stirred:
            self.wake()
        return True

    def offered_end(self) -> End | None:
        if len(self._heard) != 1 or self._events:
            return None
        if (found := self._offers.end(self._heard[0][0])) is not None:
            self._heard = []
        return found

    def _feed_alone(self, source: Source) -> WorkerHandle | None:
        """Give tasks that must have no company to idle workers; the worker to leave idle for the next of them."""
        while source.alone_waiting():
            able = [r for r in self._handles if r.open]
            handle = min(able, key=lambda r: r.held.count, default=None)
            if handle is None or handle.held.count:
                return handle
            batch = source.take_alone()
            if batch is not None:
                self._give(handle, batch)
        return None

    def _give(self, handle: WorkerHandle, batch: Batch) -> None:
        function = self._functions.of(batch.call)
        sent, error = catch(self._pack, function, batch)
        if error is not None:
            if len(batch.items) > 1:
                for nth in range(len(batch.items)):
                    self._give(handle, batch.part(nth, nth + 1))
                return
            failure = not_sent(batch.call or self._setup.call, error, "the task cannot be sent to a worker process")
            del error  # it holds this frame, and would hold itself
            at = now()
            self._events.append(AttemptDone(batch, at, at, None, failure, None, handle.number))
            return
        size, parts, fds = sent
        self._batching = function.batching
        self._batching.sent(len(batch.items), size)
        handle.give(batch, function, parts, fds)
        self._behind = self._behind or handle.held.count > handle.slots
        self._deadlines.given(batch)
        self._supervisor.rewatch(handle)

    def _pack(self, function: Function, batch: Batch) -> tuple[int, list[bytes | memoryview], list[int]]:
        function.pack(self._reader)
        return pack_items(batch.items, self._reader)

    def _has_room(self) -> bool:
        """True if a worker that is here, or could be started, would begin another task at once."""
        return self._supervisor.could_grow or any(dealing.has_room(r, 0) for r in self._handles)

    # Waiting

    @property
    def roomy(self) -> bool:
        return not self._paused and self._has_room()

    @property
    def due(self) -> float:
        if self._events or (self._asleep and self._supervisor.stirred):
            return 0.0
        due = min(self._deadlines.due, self._limits.due, self._supervisor.due)
        stuck_at = math.inf
        for handle in self._handles:
            due = min(due, handle.closing_at, handle.settles_at, handle.errors.due)
            if self._behind and handle.has_waiting:
                stuck_at = min(stuck_at, handle.heard_at + dealing.STUCK_AFTER)
        if self._behind:
            self._behind = any(handle.held.count > handle.slots for handle in self._handles)
        if stuck_at < due and not self._full and self._has_room():
            due = stuck_at
        return min(due, dealing.next_end(self._handles, self._task_time())) if self._setup.timed else due

    def sleep(self, until: float) -> None:
        if self._full and not self._setup.timed:
            self._rest(until)
        self._supervisor.stirred, self._asleep = False, True
        while True:
            # Rounded up, so that a deadline has passed when the wait for it ends.
            pause = None if until == math.inf else max(0, math.ceil((until - now()) * 1000))
            self._heard = self._poll.poll(pause)
            with held():  # what is said is said once, here and below
                if not (self._sated and len(self._heard) == 1 and self._attend(self._heard.pop()[0])):
                    break
        self._asleep = False

    def collect(self) -> list[Event]:
        heard, self._heard = self._heard, []
        for fd, _ in heard:
            self._attend(fd)
        at = now()
        self._deadlines.look(at)
        if at >= self._supervisor.due:
            self._supervisor.look_for_silence(at)
        if at >= self._limits.due:
            self._limits.look(self._supervisor)
        events, self._events[:] = self._events[:], []
        for event in events:
            self._offers.forget(event)
            if isinstance(event, BatchDone):
                self._functions.of(event.call).batching.measure(event)
            elif isinstance(event, AttemptDone) and event.worker:
                self._functions.of(event.batch.call).batching.measure(event)
        return events

    def _rest(self, until: float) -> None:
        """While all workers are busy for some time yet, let what they say come together: to wake us at each task costs
        a worker several times what it costs to say how the task ended."""
        rest = min(dealing.unheard(self._handles, self._batching.per_task), until - now())
        if rest >= 0.001:
            readable(self._wake, rest)

    def _task_time(self) -> float:
        return self._batching.per_task + dealing.SPAN

    def _attend(self, fd: int) -> bool:
        if fd == self._wake:
            os.eventfd_read(fd)
        elif fd == self._logs_fd and self._logs is not None:
            self._poll.unregister(fd)  # from here on its own thread listens
            self._logs.hear()
        else:
            return self._supervisor.attend(fd)
        return False

    # What a pool that is kept can do

    def pause(self) -> None:
        self._paused = True
        for handle in self._handles:
            handle.pause()

    def resume(self) -> None:
        self._paused = False
        for handle in self._handles:
            handle.resume()

    def resize(self, slots: Sequence[int]) -> None:
        if max(slots) > 1 and not self._many:
            raise ValueError(f"each process of this pool has one slot, not {max(slots)}")
        self._supervisor.resize(list(slots))

    def runs(self, task_id: int) -> tuple[float, int] | None:
        return next(filter(None, (handle.runs(task_id) for handle in self._handles)), None)

    def ask_to_stop(self, task_id: int) -> bool:
        return any(handle.ask_to_stop(task_id) for handle in self._handles)

    def withdraw(self, task_id: int) -> None:
        for handle in list(self._handles):
            if handle.held.seq_of(task_id):
                self._events += handle.withdraw()

    def kill(self, task_id: int) -> None:
        self._deadlines.end_task(task_id)

    # Ending

    def wake(self) -> None:
        with self._waking:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def hurry(self) -> None:
        self._patience.lose()
        self.wake()

    def stop(self) -> list[Event]:
        if self._logs is not None:
            self._logs.hurry = True
        for handle in self._handles:
            handle.slate.halt[0] = 1
        self._listen_while(lambda: any(r.held.count > len(r.slate.begun()) for r in self._handles), _LAST_WORDS)
        for handle in list(self._handles):
            self._events += handle.receive()
            handle.cancel_running()
            handle.kill()
        self._listen_while(self._supervisor.staffed, _ENDS_WITHIN)
        self._supervisor.finish_all()
        events, self._events[:] = self._events[:], []
        return [e for e in events if not isinstance(e, PoolFailed)]

    def _listen_while(self, wanted: Callable[[], object], grace: float, patience: base.Patience | None = None) -> None:
        """Take in what comes while it is wanted, for so many seconds at most. Of a time in which all of us stand still
        (SIGSTOP, a container that is paused) only a part counts."""
        at = now()
        while wanted() and (left := min(grace, math.inf if patience is None else patience.by - at)) > 0:
            heard = self._poll.poll(math.ceil(min(left, _STEP) * 1000))
            with held():
                for fd, _ in heard:
                    self._attend(fd)
            before, at = at, now()
            grace -= min(at - before, 2 * _STEP)

    def close(self) -> None:
        if self._supervisor.closed:
            return
        self._supervisor.closed = True
        try:
            self._close(self._setup.exit_grace)
        except BaseException:  # be it what a handler of signals raised between two steps
            with held():
                self._close(0.0)
            raise

    def _close(self, grace: float) -> None:
        """Idempotent. grace: seconds that workers have to leave by themselves."""
        with ExitStack() as steps:  # the last is taken first, and each whatever those before it raise
            steps.callback(self._close_descriptors)
            steps.callback(self._needs.seen, self._supervisor.imported)
            if self._logs is not None:
                steps.callback(self._logs.close)
            steps.callback(self._starter.close)
            steps.callback(self._supervisor.finish_all)
            steps.callback(self._listen_while, self._supervisor.staffed, EXIT_GRACE)
            steps.callback(self._supervisor.kill_all)
            steps.callback(self._listen_while, self._supervisor.staffed, grace, self._patience)
            for handle in self._handles:
                steps.callback(self._supervisor.let_go, handle)
            steps.callback(self._functions.close)

    def _close_descriptors(self) -> None:
        with self._waking:
            close_all([*self._greeting_fds, self._wake])
            self._greeting_fds, self._wake = [], -1
