"""A process that writes a journal is killed at any moment, again and again: nothing that it reported is ever lost."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import struct
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from worker_dispatcher.clock import Anchor, now
from worker_dispatcher.errors import JournalError
from worker_dispatcher.journal import file
from worker_dispatcher.journal.journal import Journal
from worker_dispatcher.journal.reading import read_journal
from worker_dispatcher.records import ERROR, OK, Failure, Outcome

TASKS = 6000


def work(task):
    return task


def result_of(task_id: int):
    return np.full(70_000, task_id % 251, "u1") if task_id % 400 == 0 else f"result {task_id}"


def right(task_id: int, result) -> bool:
    expected = result_of(task_id)
    return np.array_equal(result, expected) if isinstance(expected, np.ndarray) else result == expected


def start(folder: Path, act: Callable[[], int | None]) -> int:
    """A forked child that exits with what `act` returns; with 1 and its traceback in the folder if it raises."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        status = act() or 0
    except BaseException:
        (folder / f"why {os.getpid()}").write_text(traceback.format_exc())
    finally:
        os._exit(status)


def reasons(folder: Path) -> str:
    return "\n".join(one.read_text() for one in folder.glob("why *"))


def start_writer(path: Path, acknowledged: Path, seed: int, until: float) -> int:
    """A forked child that runs what is missing, and tells which tasks it may report, until it is done or late."""
    return start(path.parent, lambda: write(path, acknowledged, random.Random(seed), until))


def write(path: Path, acknowledged: Path, chance: random.Random, until: float) -> None:
    reports = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    journal = Journal(path, work, Anchor.take())
    done: set[int] = set()
    for first in range(1, TASKS + 1, 500):
        for one in journal.seen(first, range(first, first + 500)):
            ids = range(one.first, one.first + len(one.results))
            assert all(right(task_id, result) for task_id, result in zip(ids, one.results, strict=True))
            done.update(ids)
    task_id = 1
    while task_id <= TASKS and time.monotonic() < until:
        count, ids = chance.choice([1, 1, 3, 20]), []
        while task_id <= TASKS and len(ids) < count and task_id not in done:
            ids.append(task_id)
            task_id += 1
        if not ids:
            task_id += 1
            continue
        stamp = [now()] * len(ids)
        if chance.random() < 0.1:
            journal.record_one(Outcome(ids[0], ERROR, stamp[0], stamp[0], failure=Failure("E", "failed")))
            ids, stamp = ids[1:], stamp[1:]
        if ids:
            journal.record_run(ids[0], stamp, stamp, [result_of(one) for one in ids], 1)
        if chance.random() < 0.1:
            time.sleep(0.001)
        if chance.random() < 0.3 or now() >= journal.due:
            for first, length in journal.commit():
                os.write(reports, struct.pack("<qq", first, length))
    for first, length in journal.commit():
        os.write(reports, struct.pack("<qq", first, length))
    journal.close()


