"""A task that writes to, reads from or closes descriptors that are not its own: bounded, and its own fault alone."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import struct
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import worker_dispatcher
from worker_dispatcher.osproc.starter import Process
from worker_dispatcher.osproc.system import exiting
from worker_dispatcher.pools.parent import limits, supervisor

COUNT, GUILTY = 12, 5
HEAD = struct.Struct("<IHHQ")
REPORT, DROPPED = 13, 14
FORGED = {
    "progress": b"50 %\n",
    "one byte": b"x",
    "as much as it takes": b"progress\n" * 5000,
    "a head that promises much": HEAD.pack(0x57440000 | REPORT, 0, 1, 1 << 40),
    "a head that promises descriptors": HEAD.pack(0x57440000 | REPORT, 8, 0, 0),
    "a head that promises too many": HEAD.pack(0x57440000 | REPORT, 9, 0, 0),
    "an empty report": HEAD.pack(0x57440000 | REPORT, 0, 0, 0),
    "a report that is none": HEAD.pack(0x57440000 | REPORT, 0, 1, 11) + struct.pack("<Q", 3) + b"abc",
    "half a word": HEAD.pack(0x57440000 | DROPPED, 0, 1, 11) + struct.pack("<Q", 3) + b"abc",
    "a word that nobody says": HEAD.pack(0x57440000 | 77, 0, 2, 16) + struct.pack("<QQ", 0, 0),
}
SHAPES: dict[str, dict[str, Any]] = {
    "processes": {"number": 2, "use_processing": True},
    "grid": {"number": 4, "parallel_processing": {"enabled": True, "processes": 2}},
}


def note(config: dict[str, Any]) -> None:
    with open(config["runs"], "ab") as runs:
        os.write(runs.fileno(), b"x")


def channel_of_this_worker() -> int:
    """Where it is not the first free descriptor: a fork keeps those of its parent."""
    frame = sys._current_frames()[threading.main_thread().ident or 0]
    while frame.f_back is not None and "channel" not in frame.f_locals:
        frame = frame.f_back
    return int(frame.f_locals["channel"].fileno())


def write(id: int, config: dict[str, Any]) -> int:
    if id == GUILTY:
        note(config)
        os.write(config["fd"] or channel_of_this_worker(), config["data"])
        time.sleep(config.get("then", 0))
    return id * 10


async def write_on_a_loop(id: int, config: dict[str, Any]) -> int:
    if id == GUILTY:
        note(config)
        os.write(config["fd"], config["data"])
    await asyncio.sleep(0.001)
    return id * 10


@pytest.fixture
def soon_noticed(monkeypatch):
    monkeypatch.setattr(limits, "_LISTEN_EVERY", 0.7)


@pytest.fixture
def guilty(run, others_are_ok, next_run_works, tmp_path, soon_noticed):
    """Run with one guilty task, for not too long; (its log, how often it ran)."""

    def go(function: Any, shape: dict[str, Any], config: dict[str, Any], **task: Any) -> tuple[dict[str, Any], int]:
        runs = tmp_path / "runs"
        ended = threading.Timer(60, os._exit, (99,))  # what is under test may hang for ever
        ended.start()
        try:
            run(function, COUNT, shape, config={"runs": str(runs), **config}, **task)
        finally:
            ended.cancel()
            ended.join()
        others_are_ok(COUNT, [GUILTY])
        log = worker_dispatcher.get_logs()[GUILTY - 1]
        next_run_works(shape)
        return log, runs.stat().st_size

    return go


@pytest.mark.each_value
@pytest.mark.parametrize("what", FORGED)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_task_writes_to_the_channel_is_its_own_fault(shape, what, guilty):
    log, runs = guilty(write, SHAPES[shape], {"fd": 3, "data": FORGED[what]})
    assert (log["status"], log["error"]["type"], log["attempts"]) == ("crashed", "WorkerDied", 1)
    assert "closed its connection to the parent process, or wrote to it" in log["error"]["message"]
    assert runs <= 2


@pytest.mark.each_value
@pytest.mark.parametrize("what", ["progress", "a head that promises much"])
@pytest.mark.parametrize("shape", SHAPES)
def test_coroutines_are_judged_as_functions_are(shape, what, guilty):
    log, runs = guilty(write_on_a_loop, SHAPES[shape], {"fd": 3, "data": FORGED[what]})
    assert log["status"] == "crashed"
    assert runs <= 2


@pytest.mark.each_value
@pytest.mark.parametrize("what", ["progress", "a head that promises much", "a report that is none"])
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_it_is_one_with_other_start_methods(method, what, guilty):
    log, runs = guilty(write, SHAPES["processes"] | {"start_method": method}, {"fd": None, "data": FORGED[what]})
    assert log["status"] == "crashed"
    assert runs <= 2


@pytest.mark.each_value
@pytest.mark.parametrize("what", ["progress", "a head that promises much"])
@pytest.mark.parametrize("shape", SHAPES)
def test_timeout_and_retries_count(shape, what, guilty):
    config = {"fd": 3, "data": FORGED[what], "then": 0.02}
    log, runs = guilty(write, SHAPES[shape], config, timeout=0.5, retries=1)
    assert log["status"] in ("crashed", "timeout")
    assert log["attempts"] == 2
    assert runs <= 2 * 2  # among others, then alone


@pytest.mark.parametrize("fd", [4, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_written_to_the_next_descriptors_does_no_harm_but_to_the_task(shape, fd, guilty):
    log, runs = guilty(write, SHAPES[shape], {"fd": fd, "data": b"progress\n" * 9})
    assert log["status"] in ("error", "ok")
    assert runs == 1


def cut_off(id: int, config: dict[str, Any]) -> int:
    if id == GUILTY:
        note(config)
        for fd in range(3, 40):
            try:
                os.ftruncate(fd, 0)
            except OSError:
                continue
    return id * 10


@pytest.mark.parametrize("shape", SHAPES)
def test_a_task_that_cuts_off_what_is_not_its_own_does_not_end_the_parent(shape, guilty):
    log, runs = guilty(cut_off, SHAPES[shape], {})
    assert (log["status"], runs) == ("ok", 1)


def steal(id: int, config: dict[str, Any]) -> int:
    """The first of these that finds something there takes it: tasks are sent while others run."""
    stolen, there = Path(config["stolen"]), select.poll()
    there.register(3, select.POLLIN)
    if stolen.exists() or not there.poll(15):
        return id * 10
    os.set_blocking(3, False)
    try:
        stolen.write_bytes(os.read(3, config["bytes"]))
    finally:
        os.set_blocking(3, True)
    return id * 10


@pytest.mark.parametrize("size", [5, 100_000])
def test_a_task_that_reads_what_is_for_its_worker_keeps_nobody_waiting(
    size, run, others_are_ok, next_run_works, soon_noticed, tmp_path
):
    stolen, shape = tmp_path / "stolen", SHAPES["processes"] | {"number": 1}
    run(steal, 100, shape, config={"stolen": str(stolen), "bytes": size})
    assert stolen.read_bytes()
    others_are_ok(100)
    next_run_works(shape)


def exit_with(id: int, config: dict[str, Any]) -> int:
    if id == GUILTY:
        note(config)
        os._exit(config["code"])
    return id * 10


@pytest.mark.each_value
@pytest.mark.parametrize("code", [1, 70, 74])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_exit_code_of_a_task_is_taken_for_a_lost_channel(shape, code, guilty):
    log, runs = guilty(exit_with, SHAPES[shape] | {"number": 2}, {"code": code})
    assert f"exited with code {code}" in log["error"]["message"]
    assert runs == 1


def test_a_worker_that_is_stopped_between_two_tasks_is_not_waited_for_without_a_timeout(
    run, others_are_ok, soon_noticed, tmp_path
):
    def tasks():
        yield "stops its worker when it has ended"
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not (tmp_path / "done").exists():
            time.sleep(0.005)
        yield from range(COUNT - 1)

    run(_stops_later, tasks(), SHAPES["processes"] | {"number": 1}, config=str(tmp_path / "done"))
    others_are_ok(COUNT)


def _stops_later(id: int, config: str) -> int:
    if id == 1:
        main = threading.main_thread().ident

        def stop() -> None:
            import signal
            import sys

            while sys._current_frames()[main].f_code.co_name != "_read":
                time.sleep(0.001)
            time.sleep(0.02)
            Path(config).touch()
            os.kill(os.getpid(), signal.SIGSTOP)

        threading.Thread(target=stop, daemon=True).start()
    return id * 10


def end_at_once(id: int, config: dict[str, Any]) -> int:
    if id == GUILTY:
        note(config)
        os.kill(os.getpid(), signal.SIGKILL)
    return id * 10


@pytest.mark.parametrize("method", [None, "spawn", "fork"])
def test_a_worker_whose_end_takes_a_while_is_dead_and_not_cut_off(method, guilty, monkeypatch):
    """Its channel is closed before its end can be seen; on a busy machine long before."""
    monkeypatch.setattr(supervisor, "_SEVERED_GRACE", 0.0)
    looks: Counter[Process] = Counter()
    ended = Process.ended.fget

    def not_at_the_first_looks(self: Process) -> bool:
        looks[self] += ended(self)
        return looks[self] > 5

    monkeypatch.setattr(Process, "ended", property(not_at_the_first_looks))
    log, runs = guilty(end_at_once, SHAPES["processes"] | {"start_method": method}, {})
    assert (log["status"], runs) == ("crashed", 1)
    assert "signal 9" in log["error"]["message"]


def test_a_process_is_exiting_from_its_end_on_also_when_nobody_has_asked_for_it() -> None:
    assert not exiting(os.getpid())
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert exiting(pid)
    os.waitpid(pid, 0)
    assert exiting(pid)
