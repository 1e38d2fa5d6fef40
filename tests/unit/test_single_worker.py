"""The worker process of one slot: what its slate does not name was reported before, or never begun."""

from __future__ import annotations

import socket

import pytest

from worker_dispatcher.call import Call
from worker_dispatcher.call_style import CallStyle
from worker_dispatcher.osproc.channel import Channel, Frame
from worker_dispatcher.osproc.shared_status import SharedStatus
from worker_dispatcher.pools.base import Batch, Setup
from worker_dispatcher.pools.parent.batching import pack_items
from worker_dispatcher.pools.protocol.frames import DROPPED, ENDED, REPORT, WORK, head_of
from worker_dispatcher.pools.worker.single import SingleWorker
from worker_dispatcher.script.main_module import FRESH


@pytest.mark.parametrize("ended", [0, 1, 3])
def test_what_has_ended_is_named_until_it_is_reported_though_nothing_may_begin_after_it(
    ended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slate, done, named = SharedStatus(1), list[int](), list[tuple[int, int]]()
    slate.clear()

    def work(item: int) -> None:
        done.append(item)
        slate.halt[0] = len(done) == ended

    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(theirs, blocking=True)
        worker = SingleWorker(channel, slate, Setup(Call(work, CallStyle(positional=True))))
        _, parts, fds = pack_items(list(range(5)), FRESH)
        send = Channel.send

        def noted(self: Channel, kind: int, *rest: object) -> None:
            named.append((kind, slate.running[0]))
            send(self, kind, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(Channel, "send", noted)
        monkeypatch.setattr(worker._early_reports, "begin", lambda *_: None)  # which starts a thread
        monkeypatch.setattr(worker._early_reports, "end", lambda: None)
        if not ended:
            monkeypatch.setattr(worker._calls, "of", lambda number: (worker._call, slate.halt.__setitem__(0, 1)))
        worker.take(Frame(WORK, [memoryview(part) for part in (head_of(11, Batch(1, range(5))), *parts)], fds))
        slate.close()
    assert len(done) == ended
    reported = [seq for kind, seq in named if kind in (ENDED, REPORT)]
    assert reported == [10 + ended] * bool(ended)
    assert [kind for kind, _ in named][-1] == DROPPED