def reported(acknowledged: Path) -> set[int]:
    content = acknowledged.read_bytes() if acknowledged.exists() else b""
    found = struct.iter_unpack("<qq", content[: len(content) // 16 * 16])
    return {task_id for first, length in found for task_id in range(first, first + length)}


def check(path: Path, acknowledged: Path) -> set[int]:
    """Every task that was reported is there, with its own result; the ids that are ok."""
    before = reported(acknowledged)
    logs = read_journal(path)
    assert before <= {log["task_id"] for log in logs}
    ok = {log["task_id"]: log["result"] for log in logs if log["status"] == "ok"}
    assert all(right(task_id, result) for task_id, result in ok.items())
    return set(ok)


def recorded_twice(path: Path) -> list[int]:
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    rows = db.execute("SELECT first, count FROM rows WHERE status = ?", (OK,)).fetchall()
    db.close()
    ids = [task_id for first, count in rows for task_id in range(first, first + count)]
    return sorted(set(ids)) if len(ids) != len(set(ids)) else []


@pytest.mark.parametrize("rounds", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_a_writer_killed_at_any_moment_loses_nothing_that_it_reported(rounds, tmp_path, monkeypatch):
    seed = random.randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)
    monkeypatch.setattr(file, "_CHECKPOINT_PAGES", 8)  # so that many kills fall into copying the log into the file
    killed_at_work = 0
    path, acknowledged = tmp_path / "run.db", tmp_path / "reported"
    ok: set[int] = set()
    for nth in range(rounds):
        if chance.random() < 0.2:  # begin anew: kills while the file is made are part of it
            path, acknowledged, ok = tmp_path / f"run{nth}.db", tmp_path / f"reported{nth}", set()
        pid = start_writer(path, acknowledged, chance.randrange(10**6), time.monotonic() + 30)
        try:
            until = time.monotonic() + chance.choice([0.002, 0.02, 0.08, 0.15]) * chance.random()
            while time.monotonic() < until:
                if path.exists():
                    check(path, acknowledged)  # also while it is written to
                time.sleep(0.001)
        finally:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL), reasons(tmp_path)
        killed_at_work += os.waitstatus_to_exitcode(status) != 0
        if not path.exists():
            continue
        now_ok = check(path, acknowledged)
        assert ok <= now_ok
        ok = now_ok
        assert path.stat().st_size < 4096 * 4 or recorded_twice(path) == []
    assert killed_at_work >= rounds // 4
    last = start_writer(path, acknowledged, 1, time.monotonic() + 60)
    assert os.waitstatus_to_exitcode(os.waitpid(last, 0)[1]) == 0, reasons(tmp_path)
    assert sorted(name for name in os.listdir(tmp_path) if name.startswith(path.name)) == [path.name]
    assert recorded_twice(path) == []
    assert {log["task_id"] for log in read_journal(path)} == set(range(1, TASKS + 1))


def test_the_lock_ends_with_the_process_that_is_killed(tmp_path, wait_until: Callable[..., None]):
    path = tmp_path / "run.db"
    pid = os.fork()
    if pid == 0:
        journal = Journal(path, work, Anchor.take())
        journal.seen(1, [1])
        journal.record_one(Outcome(1, OK, 1.0, 2.0, result="kept"))
        journal.commit()
        journal.record_one(Outcome(1, OK, 1.0, 2.0, result="never committed"))
        if os.fork() == 0:  # its own child lives on: it must not hold the journal
            os.setsid()
            time.sleep(3)
            os._exit(0)
        (tmp_path / "ready").touch()
        time.sleep(60)
        os._exit(0)
    try:
        wait_until((tmp_path / "ready").exists)
        with pytest.raises(JournalError, match="is in use by another run"):
            Journal(path, work, Anchor.take())
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    with Journal(path, work, Anchor.take()) as journal:
        assert [one.results for one in journal.seen(1, [1])] == [["kept"]]


def test_of_many_that_want_it_at_once_one_has_it(tmp_path):
    path = tmp_path / "run.db"
    children = [start(tmp_path, lambda: take_turns(path, time.monotonic() + 20)) for _ in range(5)]
    turns = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert turns == [0] * 5, reasons(tmp_path)
    logs = read_journal(path)
    assert [log["result"] for log in logs] == [f"result {task_id}" for task_id in range(1, 101)]
    assert recorded_twice(path) == []
    assert len({log["pid"] for log in logs}) > 1  # so they did compete


def take_turns(path: Path, until: float) -> int:
    """Record a few tasks whenever it can be had, until all are recorded; 0 if nothing but 'in use' came between."""
    while time.monotonic() < until:
        try:
            with Journal(path, work, Anchor.take()) as journal:
                if journal.ok_count == 100:
                    return 0
                journal.pids = {1: os.getpid()}
                first = journal.ok_count + 1
                assert sum(len(one.results) for one in journal.seen(1, range(100))) == journal.ok_count
                journal.record_run(first, [1.0] * 5, [2.0] * 5, [f"result {first + n}" for n in range(5)], 1)
        except JournalError as error:
            if "is in use" not in str(error):
                raise
        time.sleep(0.001)
    return 2
