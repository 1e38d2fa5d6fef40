"""A pool hears of the workers that it has asked for, and of no others."""

from __future__ import annotations

import os
import socket
import time

from worker_dispatcher.osproc.shared_status import SharedStatus
from worker_dispatcher.osproc.starter import Process, ServerStarter
from worker_dispatcher.osproc.system import readable
from worker_dispatcher.pools import WORKER_ENTRY

ROUNDS = 60


def ask(starter: ServerStarter) -> tuple[Process, socket.socket]:
    """A worker that is asked for, and our end of its channel."""
    ours, theirs = socket.socketpair()
    slate = SharedStatus.shared(1)
    with theirs:
        process = starter.start(theirs, slate.fd, ours.fileno())
    slate.close()
    return process, ours


def hear(starter: ServerStarter) -> None:
    assert readable(starter.fileno(), 10)
    starter.pump()


def test_the_end_of_a_worker_is_not_told_to_the_pool_that_has_the_connection_next():
    """A pool that leaves before its worker is there has it killed; until that is reaped the next pool comes."""
    for nth in range(ROUNDS):
        gone = ServerStarter(WORKER_ENTRY, False, {}, ())
        ask(gone)[1].close()
        gone.close()
        time.sleep(nth % 12 * 0.0005)

        starter = ServerStarter(WORKER_ENTRY, False, {}, ())
        process, channel = ask(starter)
        try:
            while process.pid is None and not process.over:
                hear(starter)
            assert process.pid is not None, f"round {nth}: told of an end, {process.status}, before the start"
            process.kill()
            while not process.over:
                hear(starter)
            assert os.WIFSIGNALED(process.status or 0)
        finally:
            process.close()
            channel.close()
            starter.close()
