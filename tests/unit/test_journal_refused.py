"""Files that are no journal of this run are refused and left untouched."""

from __future__ import annotations

import os
import pickle
import sqlite3
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

import pytest
from journals import EARLIER, Boom, edit, files, in_child, opened, record, resumed, work

from worker_dispatcher.clock import Anchor
from worker_dispatcher.errors import JournalError
from worker_dispatcher.journal import file
from worker_dispatcher.journal.fingerprint import name_of
from worker_dispatcher.journal.form import JOURNAL
from worker_dispatcher.journal.journal import Journal
from worker_dispatcher.journal.reading import read_journal
from worker_dispatcher.records import OK, Outcome


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.db"


# Files that are refused


def foreign_sqlite(path):
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE rows (seq, first, count, status, facts, seal, payload)")
    db.commit()
    db.close()


def with_pragma(pragma):
    def make(path):
        record(path, [1])
        edit_pragma(path, pragma)

    return make


def edit_pragma(path, pragma):
    db = sqlite3.connect(path)
    db.execute(pragma)
    db.commit()
    db.close()


def with_edit(sql):
    def make(path):
        record(path, [1])
        edit(path, sql) if sql.startswith(("UPDATE", "DELETE", "INSERT")) else edit_pragma(path, sql)

    return make


@pytest.mark.parametrize(("make", "text"), [
    (lambda path: path.write_text("id,name\n1,a\n"), "is not a journal"),
    (lambda path: path.write_bytes(pickle.dumps(Boom("/nowhere/mark"))), "is not a journal"),
    (lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(5000)), "not a journal|damaged"),
    (lambda path: path.write_bytes(bytes(1 << 20)), "is not a journal"),
    (lambda path: path.write_bytes(bytes(100)), "is not a journal"),
    (foreign_sqlite, "is not a journal"),
    (with_pragma("PRAGMA application_id = 7"), "is not a journal"),
    (with_pragma("PRAGMA user_version = 2"), "has version 2, this library reads version 1"),
    (with_edit("CREATE TABLE more (a)"), "damaged at its beginning"),
    (with_edit("CREATE TRIGGER t AFTER INSERT ON rows BEGIN DELETE FROM rows; END"), "damaged at its beginning"),
    (with_edit("UPDATE about SET text = replace(CAST(text AS TEXT), 'work', 'other')"), "damaged at its beginning"),
    (with_edit("UPDATE about SET key = zeroblob(16)"), "damaged at its beginning"),
    (with_edit("UPDATE about SET key = 'x'"), "damaged at its beginning"),
    (with_edit("DELETE FROM about"), "damaged at its beginning"),
])  # fmt: skip
def test_a_file_that_is_not_ours_is_refused_and_left_untouched(path, make, text):
    make(path)
    path.chmod(0o640)
    before, status = files(path), path.stat()
    for use in (opened, read_journal):
        with pytest.raises(JournalError, match=text) as refused:
            use(path)
        assert isinstance(refused.value, ValueError)
        assert refused.value.path == str(path)
    assert files(path) == before
    assert (path.stat().st_mtime_ns, path.stat().st_mode) == (status.st_mtime_ns, status.st_mode)


def test_a_journal_of_a_machine_with_another_byte_order_is_refused(path):
    record(path, [1])
    db = sqlite3.connect(path)
    ((text, key),) = db.execute("SELECT text, key FROM about").fetchall()
    text = text.replace(sys.byteorder.encode(), b"middle")
    db.execute("UPDATE about SET text = ?, seal = ?", (text, blake2b(text, key=key, digest_size=16).digest()))
    db.commit()
    db.close()
    with pytest.raises(JournalError, match="written on a middle-endian machine"):
        opened(path)


def test_a_database_that_this_process_has_open_keeps_its_locks_when_it_is_refused(path):
    foreign_sqlite(path)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError, match="is not a journal"):
        opened(path)
    attempt = f"import sqlite3; sqlite3.connect({str(path)!r}, timeout=0).execute('BEGIN IMMEDIATE')"
    done = subprocess.run([sys.executable, "-c", attempt], capture_output=True, text=True, check=False)
    db.close()
    assert "database is locked" in done.stderr


def test_a_file_that_its_creator_finishes_while_it_is_looked_at_is_a_journal(path, monkeypatch):
    Journal(path, work, Anchor.take()).close()
    whole, real_look = path.read_bytes(), file._look
    path.write_bytes(bytes(4096) + whole[4096:])

    def finished_after(real, form):
        try:
            return real_look(real, form)
        finally:
            path.write_bytes(whole)

    monkeypatch.setattr(file, "_look", finished_after)
    about = file.look(str(path), JOURNAL)
    assert about is not None
    assert about.facts["function"] == name_of(work)


@pytest.mark.parametrize("content", [b"", bytes(4096 * 3)], ids=["empty", "killed while it was made"])
def test_an_empty_or_unfinished_file_becomes_a_journal(path, content):
    path.write_bytes(content)
    assert read_journal(path) == []
    with opened(path) as journal:
        assert journal.created
    record(path, range(3))
    assert resumed(path, range(3)) == {1: 0, 2: 1, 3: 2}


