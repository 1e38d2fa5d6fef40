"""A program that has set SIGPIPE to its default lives on when a worker, or the fork server, does not."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest

from worker_dispatcher.osproc.channel import Channel, Gone

CODE = """
import os, signal, sys, time
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
import worker_dispatcher
SHAPES = {{
    "processes": {{"number": 2, "use_processing": True}},
    "grid": {{"number": 4, "parallel_processing": {{"enabled": True, "processes": 2}}}},
}}
worker = SHAPES[{shape!r}] | {{"start_method": {method!r}}}
def work(id):
    if {everywhere!r}:
        import ctypes
        ctypes.CDLL(None).signal(int(signal.SIGPIPE), None)  # from any thread
    if id == 5:
        {deed}
        time.sleep(0.05)
    return id
worker_dispatcher.start({{"task": {{"list": 4, "function": work}}, "worker": worker, "verbose": False}})
task = {{"list": 300, "function": work}}
worker_dispatcher.start({{"task": task, "worker": worker, "verbose": False}})
statuses = [log["status"] for log in worker_dispatcher.get_logs()]
print(statuses.count("ok") in (299, 300), statuses[4])
"""
DEEDS = {
    "kill": "os.kill(os.getpid(), signal.SIGKILL)",
    "close": "os.closerange(3, 4096)",
    "kill the parent": "os.kill(os.getppid(), signal.SIGKILL)",
}


def ended(shape: str, method: str, deed: str, everywhere: bool = False) -> tuple[int, str, str]:
    code = CODE.format(shape=shape, method=method, deed=DEEDS[deed], everywhere=everywhere)
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, timeout=60, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("deed", ["kill", "close"])
@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
@pytest.mark.parametrize("shape", ["processes", "grid"])
def test_a_worker_that_dies_does_not_end_a_program_whose_sigpipe_is_at_its_default(shape, method, deed):
    assert ended(shape, method, deed)[:2] == (0, "True crashed\n")


@pytest.mark.parametrize("shape", ["processes", "grid"])
def test_a_fork_server_that_dies_does_not_end_it_either(shape):
    code, said, _ = ended(shape, "forkserver", "kill the parent")
    assert (code, said.split()[0]) == (0, "True")


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
@pytest.mark.parametrize("shape", ["processes", "grid"])
def test_a_worker_that_has_set_it_to_its_default_is_judged_as_any_other(shape, method):
    assert ended(shape, method, "close", everywhere=True)[:2] == (0, "True crashed\n")


@pytest.mark.parametrize("size", [1, 1_000_000])
@pytest.mark.parametrize("with_file", [False, True], ids=["bytes", "a file"])
@pytest.mark.parametrize("blocking", [False, True])
def test_writing_to_who_is_gone_raises_no_signal(blocking, with_file, size):
    ours, theirs = socket.socketpair()
    theirs.close()
    channel = Channel(ours, blocking=blocking)
    before = signal.signal(signal.SIGPIPE, _fail)
    try:
        with pytest.raises(Gone):
            channel.send(1, [b"x" * size], [0] if with_file else [])
    finally:
        signal.signal(signal.SIGPIPE, before)
        channel.close()


def _fail(number: int, frame: object) -> None:
    raise AssertionError("SIGPIPE")
