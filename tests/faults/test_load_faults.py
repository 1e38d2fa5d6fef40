"""Faults under load by the clock, and loads that are odd themselves: exact counts, no early start, no hang."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deeds
import psutil
import pytest

import worker_dispatcher
from worker_dispatcher.osproc.starter import ServerStarter

SHAPES: dict[str, dict[str, Any]] = {
    "threads": {},
    "processes": {"use_processing": True},
    "grid": {"parallel_processing": {"enabled": True, "processes": 2}},
}
PROCESSES = ["processes", "grid"]
RUNTIME = 60  # seconds: a run that would hang ends as one that was stopped, and not one on a machine that is slow


def load(function: Any, tasks: Any, shape: str = "threads", runtime: float = RUNTIME, **options: Any) -> Any:
    """Run a load; what get_result_info() says. Options of the section `task` are told by their names."""
    task = {name: options.pop(name) for name in ("timeout", "retries", "backoff", "config") if name in options}
    worker = {**SHAPES[shape], "frequency_mode": {"enabled": True, **options}}
    if "number" in options:
        worker["number"] = worker["frequency_mode"].pop("number")
    config = {"task": {"list": tasks, "function": function, **task}, "worker": worker, "runtime": runtime}
    worker_dispatcher.start({**config, "verbose": False})
    return worker_dispatcher.get_result_info()


def outcomes(count: int) -> dict[int, str]:
    """How each task ended that did not end ok. Each has one outcome, and none started before it was due."""
    logs, info = worker_dispatcher.get_logs(), worker_dispatcher.get_result_info()
    ids = [log["task_id"] for log in logs]
    assert sorted(ids + info["not_run"] + info["dropped"]) == list(range(1, count + 1))
    assert sum(info["counts"].values()) == count
    assert all(log["queue_delay"] >= 0 and log["response_time"] >= 0 for log in logs)
    return {log["task_id"]: log["status"] for log in logs if log["status"] != "ok"}


def short(id: int) -> int:
    return id


async def short_coroutine(id: int) -> int:
    return id


# Schedules


@pytest.mark.parametrize(
    ("tasks", "options"),
    [
        (10, {"number": 10**8, "interval": 0.1}),
        (10, {"number": 1, "interval": 0.1, "accumulated_workers": 1e9}),
        (10, {"number": 1, "interval": 1e-6, "max_workers": 4}),
        (2000, {"number": 1, "interval": 1e-9, "max_workers": 4}),
        (2000, {"number": 1, "interval": 1e-5, "max_workers": 1}),
        (10, {"rate": 1000, "interval": 1e6, "pacing": "even"}),
        (10, {"rate": 1000, "interval": 1e6, "pacing": "random"}),
        (10, {"rate": 1000, "interval": 1e6, "pacing": "poisson"}),
        (10, {"stages": [(0.1, 100), {"duration": 1e8, "rate": 0, "step": True}, (1, 5)]}),
        (3, {"pacing": [0, 0.1, 0.1], "interval": 5e-324}),
        (20_000, {"pacing": [0.0] * 20_000, "max_workers": 8}),
    ],
)
def test_a_schedule_is_worked_out_no_further_than_there_are_tasks(tasks: int, options: dict[str, Any]) -> None:
    began = time.process_time()
    info = load(short, range(tasks), runtime=5 if "stages" not in options else 0.5, **options)
    assert info["counts"]["ok"] == (5 if "stages" in options else tasks)
    assert time.process_time() - began < 4


@pytest.mark.parametrize("shape", ["threads", "processes"])
@pytest.mark.parametrize(
    "options",
    [
        {"stages": [{"duration": 1e8, "rate": 0, "step": True}, (1, 5)]},
        {"rate": 1e-300},
        {"rate": 1e-3, "interval": 1e-6},
        {"pacing": [0, 3e6], "interval": 1e-9},
    ],
)
def test_a_far_due_time_is_waited_for_with_an_ear_for_the_end(shape: str, options: dict[str, Any]) -> None:
    began = time.monotonic()
    info = load(short, range(3), shape, runtime=0.3, **options)
    assert not outcomes(0 if "stages" in options else 3)  # stages begin the list again: what is not drawn is no task
    assert info["counts"]["ok"] <= 1
    assert time.monotonic() - began < 0.3 + 3


def test_the_last_moment_of_a_long_run_is_no_wait_too_long(process_shape: dict[str, Any]) -> None:
    config = {"task": {"list": [1], "function": short}, "worker": process_shape, "runtime": 9e8, "verbose": False}
    assert worker_dispatcher.start(config) == [1]


def test_whoever_waits_to_drop_does_not_spin() -> None:
    def fails_first(id: int) -> None:
        if id > 1:
            time.sleep(0.7)
        raise ValueError

    began = time.process_time()
    backoff = {"initial": 0.1, "jitter": 0}
    options = {"max_workers": 1, "on_saturation": "drop", "retries": 1, "backoff": backoff}
    info = load(fails_first, 4, pacing=[0, 0.05, 0.5, 0.5], **options)
    assert info["dropped"] == [3, 4]
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_bursts_on_few_workers_are_counted_exactly(shape: str) -> None:
    info = load(
        lambda task: time.sleep(0.002), 600, shape, number=100, interval=0.05, max_workers=2, on_saturation="drop"
    )
    assert not outcomes(600)
    assert info["counts"]["dropped"] > 100
    assert [one["task_id"] for one in worker_dispatcher.get_dropped()] == info["dropped"]


def test_due_times_never_go_back_and_the_interval_is_right_in_a_large_burst() -> None:
    load(short, 9000, number=6000, interval=0.2, max_workers=20)
    logs = worker_dispatcher.get_logs()
    assert [log["interval"] for log in logs] == [0] * 6000 + [1] * 3000
    assert logs[6000]["scheduled_at"] - logs[5999]["scheduled_at"] == pytest.approx(0.2, abs=1e-5)
    assert not outcomes(9000)


# Deeds of tasks

GUILTY = {20, 40}
COUNT = 60


def fork_and_return() -> None:
    if os.fork() == 0:
        return


FAULTS: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "kill": (deeds.DEEDS["kill"], {"crashed"}),
    "close all descriptors": (deeds.DEEDS["close all descriptors"], {"crashed"}),
    "stop": (deeds.DEEDS["stop"], {"timeout"}),
    "fork and return": (fork_and_return, {"ok"}),
}


def guilty(id: int, config: str) -> int:
    if id in GUILTY:
        FAULTS[config][0]()
    else:
        time.sleep(0.004)
    return id


async def guilty_coroutine(id: int, config: str) -> int:
    if id in GUILTY:
        FAULTS[config][0]()
    else:
        await asyncio.sleep(0.004)
    return id


@pytest.mark.parametrize(
    ("shape", "fault", "function"),
    [
        ("processes", "kill", guilty),
        ("processes", "stop", guilty_coroutine),
        ("grid", "close all descriptors", guilty),
        ("grid", "kill", guilty_coroutine),
        ("grid", "fork and return", guilty_coroutine),
    ],
)
def test_a_task_hurts_only_itself_under_load(shape: str, fault: str, function: Any) -> None:
    load(function, COUNT, shape, rate=400, max_workers=12, timeout=0.3, config=fault)
    expected = FAULTS[fault][1]
    assert outcomes(COUNT) == ({} if expected == {"ok"} else dict.fromkeys(GUILTY, *expected))
    wrong = [log["task_id"] for log in worker_dispatcher.get_logs() if log["result"] != log["task_id"]]
    assert set(wrong) <= GUILTY


@pytest.mark.parametrize("shape", ["threads", "grid"])
def test_coroutines_that_run_with_one_that_blocks_are_not_blamed(shape: str) -> None:
    # They began before it, so that their time is over before its own is.
    load(beside, 12, shape, rate=400, max_workers=12, timeout=1, config=8)
    assert outcomes(12) == {8: "timeout"}


async def beside(id: int, config: int) -> int:
    if id == config:
        await asyncio.sleep(0.02)
        time.sleep(3)  # in a thread it cannot be ended, and shall not outlive the test for long
    await asyncio.sleep(0.1)
    return id


@pytest.mark.parametrize("shape", ["threads", "grid"])
def test_a_coroutine_that_does_not_let_go_is_ended_on_a_busy_loop(shape: str) -> None:
    began = time.monotonic()
    load(clings, 120, shape, rate=150, max_workers=12, timeout=0.3)
    assert outcomes(120) == {20: "timeout"}
    assert time.monotonic() - began < 20


async def clings(id: int) -> int:
    if id == 20:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(30)  # lets go when it is told again, so that nothing is left of it in a thread
    until = time.monotonic() + 0.004
    while time.monotonic() < until:  # so that another one runs whenever somebody looks
        pass
    return id


@pytest.mark.parametrize("shape", PROCESSES)
def test_what_cannot_be_sent_or_loaded_fails_at_its_time_and_alone(shape: str) -> None:
    items: list[Any] = list(range(60))
    items[10] = threading.Lock()
    items[20] = deeds.TrapOnLoading("exit 3")
    items[30] = deeds.TrapOnLoading("Exception")
    load(short, items, shape, rate=300, max_workers=6)
    assert outcomes(60) == {11: "error", 21: "crashed", 31: "error"}


@pytest.mark.parametrize(
    ("shape", "victim", "saturation"),
    [("processes", "workers", "queue"), ("grid", "workers", "drop"), ("grid", "the fork server", "queue")],
)
def test_workers_killed_in_the_middle_of_a_load(tmp_path: Path, shape: str, victim: str, saturation: str) -> None:
    over = threading.Event()
    killed = []

    def kill() -> None:
        while len(killed) < 3 and not over.wait(0.1):
            # Workers that have run a task: of those that end before they are ready, a run does not stand many.
            found = [pid for pid in map(int, os.listdir(tmp_path)) if pid not in killed and psutil.pid_exists(pid)]
            servers = [one.pid for one in psutil.Process().children()]
            if found and (victim == "workers" or servers):
                killed.append(random.choice(found if victim == "workers" else servers))
                os.kill(killed[-1], signal.SIGKILL)
                for name in os.listdir(tmp_path) if victim == "the fork server" else ():
                    (tmp_path / name).unlink(missing_ok=True)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        load(leaves_a_note, 200, shape, rate=300, max_workers=8, on_saturation=saturation, config=str(tmp_path))
    finally:
        over.set()
        killer.join()
    failed = outcomes(200)
    load(short, 2, shape, rate=100)  # and a fork server that was killed at the very end is reaped
    assert killed
    assert set(failed.values()) <= {"crashed"}
    assert len(failed) <= (len(killed) if shape == "processes" else 4 * len(killed))
    assert victim == "workers" or not failed


def test_a_worker_wanted_of_a_fork_server_that_has_just_died_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    start, killed = ServerStarter.start, []

    def kill_and_start(self: Any, *arguments: Any) -> Any:
        if not killed:
            (server,) = psutil.Process().children()
            killed.append(server.pid)
            server.kill()
            server.wait(5)
        return start(self, *arguments)

    load(short, 2, "processes", rate=100)
    monkeypatch.setattr(ServerStarter, "start", kill_and_start)
    load(short, 20, "processes", rate=200)
    assert killed
    assert not outcomes(20)


def leaves_a_note(id: int, config: str) -> int:
    Path(config, str(os.getpid())).touch()
    time.sleep(0.004)
    return id


# The end


@pytest.mark.parametrize(
    ("shape", "function"),
    [("threads", short), ("threads", short_coroutine), ("processes", short), ("grid", short_coroutine)],
)
def test_loads_leave_nothing_behind(shape: str, function: Any) -> None:
    def state() -> tuple[int, ...]:
        own = psutil.Process()
        return own.num_fds(), threading.active_count(), len(own.children(recursive=True))

    load(function, 10, shape, rate=1000)
    before = state()
    for nth in range(2):
        load(function, 20, shape, rate=1000, max_workers=3, on_saturation=("queue", "drop")[nth % 2])
    until = time.monotonic() + 5
    while state() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert state() <= before


@pytest.mark.parametrize("shape", SHAPES)
def test_loads_in_two_threads_and_inside_a_task(shape: str) -> None:
    def inner(id: int) -> Any:
        options = {"frequency_mode": {"enabled": True, "rate": 200}}
        task = {"list": 4, "function": lambda id: id}
        return worker_dispatcher.start({"task": task, "worker": options, "verbose": False})

    worker = {**SHAPES[shape], "frequency_mode": {"enabled": True, "rate": 50}}
    runs = [
        worker_dispatcher.launch({"task": {"list": 4, "function": inner}, "worker": worker, "verbose": False})
        for _ in range(2)
    ]
    assert [run.wait(20).results for run in runs] == [[[1, 2, 3, 4]] * 4] * 2


INTERRUPTED = """
import sys, time
import worker_dispatcher

