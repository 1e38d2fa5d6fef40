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
task = {{"list": 100, "function": work}}
worker_dispatcher.start({{"task": task, "worker": worker, "verbose": False}})
statuses = [log["status"] for log in worker_dispatcher.get_logs()]
print(statuses.count("ok") in (99, 100), statuses[4])
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
    assert (code, said[:4]) == (0, "True")


STAGED = """
import os, select, signal, sys, time
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
import worker_dispatcher

class Tasks:
    # Drawn from by who is about to give what is drawn to a worker, which has ended by then.
    killed = False
    def __len__(self):
        return 300
    def __iter__(self):
        for task in range(300):
            if not Tasks.killed and os.path.exists("pid"):
                Tasks.killed = True
                pid = int(open("pid").read())
                watch = os.pidfd_open(pid)
                os.kill(pid, signal.SIGKILL)
                poll = select.poll()
                poll.register(watch, select.POLLIN)
                poll.poll()
            yield task

def work(task):
    if not os.path.exists("pid"):
        with open("new", "w") as file:
            file.write(str(os.getpid()))
        os.rename("new", "pid")
    time.sleep(0.001)
    return task
shape = {{"processes": {{"use_processing": True}}, "grid": {{"parallel_processing": {{"enabled": True}}}}}}[{shape!r}]
worker = shape | {{"number": 1, "start_method": {method!r}}}
results = worker_dispatcher.start({{"task": {{"list": Tasks(), "function": work}}, "worker": worker, "verbose": False}})
print(Tasks.killed, sum(one == at for at, one in enumerate(results)) >= 299)
"""


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
@pytest.mark.parametrize("shape", ["processes", "grid"])
def test_to_give_a_task_to_a_worker_that_has_died_does_not_end_it(shape, method, tmp_path):
    command = [sys.executable, "-c", STAGED.format(shape=shape, method=method)]
    done = subprocess.run(command, check=False, capture_output=True, timeout=60, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "True True\n"), done.stderr


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
