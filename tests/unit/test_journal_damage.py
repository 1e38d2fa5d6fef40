"""A journal that is damaged, or that finds no room."""

from __future__ import annotations

import contextlib
import pickle
import resource
import sqlite3
import subprocess
from pathlib import Path

import numpy as np
import pytest
from journals import Boom, by_id, edit, in_child, opened, record, resumed

from worker_dispatcher.errors import JournalError
from worker_dispatcher.journal.reading import read_journal
from worker_dispatcher.journal.row_format import PIECE
from worker_dispatcher.records import OK, Outcome


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.db"


# Damage


@pytest.mark.parametrize("change", [
    ("UPDATE rows SET payload = ? WHERE seq = 1", pickle.dumps(([9, 9], {}, {}, None))),
    ("UPDATE rows SET payload = (SELECT payload FROM rows WHERE seq = 3) WHERE seq = 1",),
    ("UPDATE rows SET payload = (SELECT payload FROM rows WHERE seq = 3),"
     " seal = substr((SELECT seal FROM rows WHERE seq = 3), 1, 16) || substr(seal, 17) WHERE seq = 1",),
    ("UPDATE rows SET payload = NULL WHERE seq = 1",),
    ("UPDATE rows SET payload = 'text' WHERE seq = 1",),
    ("UPDATE rows SET payload = 5 WHERE seq = 1",),
])  # fmt: skip
def test_a_damaged_result_is_found_and_its_tasks_run_again(path, change):
    with opened(path) as journal:
        journal.seen(1, range(6))
        for first in (1, 3, 5):
            journal.record_run(first, [1.0] * 2, [2.0] * 2, [first, first + 1], 1)
    edit(path, *change)
    with opened(path) as journal:
        assert by_id(journal.seen(1, range(6))) == {3: 3, 4: 4, 5: 5, 6: 6}
        assert journal.damaged == {1}
        journal.record_run(1, [1.0] * 2, [2.0] * 2, [1, 2], 1)
    assert resumed(path, range(6)) == {n: n for n in range(1, 7)}
    assert [log["result"] for log in read_journal(path)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("change", [
    ("UPDATE rows SET first = 3 WHERE seq = 1",), ("UPDATE rows SET first = 9000000000000 WHERE seq = 1",),
    ("UPDATE rows SET first = -7 WHERE seq = 1",), ("UPDATE rows SET first = 1.5 WHERE seq = 1",),
    ("UPDATE rows SET count = 1 WHERE seq = 1",), ("UPDATE rows SET status = 2 WHERE seq = 1",),
    ("UPDATE rows SET facts = substr(facts, 1, 40) WHERE seq = 1",), ("UPDATE rows SET facts = NULL WHERE seq = 1",),
    ("UPDATE rows SET facts = CAST(facts AS TEXT) || 'ÿ' WHERE seq = 1",),
    ("UPDATE rows SET seal = zeroblob(32) WHERE seq = 1",), ("UPDATE rows SET seal = 'x' WHERE seq = 1",),
    ("UPDATE rows SET seal = (SELECT seal FROM rows WHERE seq = 2) WHERE seq = 1",),
    ("UPDATE rows SET seq = 17 WHERE seq = 1",),
    ("DELETE FROM rows WHERE seq = 1",),
])  # fmt: skip
def test_damaged_facts_are_found_and_their_tasks_run_again(path, change):
    with opened(path) as journal:
        journal.seen(1, range(4))
        journal.record_run(1, [1.0] * 2, [2.0] * 2, [1, 2], 1)
        journal.record_run(3, [1.0] * 2, [2.0] * 2, [3, 4], 1)
    edit(path, *change)
    assert resumed(path, range(4)) == {3: 3, 4: 4}
    assert [log["task_id"] for log in read_journal(path)] == [3, 4]
    with opened(path) as journal:
        assert len(journal.damaged) == (0 if change[0].startswith("DELETE") else 1)


@pytest.mark.parametrize("change", [
    "UPDATE pieces SET data = zeroblob(length(data)) WHERE id = 2", "UPDATE pieces SET id = 50 WHERE id = 2",
    "UPDATE pieces SET data = substr(data, 2) WHERE id = 2", "DELETE FROM pieces WHERE id = 3",
    "UPDATE pieces SET data = 7 WHERE id = 1", "UPDATE pieces SET data = zeroblob(0) WHERE id = 3",
])  # fmt: skip
def test_damage_in_a_piece_of_an_array_is_found(path, change):
    record(path, [1], [np.arange(PIECE // 4, dtype="u8")])
    assert resumed(path, [1])[1][-1] == PIECE // 4 - 1
    with opened(path) as journal:
        journal.seen(1, [1, 2])
        journal.record_one(Outcome(2, OK, 1.0, 2.0, result=np.full(PIECE // 8, 7.0)))
    edit(path, change)
    assert list(resumed(path, [1, 2])) == ([1] if "id = 3" in change else [2])


def test_rows_of_another_journal_are_damage(path, tmp_path):
    record(path, range(3), ["mine"] * 3)
    record(tmp_path / "other.db", range(3), ["other"] * 3)
    edit(path, "DELETE FROM rows")
    db = sqlite3.connect(path)
    db.execute("ATTACH ? AS other", (str(tmp_path / "other.db"),))
    db.execute("INSERT INTO main.rows SELECT * FROM other.rows")
    db.commit()
    db.close()
    assert resumed(path, range(3)) == {}


def test_nothing_is_loaded_that_was_not_recorded_here(path, tmp_path):
    record(path, range(3))
    evil = pickle.dumps(([Boom(tmp_path / "mark")] * 3, {}, {}, None), 5)
    pickle.loads(evil)[0][0].close()
    assert (tmp_path / "mark").exists()  # so it would show
    (tmp_path / "mark").unlink()
    edit(path, "UPDATE rows SET payload = ?", evil)
    assert resumed(path, range(3)) == {}
    assert read_journal(path) == []
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("number", [1, 2, 127])
@pytest.mark.parametrize("nth", [0, 1, 2])
def test_reading_ends_where_damage_made_the_numbers_of_rows_go_back(path, nth, number):
    for task_id in (1, 2, 3):
        record(path, range(3), [task_id], first=task_id)
    db = sqlite3.connect(path)
    (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'rows'").fetchone()
    db.close()
    content, page = bytearray(path.read_bytes()), (root - 1) * 4096
    cell = page + int.from_bytes(content[page + 8 + 2 * nth :][:2], "big")
    while content[cell] & 0x80:  # the length of the row comes before its number
        cell += 1
    assert content[cell + 1] == nth + 1
    content[cell + 1] = number
    path.write_bytes(content)
    expected = {1, 2, 3} if number == nth + 1 else {1, 2, 3} - {nth + 1}
    assert {log["task_id"] for log in read_journal(path)} == expected


def test_a_file_damaged_beyond_its_rows_says_so(path):
    record(path, range(50_000))
    content = bytearray(path.read_bytes())
    content[4 * 4096 :] = b"\xa5" * (len(content) - 4 * 4096)
    path.write_bytes(content)
    with pytest.raises(JournalError, match="is damaged"):
        resumed(path, range(50_000))


def test_a_kill_while_the_log_is_copied_into_the_file_is_no_damage(path):
    journal = opened(path)
    journal.seen(1, range(2000))
    before = path.read_bytes()
    journal.record_run(1, [1.0] * 2000, [2.0] * 2000, [bytes(100) + bytes([n % 256]) for n in range(2000)], 1)
    journal.commit()
    log = Path(f"{path}-wal").read_bytes()
    journal.close()
    after = path.read_bytes()
    assert len(after) > 10 * len(before)
    for pages in (1, 2, 4, 30):  # so many had been copied, in their order
        path.write_bytes(after[: 4096 * pages] + before[4096 * pages :])
        Path(f"{path}-wal").write_bytes(log)
        assert len(read_journal(path)) == 2000
        assert resumed(path, range(2000))[2000][100] == 1999 % 256


# No room


def fill(journal, first=1, most=3000) -> int:
    """Record and commit until it fails; how many tasks were durable."""
    for task_id in range(first, first + most):
        journal.record_run(task_id, [1.0], [2.0], [bytes([task_id % 256]) * 5000], 1)
        journal.commit()
    raise AssertionError("it was never full")


def check_full(path, items, make_room):
    journal = opened(path)
    journal.seen(1, items)
    with pytest.raises(JournalError) as full:
        fill(journal)
    with pytest.raises(JournalError, match="cannot be written") as again:
        journal.record_run(1, [1.0], [2.0], [1], 1)
    assert str(again.value) == str(full.value)
    assert journal.commit() == []
    journal.close()
    make_room()
    back = resumed(path, items)
    assert len(back) > 5
    assert list(back) == list(range(1, len(back) + 1))
    assert all(back[task_id] == bytes([task_id % 256]) * 5000 for task_id in back)
    with opened(path) as journal:
        journal.seen(1, items)
        last = len(back) + 1
        journal.record_run(last, [1.0], [2.0], ["now there is room"], 1)
    assert resumed(path, items)[last] == "now there is room"
    return str(full.value)


def test_a_full_database_says_so_and_resume_works_once_there_is_room(path, monkeypatch):
    from worker_dispatcher.journal import file as module

    connect, pages = module.connect, [60]

    def small(*arguments):
        db = connect(*arguments)
        db.execute(f"PRAGMA max_page_count = {pages[0]}")
        return db

    monkeypatch.setattr(module, "connect", small)
    text = check_full(path, range(3000), lambda: pages.append(pages.pop() * 1000))
    assert "the disk is full; what was recorded before is kept: make room and run the same call again" in text


def test_a_file_that_may_not_grow_is_an_error_and_resume_works_afterwards(path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def attempt():
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limits[1]))
        return check_full(path, range(3000), lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits))

    assert "cannot be written: disk I/O error (SQLITE_IOERR_WRITE)" in in_child(attempt)


def fill_up(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_full_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        ballast = folder / "ballast"
        ballast.write_bytes(bytes(100_000))
        assert "the disk is full" in check_full(folder / "run.db", range(3000), ballast.unlink)
        fill_up(ballast)
        with pytest.raises(JournalError, match="the disk is full"):
            opened(folder / "new.db")
        with pytest.raises(JournalError, match="the disk is full"):
            record(folder / "run.db", range(3000), [bytes(100_000)], first=3000)
        ballast.unlink()
        assert resumed(folder / "run.db", range(3000))
        (folder / "run.db").unlink()
        record(folder / "new.db", [1])
        assert resumed(folder / "new.db", [1]) == {1: 1}
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
