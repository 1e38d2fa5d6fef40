"""The log that sqlite keeps beside a journal: a run notices that others took it away, and what it reported stays."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import worker_dispatcher
from worker_dispatcher.clock import Anchor
from worker_dispatcher.errors import JournalError
from worker_dispatcher.journal.journal import Journal
from worker_dispatcher.journal.reading import read_journal

TASKS, LOST_AT = 40, 10


def work(task):
    return task


def nap(task):
    time.sleep(0.005)
    return task


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "run.db"


def opened_elsewhere(path: Path, statement: str = "SELECT count(*) FROM rows") -> None:
    """Another program opens the journal with sqlite, says something to it and closes it."""
    code = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute(sys.argv[2]).fetchall(); db.close()"
    subprocess.run([sys.executable, "-c", code, str(path), statement], check=True, timeout=60)


def copied_and_opened(path: Path) -> None:
    """A copy made by this program drops its locks, those of sqlite included; then who opens it is the last to close."""
    shutil.copy(path, f"{path}.copy")
    opened_elsewhere(path)


def unlinked(tail: str) -> Callable[[Path], None]:
    return lambda path: os.unlink(f"{path}{tail}")


def replaced(tail: str) -> Callable[[Path], None]:
    return lambda path: os.replace(shutil.copy(f"{path}{tail}", f"{path}.2"), f"{path}{tail}")


LOSSES = {
    "copied here, opened elsewhere": copied_and_opened,
    "-wal unlinked": unlinked("-wal"),
    "-wal replaced": replaced("-wal"),
    "-shm unlinked": unlinked("-shm"),
    "-shm replaced": replaced("-shm"),
}


def takes_log_away(path: Path, disturb: Callable[[Path], None]) -> bool:
    """Disturb; False where the log and its index stay what they were: the newest SQLite does not lose its locks when a
    program closes another descriptor of the file."""

    def files() -> list[int]:
        found = [Path(f"{path}{tail}") for tail in ("-wal", "-shm")]
        return [one.stat().st_ino for one in found if one.exists()]

    before = files()
    disturb(path)
    return files() != before


def run(path: Path, disturb: Callable[[Path], None], told: Callable[[int], None]) -> None:
    """Record and commit one task after the other, and tell of each that may be reported."""
    journal = Journal(path, work, Anchor.take())
    journal.seen(1, range(TASKS))
    try:
        for task_id in range(1, TASKS + 1):
            journal.record_run(task_id, [1.0], [2.0], [f"result {task_id}"], 1)
            if task_id == LOST_AT:
                disturb(path)
            for first, count in journal.commit():
                for reported in range(first, first + count):
                    told(reported)
    finally:
        journal.close()


def recorded(path: Path) -> set[int]:
    return {log["task_id"] for log in read_journal(path)}


@pytest.mark.parametrize("disturb", LOSSES.values(), ids=LOSSES)
def test_a_log_that_others_have_taken_away_is_noticed_at_the_next_commit(path, disturb):
    reported: list[int] = []
    lost, said = [], ""
    try:
        run(path, lambda path: lost.append(takes_log_away(path, disturb)), reported.append)
    except JournalError as error:
        said = str(error)
    if said or lost != [False]:
        assert re.search(r"was removed or replaced while it was in use: .*run\.db-wal", said)
    assert reported == list(range(1, LOST_AT if said else TASKS + 1))
    assert recorded(path) >= set(reported)
    journal = Journal(path, work, Anchor.take())
    again = {one.first + nth for one in journal.seen(1, range(TASKS)) for nth in range(len(one.results))}
    journal.close()
    assert again >= set(reported)


@pytest.mark.parametrize("disturb", LOSSES.values(), ids=LOSSES)
def test_what_was_reported_is_there_after_a_kill_that_follows_the_loss_of_the_log(path, tmp_path, disturb):
    pid = os.fork()
    if pid == 0:
        notes = os.open(tmp_path / "told", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        Journal.close = lambda _: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
        try:
            run(path, disturb, lambda task_id: os.write(notes, struct.pack("<q", task_id)))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    told = {task_id for (task_id,) in struct.iter_unpack("<q", (tmp_path / "told").read_bytes())}
    assert told >= set(range(1, LOST_AT))
    assert recorded(path) >= told


def test_a_log_that_is_taken_away_during_a_commit_makes_that_commit_fail(path):
    journal = Journal(path, work, Anchor.take())
    journal.seen(1, range(2))
    journal.record_run(1, [1.0], [2.0], ["a"], 1)
    db = journal._file.db
    assert db is not None

    def unlink_at_commit(statement: str) -> None:
        if statement == "COMMIT":
            os.unlink(f"{path}-wal")

    db.set_trace_callback(unlink_at_commit)
    with pytest.raises(JournalError, match="was removed or replaced"):
        journal.commit()
    journal.close()


@pytest.mark.parametrize("worker", [{"number": 2}, {"number": 2, "use_processing": True}], ids=["threads", "processes"])
def test_a_program_that_copies_its_own_journal_loses_nothing_that_it_was_told(path, worker):
    told: list[int] = []
    task = {"list": range(2000), "function": nap}
    run = worker_dispatcher.launch({"task": task, "worker": worker, "journal": str(path), "verbose": False})

    lost, said = [], ""

    def follow() -> None:
        for log in run:
            told.append(log["task_id"])
            if len(told) == LOST_AT:
                lost.append(takes_log_away(path, copied_and_opened))
        run.wait()

    try:
        follow()
    except JournalError as error:
        said = str(error)
    if said or lost != [False]:
        assert "was removed or replaced" in said
        assert run.info["stopped"] == "journal"
    else:
        assert len(told) == 2000
    assert recorded(path) >= set(told)


def checkpointed_elsewhere(path: Path) -> None:
    opened_elsewhere(path, "PRAGMA wal_checkpoint(TRUNCATE)")


def copied_with_its_log(path: Path) -> None:
    for tail in ("", "-wal", "-shm"):
        shutil.copy(f"{path}{tail}", f"{path}.copy{tail}")


def read_meanwhile(path: Path) -> None:
    assert len(read_journal(path)) == LOST_AT - 1


def backed_up(path: Path) -> None:
    source, target = sqlite3.connect(f"file:{path}?mode=ro", uri=True), sqlite3.connect(f"{path}.backup")
    source.backup(target)
    source.close()
    target.close()


HARMLESS = {
    "opened elsewhere": opened_elsewhere,
    "checkpointed elsewhere": checkpointed_elsewhere,
    "copied with its log": copied_with_its_log,
    "read by read_journal": read_meanwhile,
    "backed up by sqlite": backed_up,
    "given a second name": lambda path: os.link(path, f"{path}.link"),
}


@pytest.mark.each_value
@pytest.mark.parametrize("disturb", HARMLESS.values(), ids=HARMLESS)
@pytest.mark.parametrize("by_link", [False, True], ids=["its own path", "through a symlink"])
def test_who_leaves_the_log_in_its_place_does_not_disturb_a_run(path, tmp_path, disturb, by_link):
    reported: list[int] = []
    (tmp_path / "link.db").symlink_to(path)
    run(tmp_path / "link.db" if by_link else path, lambda _: disturb(path), reported.append)
    assert reported == list(range(1, TASKS + 1))
    assert recorded(path) == set(reported)
    assert not os.path.exists(f"{path}-wal")


def test_its_own_checkpoints_leave_the_log_the_same(path):
    journal = Journal(path, work, Anchor.take())
    journal.seen(1, range(TASKS))
    for task_id in range(1, TASKS + 1):
        journal.record_run(task_id, [1.0], [2.0], [bytes(1_000_000)], 1)
        journal.commit()
    assert os.path.getsize(path) > 16 << 20
    journal.close()


def test_a_folder_that_is_renamed_meanwhile_is_noticed(tmp_path):
    folder, moved = tmp_path / "now", tmp_path / "then"
    folder.mkdir()
    reported: list[int] = []
    with pytest.raises(JournalError, match="was removed or replaced"):
        run(folder / "run.db", lambda _: folder.rename(moved), reported.append)
    assert recorded(moved / "run.db") >= set(reported)
