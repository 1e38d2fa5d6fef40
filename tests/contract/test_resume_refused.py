"""A run with a journal that stops early, meets damage, or is refused."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections import Counter
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from resuming import noting, start, work
from staging import SHAPES

import worker_dispatcher as wd
from worker_dispatcher.dispatch import journal_recorder
from worker_dispatcher.errors import JournalError
from worker_dispatcher.journal import file
from worker_dispatcher.journal import journal as journal_module

pytestmark = pytest.mark.above_the_pools


def content(path: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in path.parent.glob(f"{path.name}*")}


# ---- what stops a run


@pytest.mark.leaves_threads(3)
def test_a_run_that_is_stopped_keeps_what_was_done(path, kept, shape, make_config, notes, wait_until):
    def stays(id):
        notes.add(id)
        if id > 3:
            yield notes.has("the end")
        return id

    config = make_config(shape, stays, 8, {"number": 2}, {"journal": path})
    run = wd.launch(config)
    wait_until(notes.count(5))
    run.cancel()
    run.wait(10)
    begun = set(map(int, notes.all()))
    notes.add("the end")
    assert begun > {1, 2, 3}
    expected = {n: "ok" if n <= 3 else "cancelled" for n in begun}
    assert {n: log["status"] for n, log in kept().items()} == expected
    assert wd.start(config) == list(range(1, 9))
    assert Counter(notes.all()) == Counter(["the end"] + [str(n) for n in (*range(1, 9), *(begun - {1, 2, 3}))])


def test_a_run_can_be_stopped_while_it_looks_tasks_up(path, monkeypatch):
    config = {"task": {"list": 5000, "function": work}, "journal": path, "verbose": False}
    wd.start(config)
    runs: Queue[wd.Run] = Queue()
    seen = journal_module.Journal.seen

    def stopping(self, first, items):
        if first > 1:
            run = runs.get()
            run.cancel()
            runs.put(run)
        return seen(self, first, items)

    monkeypatch.setattr(journal_module.Journal, "seen", stopping)
    run = wd.launch(config)
    runs.put(run)
    run.wait(10)
    assert run.info["stopped"] == "cancel"
    assert 0 < run.info["resumed"] < 5000


# ---- what is refused


def test_another_list_is_refused_before_anything_runs_or_is_written(path, notes, shape, make_config):
    top = {"journal": path}
    wd.start(make_config(shape, noting(notes), ["a", "b", "c", "d"], top=top))
    before, ran = content(path), notes.all()
    for items, said in (
        (["a", "b", "X", "Y", "e"], r"item of task #3 differs \('X' now, 'c' in the journal\); run the same list"),
        (["a", "b"], r"has records up to task #4, the list has 2 tasks"),
        (4, r"the item of task #1 differs"),
    ):
        with pytest.raises(JournalError, match=said) as caught:
            wd.start(make_config(shape, noting(notes), items, top=top))
        assert isinstance(caught.value, ValueError)
        assert str(caught.value).startswith(f"journal {path}")
        with pytest.raises(JournalError, match=said):
            wd.launch(make_config(shape, noting(notes), items, top=top)).wait(10)
    with pytest.raises(JournalError, match=r"belongs to the function .*noting.* this run calls"):
        wd.start(make_config(shape, lambda task: task, ["a", "b", "c", "d"], top=top))
    assert content(path) == before
    assert notes.all() == ran


def test_a_generator_of_other_items_is_refused_as_soon_as_it_shows(path, notes):
    start(path, noting(notes), "abcd".__iter__())
    before = content(path)
    with pytest.raises(JournalError, match="task #2 differs"):
        start(path, noting(notes), iter("aXcd"))
    assert content(path) == before
    with pytest.raises(JournalError, match="has records up to task #4, the list has 3 tasks"):
        start(path, noting(notes), iter("abc"))
    assert sorted(notes.all()) == ["1", "2", "3", "4"]


def test_a_set_is_refused_and_told_to_be_sorted(path):
    for items in ({1, 2}, frozenset("ab")):
        with pytest.raises(wd.ConfigError, match=r"task\.list +a set has another order each time.*sorted") as caught:
            start(path, len, items)
        assert [where for where, _ in caught.value.problems] == ["task.list"]
    assert not path.exists()
    assert start(path, lambda task: task, {"b": 1, "a": 2}) == ["b", "a"]


def test_an_item_that_cannot_be_pickled_is_named(path):
    with pytest.raises(JournalError, match=r"that of task #2 \(_thread\.lock\) cannot: TypeError"):
        start(path, id, [1, threading.Lock()])
    assert wd.read_journal(path) == []


def test_a_result_that_cannot_be_kept_is_its_tasks_error(path, kept, recwarn):
    results = start(path, lambda id: threading.Lock() if id == 2 else id, 4)
    assert [results[n] for n in (0, 2, 3)] == [1, 3, 4]
    assert results[1].status == "error"
    assert results[1].error["message"].startswith("the result or its metadata cannot be kept in the journal: ")
    assert [kept()[n]["status"] for n in (1, 2, 3, 4)] == ["ok", "error", "ok", "ok"]

    def notes_lock(id, metadata):
        if id == 2:
            metadata["lock"] = threading.Lock()
        return id

    other = path.with_name("other.db")
    with pytest.raises(TypeError, match="lock") as caught:
        start(other, notes_lock, 3, {"number": 1}, on_error="raise")
    said = "\n".join(caught.value.__notes__)
    assert "the result or its metadata cannot be kept in the journal" in said
    assert "task #2 of 3, attempt 1" in said


@pytest.mark.parametrize("text", ["", "# not a journal\n", "SQLite format 3\0" + "x" * 5000])
def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(path, text, notes):
    if not text:
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE mine (a)")
        db.close()
    else:
        path.write_text(text)
    before, earlier = content(path), wd.get_results()
    with pytest.raises(ValueError, match=r"^journal .*run\.db: is not a journal of worker_dispatcher"):
        start(path, noting(notes), 3)
    assert content(path) == before
    assert notes.all() == []
    assert wd.get_results() is earlier


def test_a_journal_of_another_version_is_refused(path, notes):
    start(path, noting(notes), 3)
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 7")
    db.close()
    before = content(path)
    with pytest.raises(JournalError, match="has version 7, this library reads version 1"):
        start(path, noting(notes), 3)
    assert content(path) == before


def test_a_journal_in_use_is_refused(path, notes, wait_until):
    def waits():
        notes.add("runs")
        yield notes.has("go")

    run = wd.launch(
        {"task": {"list": 2, "function": SHAPES["threads"].function(waits)}, "journal": path, "verbose": False}
    )
    wait_until(notes.has("runs"))
    with pytest.raises(JournalError, match="is in use by another run"):
        start(path, noting(notes), 3)
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.glob("run.db*")}
    assert modes == dict.fromkeys(("run.db", "run.db-wal", "run.db-shm"), 0o600)
    notes.add("go")
    run.wait(10)
    assert os.listdir(path.parent).count("run.db-wal") == 0


def test_a_run_that_ends_before_it_begins_lets_the_journal_go(path, monkeypatch):
    def press(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt  # as Ctrl-C does while the terminal does not take the opening lines

    with monkeypatch.context() as patched:
        patched.setattr("builtins.print", press)
        with pytest.raises(KeyboardInterrupt):
            start(path, work, 3, top={"verbose": True, "progress": False})
    assert start(path, work, 3) == [1, 2, 3]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "must be a path or None, got int 3"),
        (True, "must be a path or None, got bool True"),
        (b"run.db", "must be a path or None, got bytes b'run.db'"),
        ("", "must be the path of a file, got str ''"),
        ("a\0b", "must be the path of a file, got str"),
    ],
)
def test_what_is_no_path_is_refused(value, said):
    with pytest.raises(wd.ConfigError) as caught:
        wd.start({"journal": value})
    ((where, text),) = caught.value.problems
    assert where == "journal"
    assert said in text
    assert "'run.db'" in text


def test_a_bad_config_beside_a_journal_leaves_no_file(path):
    load = {"enabled": True, "abort_on": ["nonsense"]}
    with pytest.raises(wd.ConfigError):
        start(path, len, [[]], {"frequency_mode": load})
    with pytest.raises(wd.ConfigError, match="cannot be sent"):
        start(path, len, [[]], {"use_processing": True}, config={"lock": threading.Lock()})
    assert not path.exists()


# ---- damage, a full disk


def test_damaged_rows_run_again(path, notes):
    start(path, noting(notes), 6, {"number": 1})
    db = sqlite3.connect(path)
    db.execute("UPDATE rows SET payload = zeroblob(length(payload)) WHERE first = 3")
    db.commit()
    damaged = sum(count for (count,) in db.execute("SELECT count FROM rows WHERE first = 3"))
    db.close()
    notes.path.unlink()
    assert start(path, noting(notes), 6) == [[{}, n] for n in range(1, 7)]
    assert notes.count(damaged)()
    assert len(notes.all()) == damaged


def test_a_torn_tail_is_dropped_and_its_tasks_run_again(path, notes, wait_until):
    """The log is cut in the middle of what was written last, as a lost write would leave it."""

    def waits(id):
        notes.add(id)
        if id > 4:
            yield notes.has("go")
        return id

    function = SHAPES["threads"].function(waits)
    run = wd.launch(
        {"task": {"list": 6, "function": function}, "worker": {"number": 2}, "journal": path, "verbose": False}
    )
    wait_until(lambda: len(wd.read_journal(path)) == 4)
    torn = path.with_name("torn.db")
    log = Path(f"{path}-wal").read_bytes()
    torn.write_bytes(path.read_bytes())
    Path(f"{torn}-wal").write_bytes(log[:-100])
    torn.chmod(0o600)
    notes.add("go")
    run.wait(10)
    known = {one["task_id"] for one in wd.read_journal(torn)}
    assert len(known) < 4
    notes.path.write_text("go\n")
    assert start(torn, function, 6) == [1, 2, 3, 4, 5, 6]
    assert set(notes.all()) == {"go"} | {str(n) for n in range(1, 7) if n not in known}


@pytest.mark.each_value
@pytest.mark.parametrize("batched", [False, True])
def test_a_full_disk_stops_the_run_and_resume_works_once_there_is_room(
    path, kept, notes, monkeypatch, batched, shape, make_config
):
    if batched:
        monkeypatch.setattr(journal_recorder, "_REST", 1000)
    room = ["a little"]
    connect = file.LockedFile.__init__

    def small(self, *args):
        connect(self, *args)
        if room:
            self.db.execute("PRAGMA max_page_count = 12")

    monkeypatch.setattr(file.LockedFile, "__init__", small)
    function = noting(notes)
    config = make_config(shape, function, 2000, {"number": 2}, {"journal": path})
    with pytest.raises(JournalError, match="the disk is full; what was recorded before is kept: make room") as caught:
        wd.start(config)
    assert isinstance(caught.value, ValueError)
    info, logs = wd.get_result_info(), wd.get_logs()
    assert info["stopped"] == "journal"
    assert sum(info["counts"].values()) == 2000
    assert info["counts"]["not_run"] > 0
    ok = {log["task_id"] for log in logs if log["status"] == "ok"}
    durable = {n for n, log in kept().items() if log["status"] == "ok"}
    assert durable <= ok  # what ended is readable, whether or not there was room for it
    assert durable
    room.clear()
    notes.path.unlink()
    assert wd.start(config) == [[{}, n] for n in range(1, 2001)]
    assert sorted(map(int, notes.all())) == sorted(set(range(1, 2001)) - durable)


def test_what_could_not_be_written_is_not_told(path, kept, monkeypatch):
    connect = file.LockedFile.__init__

    def small(self, *args):
        connect(self, *args)
        self.db.execute("PRAGMA max_page_count = 12")

    monkeypatch.setattr(file.LockedFile, "__init__", small)
    run = wd.launch({"task": {"list": 3000, "function": lambda id: "x" * 50}, "journal": path, "verbose": False})
    told = set()
    with pytest.raises(JournalError, match="the disk is full"):
        told.update(log["task_id"] for log in run)
    with pytest.raises(JournalError, match="the disk is full"):
        run.wait(10)
    assert told == set(kept())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_refused(path, notes):
    path.parent.chmod(0o500)
    try:
        with pytest.raises(JournalError, match="cannot be used"):
            start(path, noting(notes), 3)
    finally:
        path.parent.chmod(0o700)
