"""A task that puts something else in the place of what its worker speaks through or waits on, or makes it deaf."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from descriptors import descriptors_of

from worker_dispatcher import get_logs
from worker_dispatcher.osproc.channel import Channel

COUNT, GUILTY = 12, 5
SHAPES: dict[str, dict[str, Any]] = {
    "processes": {"number": 2, "use_processing": True},
    "grid": {"number": 4, "parallel_processing": {"enabled": True, "processes": 2}},
}
METHODS = [None, "spawn", "fork"]
_kept: list[Any] = []


def shut_down(fd: int, how: int) -> None:
    with socket.socket(fileno=os.dup(fd)) as ours:
        ours.shutdown(how)


def put(fd: int, other: int) -> None:
    os.dup2(other, fd)
    os.close(other)


def put_pipe(fd: int) -> None:
    read, write = os.pipe()
    put(fd, write)
    _kept.append(read)


def put_socket(fd: int) -> None:
    one, two = socket.socketpair()
    put(fd, one.detach())
    _kept.append(two)


DEEDS = {
    "is closed": os.close,
    "is /dev/null": lambda fd: put(fd, os.open(os.devnull, os.O_RDWR)),
    "is a pipe": put_pipe,
    "is another socket": put_socket,
    "hears nothing": lambda fd: shut_down(fd, socket.SHUT_RD),
    "says nothing": lambda fd: shut_down(fd, socket.SHUT_WR),
}


def spoil(config: tuple[str, str, str]) -> None:
    """Count this run, then do a deed to the descriptors of a kind."""
    kind, deed, runs = config
    with open(runs, "ab") as file:
        os.write(file.fileno(), b"x")
    for fd in descriptors_of(kind):
        DEEDS[deed](fd)


def function(id: int, config: tuple[str, str, str]) -> int:
    if id == GUILTY:
        spoil(config)
    return id * 10


async def coroutine(id: int, config: tuple[str, str, str]) -> int:
    if id == GUILTY:
        spoil(config)
    await asyncio.sleep(0.001)
    return id * 10


@pytest.fixture
def guilty(run, others_are_ok, next_run_works, tmp_path):
    """Run with one guilty task, for not too long: how it ended, and how often it ran."""

    def go(work: Any, shape: str, method: str | None, kind: str, deed: str, **task: Any) -> tuple[str, int]:
        runs, worker = tmp_path / "runs", SHAPES[shape] | {"start_method": method}
        ended = threading.Timer(60, os._exit, (99,))  # what is under test may go on for ever
        ended.start()
        try:
            run(work, COUNT, worker, config=(kind, deed, str(runs)), **task)
        finally:
            ended.cancel()
            ended.join()
        others_are_ok(COUNT, [GUILTY])
        log = get_logs()[GUILTY - 1]
        next_run_works(worker)
        assert log["status"] in ("ok", "crashed", "timeout")
        if log["status"] == "crashed":
            assert "closed its connection to the parent process, or wrote to it" in log["error"]["message"]
        return log["status"], runs.stat().st_size

    return go


@pytest.mark.parametrize("task", [{}, {"timeout": 5}], ids=["without timeout", "timeout"])
@pytest.mark.parametrize("work", [function, coroutine], ids=["function", "coroutine"])
@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_channel_that_a_task_has_spoilt_is_its_own_fault(shape, deed, work, task, guilty):
    assert guilty(work, shape, None, "channel", deed, **task)[1] <= 3


@pytest.mark.each_value
@pytest.mark.parametrize(("shape", "work"), [("processes", function), ("grid", coroutine)])
@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("method", METHODS[1:])
def test_it_is_one_with_other_start_methods(shape, method, deed, work, guilty):
    assert guilty(work, shape, method, "channel", deed)[1] <= 3


@pytest.mark.parametrize(
    ("method", "deed"),
    [
        *((None, deed) for deed in ("is closed", "is /dev/null", "is a pipe", "is another socket")),
        *((method, "is closed") for method in METHODS[1:]),
    ],
)
def test_a_grid_whose_signal_a_task_has_spoilt_runs_nothing_for_ever(method, deed, guilty):
    assert guilty(function, "grid", method, "signal", deed)[1] <= 3


@pytest.mark.each_value
@pytest.mark.parametrize(("method", "deed"), [*((method, "is closed") for method in METHODS), (None, "is /dev/null")])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_loop_that_a_task_has_spoilt_costs_no_other_coroutine(shape, method, deed, guilty, capfd):
    assert guilty(coroutine, shape, method, "loop", deed)[1] <= 3
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.each_value
@pytest.mark.parametrize(
    ("shape", "method", "deed"),
    [
        *((shape, None, deed) for shape in SHAPES for deed in DEEDS),
        *(("grid", method, deed) for method in METHODS[1:] for deed in ("is closed", "is another socket")),
    ],
)
def test_a_loop_that_nobody_can_wake_any_more_is_noticed_soon(shape, method, deed, guilty):
    before = time.monotonic()
    assert guilty(coroutine, shape, method, "wakers", deed)[1] <= 3
    assert time.monotonic() - before < 15


async def coroutine_with_a_thread(id: int, config: tuple[str, str, str]) -> int:
    await asyncio.to_thread(time.sleep, 0.001)  # which wakes the loop when it has ended
    return await coroutine(id, config)


@pytest.mark.parametrize("deed", ["is closed", "is /dev/null"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_loop_that_nobody_can_wake_any_more_keeps_no_later_coroutine_waiting(shape, deed, guilty):
    assert guilty(coroutine_with_a_thread, shape, None, "wakers", deed)[1] <= 3


def test_coroutines_in_this_process_whose_loop_has_lost_its_descriptors_end_with_a_cause():
    code = """
