"""A run with a journal is killed at random moments, and run again: it ends complete, and next to nothing runs twice.

What runs is counted by the tasks themselves, in a file.
"""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from clusters import address
from living import any_alive
from resumable import WORKERS, noted, result_of

import worker_dispatcher
from worker_dispatcher.records import OK

PROGRAM = Path(__file__).with_name("resumable.py")
SOON = 10.0  # seconds until everything that belongs to a killed run is gone
LOST_WORK = 0.05  # seconds of finished work that a worker may lose to a kill


@dataclass(frozen=True)
class Case:
    """shape, tasks, milliseconds (a task's length), kind (of list): as the program takes them."""

    shape: str
    tasks: int
    milliseconds: float
    kind: str = "list"

    def begin(self, folder: Path) -> subprocess.Popen[bytes]:
        arguments = [self.shape, self.tasks, self.milliseconds, self.kind, folder]
        return subprocess.Popen([sys.executable, str(PROGRAM), *map(str, arguments)], start_new_session=True)

    @property
    def lost_by_a_kill(self) -> int:
        """How many executions a kill may cost."""
        each = 1 if self.milliseconds >= 10 else 1 + int(LOST_WORK * 1000 / self.milliseconds)
        return WORKERS[self.shape] * each


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def over(processes: list[psutil.Process]) -> Callable[[], bool]:
    return lambda: not any_alive(processes)


def kill_each(processes: list[psutil.Process], parent: subprocess.Popen[bytes]) -> None:
    """In one moment of the run, however long it takes: the parent stands still, and starts no other tasks meanwhile."""
    parent.send_signal(signal.SIGSTOP)
    for one in processes:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue


def begun_or_over(process: subprocess.Popen[bytes], folder: Path, before: int) -> Callable[[], bool]:
    return lambda: len(noted(folder, "begun")) > before or process.poll() is not None


def attack(process: subprocess.Popen[bytes], whom: str, chance: random.Random) -> int:
    """Kill the parent, all that belongs to the run, or some of its workers and a little later the parent; then the run
    is over. Returns how many kills that were: those of one moment are one."""
    members, kills = family(process), 1
    if whom == "workers":
        victims = [one for one in members if chance.random() < 0.5]
        kill_each(victims, process)
        process.send_signal(signal.SIGCONT)
        kills += bool(victims)
        time.sleep(0.1 * chance.random())
        members = family(process)
    if whom == "all":
        chance.shuffle(members)
        kill_each(members, process)
    process.kill()
    process.wait()
    return kills


def recorded(journal: Path) -> list[int]:
    """The ids of all that is recorded as ok, each as often as it is."""
    db = sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
    try:
        rows = db.execute("SELECT first, count FROM rows WHERE status = ?", (OK,)).fetchall()
    finally:
        db.close()
    return [task_id for first, count in rows for task_id in range(first, first + count)]


def check_kept(folder: Path) -> None:
    """Whatever was told is in the journal, right and once."""
    told, journal = set(noted(folder, "told")), folder / "run.db"
    if not told:
        return
    logs = {log["task_id"]: log for log in worker_dispatcher.read_journal(journal)}
    assert told <= logs.keys()
    assert all(log["result"] == result_of(n - 1) for n, log in logs.items() if log["status"] == "ok")
    ids = recorded(journal)
    assert len(ids) == len(set(ids))


def storm(case: Case, folder: Path, rounds: int, wait_until: Callable[..., None]) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)
    kills = at_work = done = 0
    longest = 0.3
    while done < rounds and not (folder / "done").exists():
        before = len(noted(folder, "begun"))
        process = case.begin(folder)
        began = time.monotonic()
        # From the first task on, in at least each third: where the start is slow, few kills would find one at work.
        if done % 3 == 0 or chance.random() < 0.6:
            wait_until(begun_or_over(process, folder, before), 30)
        time.sleep(longest * chance.random())
        members = family(process)
        kills += attack(process, chance.choice(["parent", "parent", "all", "workers"]), chance)
        wait_until(over(members), SOON)
        done += 1
        at_work += len(noted(folder, "begun")) > before
        assert time.monotonic() - began < 60
        check_kept(folder)
    assert at_work >= done // 3
    if (folder / "done").exists():
        (folder / "done").unlink()
    for _ in range(2):  # a worker's death leaves a failed task: that is for the next run
        assert case.begin(folder).wait(120) == 0
    check_complete(case, folder, kills)


def check_complete(case: Case, folder: Path, kills: int) -> None:
    assert [one.name for one in folder.glob("run.db*")] == ["run.db"]
    done = json.loads((folder / "done").read_text())
    assert done["results"] == [result_of(n) for n in range(case.tasks)]
    assert done["info"]["resumed"] == case.tasks
    assert sorted(recorded(folder / "run.db")) == list(range(1, case.tasks + 1))
    begun = noted(folder, "begun")
    assert set(begun) == set(range(1, case.tasks + 1))
    print(f"{kills} kills, {len(begun) - case.tasks} executions more, {kills * case.lost_by_a_kill} allowed")
    assert len(begun) <= case.tasks + kills * case.lost_by_a_kill


FEW = [
    Case("processes", 400, 10),
    Case("grid", 400, 10, "generator"),
    Case("threads", 300, 10),
    Case("processes", 3000, 1, "generator"),
    Case("dask", 300, 10),
]
MANY = [
    Case("processes", 8000, 10),
    Case("grid", 8000, 10),
    Case("threads", 6000, 10, "generator"),
    Case("processes", 40_000, 1),
    Case("grid", 20_000, 1, "generator"),
    Case("processes", 400_000, 0.05),
    Case("dask", 3000, 10),
]


@pytest.fixture
def on_a_cluster(case, monkeypatch):
    if case.shape == "dask":
        monkeypatch.setenv("DASK_ADDRESS", address())


@pytest.mark.parametrize("case", FEW, ids=str)
def test_a_run_killed_a_few_times_ends_complete(case, tmp_path, wait_until, on_a_cluster):
    storm(case, tmp_path, 5, wait_until)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", MANY, ids=str)
def test_a_run_killed_a_hundred_times_ends_complete(case, tmp_path, wait_until, on_a_cluster):
    storm(case, tmp_path, 100, wait_until)
