"""Rounds: random workers killed, many runs in one process. Few rounds always, many in the stress script."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import worker_dispatcher

START = worker_dispatcher.start


def mark_and_sleep(task: tuple[int, str]) -> int:
    number, folder = task
    with open(f"{folder}/{os.getpid()}", "a") as file:
        file.write(f"{number}\n")
    time.sleep(0.02)
    return number * 3


def killer(folder: Path, dice: random.Random, kills: int, killed: dict[int, int], over: threading.Event) -> None:
    """Kill workers while they run a task: the last line of a worker's file names it."""
    while len(killed) < kills and not over.is_set():
        over.wait(dice.uniform(0.005, 0.05))
        alive = [int(f.name) for f in folder.iterdir() if int(f.name) not in killed and psutil.pid_exists(int(f.name))]
        if alive:
            pid = dice.choice(alive)
            try:
                os.kill(pid, signal.SIGKILL)
                killed[pid] = int((folder / str(pid)).read_text().split()[-1])
            except ProcessLookupError:
                pass


def kill_round(folder: Path, seed: int) -> None:
    dice, killed, over = random.Random(seed), {}, threading.Event()
    thread = threading.Thread(target=killer, args=(folder, dice, 4, killed, over))
    thread.start()
    try:
        config: dict[str, Any] = {
            "task": {"list": [(n, str(folder)) for n in range(60)], "function": mark_and_sleep},
            "worker": {"number": 4, "use_processing": True},
            "verbose": False,
        }
        with pytest.warns(worker_dispatcher.TaskFailuresWarning):
            results = START(config)
    finally:
        over.set()
        thread.join()
    logs = worker_dispatcher.get_logs()
    assert [log["task_id"] for log in logs] == list(range(1, 61)), seed
    crashed = {log["task_id"] - 1 for log in logs if log["status"] == "crashed"}
    assert all("SIGKILL" in log["error"]["message"] for log in logs if log["status"] == "crashed"), seed
    assert {log["status"] for log in logs} <= {"ok", "crashed"}, seed
    assert all(results[n] == n * 3 for n in range(60) if n not in crashed), seed
    # A kill hits the task that was running, or falls between two tasks and hits none.
    assert 1 <= len(crashed) <= len(killed), seed
    ran: list[int] = [int(line) for file in folder.iterdir() for line in file.read_text().split()]
    again = [n for n in set(ran) if ran.count(n) > 1]
    assert len(again) <= len(killed), (seed, again)


@pytest.mark.parametrize("seed", range(6))
def test_a_killed_worker_costs_the_task_it_ran_and_no_other(tmp_path: Path, seed: int) -> None:
    kill_round(tmp_path, seed)


@pytest.mark.slow
def test_a_killed_worker_costs_the_task_it_ran_and_no_other_in_200_rounds(tmp_path: Path) -> None:
    for seed in range(1000, 1200):
        folder = tmp_path / str(seed)
        folder.mkdir()
        kill_round(folder, seed)


def double(task: int) -> int:
    return task * 2


def use_up(runs: int) -> None:
    """Runs in every shape; descriptors, threads, children and memory must stay as they were after the first few."""
    shapes: list[dict[str, Any]] = [{}, {"use_processing": True}, {"parallel_processing": {"enabled": True}}]

    def once(nth: int) -> None:
        config = {"task": {"list": range(50), "function": double}, "worker": {"number": 4, **shapes[nth % 3]}}
        assert START({**config, "verbose": False}) == [2 * n for n in range(50)]

    def state() -> tuple[int, int, int]:
        me = psutil.Process()
        return me.num_fds(), me.num_threads(), len(me.children(recursive=True))

    for nth in range(6):
        once(nth)
    before, memory = state(), psutil.Process().memory_info().rss
    for nth in range(runs):
        once(nth)
    assert state() == before
    assert psutil.Process().memory_info().rss - memory < 20 * 2**20


def test_runs_leave_the_process_as_it_was() -> None:
    use_up(15)


@pytest.mark.slow
def test_a_hundred_runs_leave_the_process_as_it_was() -> None:
    use_up(100)