worker = {shape} | {{"frequency_mode": {{"enabled": True, {options}}}}}
try:
    worker_dispatcher.start({{"task": {{"list": {tasks}, "function": str}}, "worker": worker, "verbose": False}})
except KeyboardInterrupt:
    info = worker_dispatcher.get_result_info()
    print("interrupted", info["stopped"], info["counts"]["ok"], flush=True)
"""


LAZY = "(print(n, flush=True) or n for n in range(100000))"


@pytest.mark.parametrize(
    ("shape", "tasks", "options"),
    [
        ("threads", LAZY, "'rate': 200"),
        ("grid", "range(100000)", "'pacing': [0, 0, 1e6]"),
    ],
)
def test_ctrl_c_while_workers_wait_for_a_due_time(tmp_path: Path, shape: str, tasks: str, options: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED.format(shape=SHAPES[shape], options=options, tasks=tasks))
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        family = await_family(process, shape)
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=10)
        assert time.monotonic() - began < 20
    finally:
        process.kill()
    assert out.splitlines()[-1].startswith("interrupted interrupt ")
    assert not psutil.wait_procs(family, timeout=5)[1]


def await_family(process: subprocess.Popen[str], shape: str) -> list[psutil.Process]:
    """The processes of a run, once it has workers and has had time for the first task."""
    parent = psutil.Process(process.pid)
    until = time.monotonic() + 10
    while parent.num_threads() < 2 if shape == "threads" else len(parent.children(recursive=True)) < 2:
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.25)
    return parent.children(recursive=True)