import asyncio, os
import worker_dispatcher
async def work(id):
    if id == 5:
        for fd in map(int, os.listdir("/proc/self/fd")):
            if os.path.lexists(f"/proc/self/fd/{fd}") and "eventpoll" in os.readlink(f"/proc/self/fd/{fd}"):
                os.close(fd)
    await asyncio.sleep(0.001)
try:
    worker_dispatcher.start({"task": {"list": 12, "function": work}, "worker": {"number": 2}, "verbose": False})
except worker_dispatcher.RunError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, timeout=30, text=True)
    assert done.stdout.startswith("the event loop of the coroutines cannot go on ([Errno 9]")
    assert "Exception in thread" not in done.stderr


@pytest.mark.parametrize("then", ["pass", "await asyncio.to_thread(time.sleep, 0.001)"])
def test_coroutines_in_this_process_whose_loop_nobody_can_wake_any_more_end_with_a_cause(then):
    code = f"""
import asyncio, os, time
import worker_dispatcher
async def work(id):
    if id == 5:
        loop = asyncio.get_running_loop()
        for sock in (loop._ssock, loop._csock):
            os.close(sock.fileno())
        others = [open(os.devnull) for _ in range(2)]  # which take the numbers, and nobody closes
        kept.extend(others)
        {then}
kept = []
def tasks():
    for task in range(12):
        yield task
        while task == 4 and not kept:
            time.sleep(0.01)
        time.sleep(0.05)
try:
    task = {{"list": tasks(), "function": work}}
    worker_dispatcher.start({{"task": task, "worker": {{"number": 2}}, "verbose": False}})
except worker_dispatcher.RunError as error:
    print(error)
    [os.fstat(one.fileno()) for one in kept]
"""
    command = [sys.executable, "-X", "dev", "-c", code]
    done = subprocess.run(command, check=False, capture_output=True, timeout=30, text=True)
    assert done.stdout.startswith("the event loop of the coroutines cannot go on ([Errno 9]")
    assert "Error" not in done.stderr
    assert done.returncode == 0


def test_a_channel_that_waits_does_so_although_a_task_has_made_its_descriptor_one_that_does_not_block():
    ours, theirs = socket.socketpair()
    parent, worker = Channel(ours, blocking=False), Channel(theirs, blocking=True)
    os.set_blocking(worker.fileno(), False)
    later = threading.Timer(0.2, parent.send, (7,))
    later.start()
    assert [frame.kind for frame in worker.receive()] == [7]
    later.join()
    parent.close()
    worker.close()