def test_what_a_removed_journal_left_beside_it_is_not_taken_for_the_new_ones(path):
    journal = opened(path)
    journal.seen(1, range(500))
    journal.record_run(1, [1.0] * 500, [2.0] * 500, ["old"] * 500, 1)
    journal.commit()
    log = Path(f"{path}-wal").read_bytes()
    journal.close()
    path.unlink()
    Path(f"{path}-wal").write_bytes(log)
    record(path, range(5), ["new"] * 5)
    assert resumed(path, range(5)) == dict.fromkeys(range(1, 6), "new")


def test_paths_of_all_kinds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    journal = Journal("relative.db", work, EARLIER)
    monkeypatch.chdir("/")
    journal.seen(1, [1])
    journal.record_run(1, [1.0], [2.0], ["r"], 1)
    journal.close()
    odd = tmp_path / "odd ?#%41&mode=memory \udcff é.db"
    os.rename(tmp_path / "relative.db", odd)
    assert resumed(odd, [1]) == {1: "r"}
    assert resumed(os.fsencode(odd), [1]) == {1: "r"}
    (tmp_path / "link.db").symlink_to(odd)
    assert resumed(str(tmp_path / "link.db"), [1]) == {1: "r"}
    (tmp_path / "dangling").symlink_to(tmp_path / "target.db")
    record(tmp_path / "dangling", [1])
    assert (tmp_path / "target.db").is_file()
    assert sorted(os.listdir(tmp_path)) == sorted([odd.name, "link.db", "dangling", "target.db"])


@pytest.mark.parametrize(("name", "text"), [
    ("missing/run.db", "its folder .*missing does not exist"), ("folder", "is a folder"),
    ("pipe", "is not a regular file"),
    ("nul\0.db", "is not a usable path"), ("x" * 300, "File name too long"), ("loop", "is not a usable path|not exist"),
])  # fmt: skip
def test_paths_that_cannot_be(tmp_path, name, text):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(JournalError, match=text):
        opened(f"{tmp_path}/{name}")
    assert sorted(os.listdir(tmp_path)) == before


def test_a_file_that_others_may_write_is_refused(path):
    record(path, [1])
    path.chmod(0o620)
    for use in (opened, read_journal):
        with pytest.raises(JournalError, match="may be written by other users"):
            use(path)
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
        for use in (opened, read_journal):
            with pytest.raises(JournalError, match=r"belongs to another user \(uid 12345\)"):
                use(path)


def test_a_folder_that_may_not_be_written_is_an_error_that_says_so(path):
    record(path, [1])
    path.parent.chmod(0o500)
    try:
        if os.geteuid() == 0:
            for at in (path.parent, *list(path.parent.parents)[:3]):
                at.chmod(at.stat().st_mode | 0o011)
            os.chown(path.parent, 12345, 12345)
            os.chown(path, 12345, 12345)

        def attempt():
            if os.geteuid() == 0:
                os.setresuid(12345, 12345, 12345)
            assert len(read_journal(path)) == 1
            return opened(path)

        assert "its folder must be writable" in in_child(attempt)
    finally:
        path.parent.chmod(0o700)


def test_reading_what_is_not_there_is_an_error(path):
    with pytest.raises(JournalError, match="does not exist"):
        read_journal(path)
    assert os.listdir(path.parent) == []


# Descriptors of this process: to close one drops all its locks on the file


def descriptors_of(path) -> int:
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return sum(os.path.exists(link) and os.path.samefile(link, path) for link in links)


def test_a_refused_run_leaves_the_locks_of_a_reader_in_the_same_process(path, tmp_path):
    record(path, [1, 2], ["a", "b"])
    script = f"""
from pathlib import Path
from worker_dispatcher.journal import form
hold = form.hold({str(path)!r}, {name_of(work)!r}, "")
print("held", flush=True)
input()
hold.release()
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with file.reading(str(path)):
            reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            reader.execute("SELECT count(*) FROM rows").fetchall()
            before = descriptors_of(path)
            with pytest.raises(JournalError, match="is in use by another run"):
                opened(path)
            assert file.is_database(path)
            assert descriptors_of(path) > before  # they wait until the reader is done
            reader.close()
        assert descriptors_of(path) == 0
        other.communicate("\n")
    assert resumed(path, [1, 2]) == {1: "a", 2: "b"}


def test_what_is_held_or_being_read_is_told_without_dropping_its_lock(path, tmp_path):
    (tmp_path / "text").write_text("{}\n")
    assert not file.is_database(tmp_path / "text")
    with pytest.raises(FileNotFoundError):
        file.is_database(tmp_path / "nothing")
    code = f"from worker_dispatcher.journal import form; form.hold({str(path)!r}, {name_of(work)!r}, '')"
    with opened(path) as journal:
        journal.seen(1, [1])
        journal.record_one(Outcome(1, OK, 1.0, 2.0, result="kept"))
        journal.commit()
        for _ in range(3):
            assert file.is_database(path)
            assert len(read_journal(path)) == 1
            done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
            assert "is in use by another run" in done.stderr
    assert descriptors_of(path) == 0
