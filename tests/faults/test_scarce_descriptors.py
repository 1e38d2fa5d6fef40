"""Arrays by the thousand where descriptors are few, or few may be on their way: none is lost."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from worker_dispatcher.osproc import forkserver
from worker_dispatcher.osproc.channel import Channel, Crowded

# A superuser may have any number of descriptors on their way, an ordinary user as many as may be open: the tests are
# of the latter, so what makes the difference is given up, for all that is started from here.
ORDINARY = """
import ctypes, os, sys
for capability in (21, 24):  # SYS_ADMIN, SYS_RESOURCE
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
"""
CODE = """
import os, resource, signal, sys, time
import numpy as np
import worker_dispatcher
limit, count, size = map(int, sys.argv[2:5])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
SHAPES = {
    "processes": {"number": 3, "use_processing": True},
    "grid": {"number": 4, "parallel_processing": {"enabled": True, "processes": 2}},
    "spawn": {"number": 3, "use_processing": True, "start_method": "spawn"},
    "fork": {"number": 3, "use_processing": True, "start_method": "fork"},
    "many processes": {"number": 40, "use_processing": True},
}
PARENT = os.getpid()
def work(id, task, config):
    if config and id == 5:
        os.kill(config, signal.SIGSTOP)
        time.sleep(0.7)
        os.kill(config, signal.SIGCONT)
    return np.full(size, id, np.uint8)
def config(items, stops=None):
    task = {"list": items, "function": work, "config": stops}
    return {"task": task, "worker": SHAPES[sys.argv[1]], "verbose": False}
def check(results, count):
    assert len(results) == count
    for nth, one in enumerate(results, 1):
        assert one is not None and len(one) == size and one[0] == one[-1] == nth, (nth, one)
"""
KINDS = {
    "kept": "check(worker_dispatcher.start(config(count)), count)",
    "twice": "for _ in range(2): kept = worker_dispatcher.start(config(count)); check(kept, count)",
    "stopped for a while": "check(worker_dispatcher.start(config(count, PARENT)), count)",
    "not kept": """
found = {}
for log in worker_dispatcher.launch(config(count), keep_records=False):
    found[log["task_id"]] = log["result"]
check([found[id] for id in sorted(found)], count)
""",
    "sent": "check(worker_dispatcher.start(config([np.zeros(size, np.uint8) for _ in range(count)])), count)",
}


def run_as_ordinary(kind: str, shape: str, limit: int, count: int, size: int) -> None:
    code = CODE + KINDS[kind] + "\nprint('done')"
    command = [sys.executable, "-c", ORDINARY, code, shape, str(limit), str(count), str(size)]
    done = subprocess.run(command, check=False, capture_output=True, timeout=100, text=True)
    assert done.stdout == "done\n", done.stderr[-3000:]


@pytest.mark.parametrize("kind", ["kept", "not kept", "sent"])
@pytest.mark.parametrize("shape", ["processes", "grid"])
def test_more_arrays_are_alive_than_descriptors_may_be(shape, kind):
    run_as_ordinary(kind, shape, 128, 250, 80_000)


@pytest.mark.each_value
@pytest.mark.parametrize("shape", ["processes", "grid", "spawn", "fork"])
@pytest.mark.parametrize("limit", [16, 20, 40, 64])
def test_at_a_low_limit_arrays_arrive_too(limit, shape):
    run_as_ordinary("twice", shape, limit, 120, 80_000)


def test_workers_leave_descriptors_for_what_they_send():
    run_as_ordinary("twice", "many processes", 60, 100, 80_000)


@pytest.mark.parametrize("limit", [64, 1024])
@pytest.mark.parametrize("shape", ["processes", "grid"])
def test_a_parent_that_is_stopped_for_a_while_loses_nothing_of_what_is_sent_meanwhile(shape, limit):
    run_as_ordinary("stopped for a while", shape, limit, 250, 66_000)


CROWD = """
import array, os, socket, sys, time
ends = socket.socketpair()
for _ in range(8):
    ends[0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 100))])
print("there", flush=True)
time.sleep(float(sys.argv[1]))
"""


@pytest.fixture
def crowd() -> Iterator[Callable[[float], None]]:
    """crowd(seconds): another program of this user has many descriptors on their way for so long."""
    with ExitStack() as programs:

        def start(seconds: float) -> None:
            command = [sys.executable, "-c", CROWD, str(seconds)]
            program = programs.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            programs.callback(program.kill)
            assert program.stdout is not None
            assert program.stdout.readline() == b"there\n"

        yield start


@pytest.mark.parametrize("shape", ["processes", "grid"])
def test_what_other_programs_have_on_its_way_is_waited_for(crowd, shape):
    crowd(2)
    run_as_ordinary("twice", shape, 64, 20, 80_000)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="for Linux")
def test_an_array_and_a_large_pickle_together_are_sent_where_no_descriptor_may_be():
    code = """
import errno, socket, sys
import numpy as np
import worker_dispatcher
class Refusing(socket.socket):
    def sendmsg(self, data, rights=(), *more):
        if rights and len(data[0]) and data[0][0] % 16 in (2, 13 % 16):  # WORK and REPORT
            raise OSError(errno.ETOOMANYREFS, "Too many references")
        return super().sendmsg(data, rights, *more)
socket.socket = Refusing
def work(task):
    return {"again": task, "array": np.arange(20_000) + 1}
item = {"large": b"x" * 300_000, "array": np.arange(30_000)}
worker = {"number": 2, "use_processing": True, "start_method": "fork"}
results = worker_dispatcher.start({"task": {"list": [item] * 6, "function": work}, "worker": worker, "verbose": False})
for one in results:
    assert one["again"]["large"] == item["large"]
    assert (one["again"]["array"] == item["array"]).all() and one["array"][0] == 1
assert [log["attempts"] for log in worker_dispatcher.get_logs()] == [1] * 6
print("done")
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, timeout=60, text=True)
    assert done.stdout == "done\n", done.stderr


def test_a_worker_that_could_not_be_asked_for_is_not_waited_for(run, monkeypatch):
    asked, send = [], Channel.send

    def crowded(self, kind, parts=(), fds=()):
        if len(fds) == 4:  # what a worker is to find open
            asked.append(kind)
            if len(asked) == 2:
                raise Crowded(errno.ETOOMANYREFS, os.strerror(errno.ETOOMANYREFS))
        send(self, kind, parts, fds)

    monkeypatch.setattr(Channel, "send", crowded)
    monkeypatch.setattr(forkserver, "FIRST_WORD", 0.5)
    assert run(lambda id: time.sleep(1) or id, 2, {"number": 2, "use_processing": True}) == [1, 2]
    assert len(asked) in (2, 3)  # and again after a second, if there is still something to do
