"""A task that puts something else in the place of what its worker speaks through or waits on, or makes it deaf."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from worker_dispatcher import get_logs
from worker_dispatcher.osproc.channel import Channel

COUNT, GUILTY = 12, 5
SHAPES: dict[str, dict[str, Any]] = {
    "processes": {"number": 2, "use_processing": True},
    "grid": {"number": 4, "parallel_processing": {"enabled": True, "processes": 2}},
}
KINDS = {"channel": "socket:", "signal": "anon_inode:[eventfd]", "loop": "anon_inode:[eventpoll]"}
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
    """Count this run, then do a deed to the first descriptor of a kind."""
    kind, deed, runs = config
    with open(runs, "ab") as file:
        os.write(file.fileno(), b"x")
    found = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in map(int, os.listdir("/proc/self/fd")) if is_open(fd)}
    DEEDS[deed](min(fd for fd, name in found.items() if name.startswith(KINDS[kind])))


def is_open(fd: int) -> bool:
    return fd > 2 and os.path.lexists(f"/proc/self/fd/{fd}")


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

    def go(work: Any, shape: str, kind: str, deed: str, **task: Any) -> tuple[str, int]:
        runs = tmp_path / "runs"
        ended = threading.Timer(60, os._exit, (99,))  # what is under test may go on for ever
        ended.start()
        try:
            run(work, COUNT, SHAPES[shape], config=(kind, deed, str(runs)), **task)
        finally:
            ended.cancel()
            ended.join()
        others_are_ok(COUNT, [GUILTY])
        log = get_logs()[GUILTY - 1]
        next_run_works(SHAPES[shape])
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
    assert guilty(work, shape, "channel", deed, **task)[1] <= 3


@pytest.mark.parametrize("deed", ["is closed", "is /dev/null", "is a pipe", "is another socket"])
def test_a_grid_whose_signal_a_task_has_spoilt_runs_nothing_for_ever(deed, guilty):
    assert guilty(function, "grid", "signal", deed)[1] <= 3


@pytest.mark.parametrize("deed", ["is closed", "is /dev/null"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_loop_that_a_task_has_spoilt_costs_no_other_coroutine(shape, deed, guilty, capfd):
    assert guilty(coroutine, shape, "loop", deed)[1] <= 3
    assert "Traceback" not in capfd.readouterr().err


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
