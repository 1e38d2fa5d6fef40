"""The main thread of a grid's process: what it is fed is reported, in lumps where nobody waits for it, else at once."""

from __future__ import annotations

import marshal
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from worker_dispatcher.call import Call
from worker_dispatcher.call_style import CallStyle
from worker_dispatcher.execute import catch
from worker_dispatcher.osproc.channel import Channel
from worker_dispatcher.osproc.shared_status import SharedStatus
from worker_dispatcher.pools.base import Batch, Setup
from worker_dispatcher.pools.parent.batching import pack_items
from worker_dispatcher.pools.protocol.frames import DROP, DROPPED, REPORT, WORK, head_of
from worker_dispatcher.pools.runners.task_queue import Slot
from worker_dispatcher.pools.worker.grid import GridWorker
from worker_dispatcher.script.main_module import FRESH

THREADS = 8


class Parent:
    """The other end of a host that serves in a thread of this process."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours, blocking=True)
        ours.settimeout(20)  # a report that does not come fails the test
        self.slate = SharedStatus(THREADS + 1)
        self.slate.clear()
        setup = Setup(Call(time.sleep, CallStyle(positional=True)))
        self._theirs = Channel(theirs, blocking=True)
        self.host = GridWorker(self._theirs, self.slate, setup)
        self._thread = threading.Thread(target=catch, args=(self.host.serve,))
        self._thread.start()
        self._seq = 1
        self.reports = 0
        self.ended: list[int] = []

    def feed(self, items: list[float]) -> None:
        batch, (_, parts, fds) = Batch(self._seq, items), pack_items(items, FRESH)
        self._channel.send(WORK, [head_of(self._seq, batch), *parts], fds)
        self._seq += len(items)

    def drop(self) -> None:
        self._channel.send(DROP)

    def listen(self) -> list[tuple[int, Any]]:
        """The kinds and first parts of the frames that come next."""
        heard = [(frame.kind, bytes(frame.parts[0])) for frame in self._channel.receive()]
        for kind, part in heard:
            if kind == REPORT:
                self.reports += 1
                self.ended += [seq + nth for seq, count in marshal.loads(part)[0] for nth in range(count)]
        return heard

    def listen_to_the_end(self) -> None:
        while len(self.ended) < self._seq - 1:
            self.listen()

    def close(self) -> None:
        self._channel.close()
        self._thread.join()
        self.host._runner.close()
        slots: list[Slot] = self.host._slots
        for slot in slots:
            if slot.thread is not None:
                slot.thread.join()
        self._theirs.close()
        os.close(self.host._wake)  # with a worker process it would go by itself


@pytest.fixture
def parent() -> Iterator[Parent]:
    parent = Parent()
    yield parent
    parent.close()


def test_all_that_is_fed_is_reported_once(parent):
    dice = random.Random(1)
    for _ in range(150):
        parent.feed([dice.choice((0.0, 0.0, 0.0005)) for _ in range(dice.randint(1, 5 * THREADS))])
        if dice.random() < 0.7:
            parent.listen_to_the_end()
    parent.listen_to_the_end()
    assert sorted(parent.ended) == list(range(1, parent._seq))


def test_with_work_ahead_what_ends_is_reported_by_the_clock_and_not_task_by_task(parent):
    began = time.monotonic()
    parent.feed([0.002] * 800)
    parent.listen_to_the_end()
    assert parent.reports <= 2 * (time.monotonic() - began) / 0.006 + 10


def test_what_somebody_waits_for_is_reported_at_once(parent):
    trips = []
    for _ in range(60):
        began = time.monotonic()
        parent.feed([0.0])
        parent.listen_to_the_end()
        trips.append(time.monotonic() - began)
    assert min(trips[20:]) < 0.003


def test_what_waits_can_be_had_back_while_the_host_looks_by_the_clock(parent):
    parent.feed([0.002] * 100)
    parent.feed([0.002] * 2000)
    while parent.reports < 3:
        parent.listen()
    parent.drop()
    while not any(kind == DROPPED and not any(part) for kind, part in parent.listen()):
        pass
    assert len(parent.ended) < 2000


def test_what_ends_while_a_report_is_sent_is_reported_too(parent, monkeypatch):
    reports, runner = parent.host._reports, parent.host._runner
    send, waited = reports.send, []

    def send_until_another_has_ended():
        one_is_left = len(reports.seqs) == 1  # unless all stood still for longer than the task takes
        send()
        while one_is_left and not waited and not runner.done:
            time.sleep(0.001)
        waited.append(True)

    monkeypatch.setattr(reports, "send", send_until_another_has_ended)
    parent.feed([0.0, 0.02])
    parent.listen_to_the_end()
    assert sorted(parent.ended) == [1, 2]
