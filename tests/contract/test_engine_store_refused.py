"""Files that are no store of jobs, or not as they were written; and stores that cannot be written any more."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from worker_dispatcher import JournalError, read_journal, start
from worker_dispatcher.engine import Engine, EngineSetting, Job, StoreError, ThreadJob
from worker_dispatcher.engine.rows import read_store
from worker_dispatcher.execute import catch
from worker_dispatcher.journal import file

QUIET = EngineSetting(print_traceback=False)


def add(a: int, b: int = 0) -> int:
    return a + b


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nightly.jobs"


def fill(path: Path, count: int = 5) -> None:
    with Engine(QUIET, store=path) as engine:
        engine.submit(*(ThreadJob(add, (number, 1), id=f"job {number}") for number in range(count)))


def refusal(path: Path) -> str:
    """What is said of the file, by all who open it; it stays as it is."""
    before = path.read_bytes()
    said = set()
    for open_it in (lambda: Engine(store=path), lambda: Engine(store=path, resume=True), lambda: read_store(path)):
        with pytest.raises(StoreError) as caught:
            open_it()
        said.add(str(caught.value))
    assert path.read_bytes() == before
    (text,) = said
    assert text.startswith(f"store of jobs {path}: ")
    return text


def edited(path: Path, sql: str) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(sql)
    db.close()


FOREIGN: dict[str, Callable[[Path], Any]] = {
    "a text": lambda path: path.write_text("jobs\n" * 2000),
    "another database": lambda path: edited(path, "CREATE TABLE jobs (id)"),
    "a journal": lambda path: start({"task": {"list": [1], "function": add}, "journal": path, "verbose": False}),
}


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_file_is_refused(path: Path, make: Callable[[Path], Any]) -> None:
    make(path)
    assert "is not a store of jobs of worker_dispatcher; it is left as it is" in refusal(path)


def test_a_store_is_no_journal(path: Path) -> None:
    fill(path)
    with pytest.raises(JournalError, match="is not a journal of worker_dispatcher"):
        read_journal(path)


def test_a_store_of_another_version_is_refused(path: Path) -> None:
    fill(path)
    edited(path, "PRAGMA user_version = 7")
    assert "has version 7, this library reads version 1" in refusal(path)


@pytest.mark.parametrize("column", ["id", "status", "attempts", "needs", "why", "ended"])
def test_a_row_that_others_have_written_is_refused(path: Path, column: str) -> None:
    fill(path)
    edited(path, f"UPDATE jobs SET {column} = 'other' WHERE number = 3")
    text = refusal(path)
    assert "is damaged: the row of job" in text
    assert "take a copy that is whole, or remove it to begin anew" in text


def test_a_result_that_others_have_written_is_told_by_who_asks_for_it(path: Path) -> None:
    fill(path)
    edited(path, "UPDATE jobs SET result = (SELECT result FROM jobs WHERE number = 2) WHERE number = 3")
    engine = Engine(store=path, resume=True)
    with pytest.raises(StoreError, match=r"is damaged: the result of job add \(job 2\) is not as it was written"):
        engine.jobs.get_job_by_id("job 2").result()
    assert engine.jobs.get_job_by_id("job 1").result() == 2


def test_a_call_that_others_have_written_is_never_loaded(path: Path) -> None:
    fill(path)
    edited(path, "UPDATE jobs SET call = (SELECT call FROM jobs WHERE number = 2) WHERE number = 3")
    with pytest.raises(StoreError, match=r"is damaged: the call of job add \(job 2\)"):
        Engine(store=path, resume=True)


@pytest.mark.parametrize("part", [0.1, 0.3, 0.6, 0.9, 0.999])
def test_a_file_that_was_cut_is_refused(path: Path, part: float) -> None:
    fill(path, 100)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    assert "damaged" in refusal(path) or "is not a store" in refusal(path)


def test_a_flipped_byte_is_found_or_changes_nothing(path: Path) -> None:
    fill(path, 20)
    whole, chance, found = path.read_bytes(), random.Random(7), 0
    for at in sorted(chance.sample(range(len(whole)), 150)):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        results, error = catch(lambda: [job.result() for job in Engine(store=path, resume=True).jobs])
        assert results == [number + 1 for number in range(20)] or isinstance(error, StoreError), at
        assert error is None or str(path) in str(error)
        found += error is not None
        del error
    assert found


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many pages a store may have, while it says."""
    pages, connect = [30], file.connect

    def small(*arguments: Any) -> sqlite3.Connection:
        db = connect(*arguments)
        if pages:
            db.execute(f"PRAGMA max_page_count = {pages[0]}")
        return db

    monkeypatch.setattr(file, "connect", small)
    return pages


def many(note: Path) -> list[Job]:
    return [ThreadJob(noted, (str(note), number), id=f"job {number}") for number in range(300)]


def submit_each(engine: Engine, jobs: Sequence[Job]) -> None:
    with engine:
        for job in jobs:
            engine.submit(job)


def submit_each_and_wait(engine: Engine, jobs: Sequence[Job]) -> None:
    engine.submit(*jobs)
    engine.wait(30)


def noted(path: str, number: int) -> str:
    with open(path, "a") as note:
        note.write(f"{number}\n")
    time.sleep(0.001)
    return "x" * 500


def test_a_full_disk_is_an_error_that_says_so_and_resume_works_once_there_is_room(
    path: Path, tmp_path: Path, room: list[int]
) -> None:
    note, engine = tmp_path / "note", Engine(QUIET, store=path)
    with pytest.raises(StoreError, match=r"the disk is full.*make room and make the engine again with resume=True"):
        submit_each(engine, many(note))
    ended = [job for job in engine.jobs if job.status == "done"]
    assert all(job.future.result(30) == "x" * 500 for job in ended), "what has ended is told all the same"
    assert not engine.jobs.pending
    assert not engine.jobs.running
    engine.start()
    with pytest.raises(StoreError, match="the disk is full"):
        engine.submit(ThreadJob(add, (1,)))
    engine.stop()
    room.clear()
    durable = {row.id for row in read_store(path)[1] if row.status == "done"}
    assert durable <= {job.id for job in ended}
    note.unlink()
    with Engine(QUIET, store=path, resume=True) as engine:
        engine.submit(*many(note))
        engine.wait()
    assert len(engine.jobs.done) == 300
    ran = note.read_text().split()
    assert len(ran) == len(set(ran)) == 300 - len(durable)


def test_who_waits_while_the_disk_gets_full_is_told(path: Path, tmp_path: Path, room: list[int]) -> None:
    gate = threading.Event()
    engine = Engine(EngineSetting(max_jobs=1, print_traceback=False), store=path)
    engine.start()
    slow = ThreadJob(lambda gate: "y" * 400_000 * gate.wait(30), (None,))
    slow.args = (Gate(gate),)
    waits = ThreadJob(add, (1,))
    engine.submit(slow, waits)
    gate.set()
    assert slow.future.result(30) == "y" * 400_000
    with pytest.raises(CancelledError):
        waits.future.result(30)
    with pytest.raises(StoreError, match="the disk is full"):
        engine.wait_job(waits, 30)
    with pytest.raises(StoreError, match="the disk is full"):
        engine.wait(30)
    engine.stop()


class Gate:
    """An event that can be pickled, for want of a better one."""

    def __init__(self, event: threading.Event | None) -> None:
        self.event = event

    def wait(self, timeout: float) -> bool:
        return self.event is None or self.event.wait(timeout)

    def __reduce__(self) -> Any:
        return Gate, (None,)


@pytest.mark.parametrize("tail", ["", "-wal"])
def test_a_store_that_is_taken_away_is_an_error(path: Path, tail: str) -> None:
    engine = Engine(QUIET, store=path)
    engine.start()
    engine.submit(ThreadJob(add, (1, 2), id="first"))
    engine.wait()
    os.unlink(f"{path}{tail}")
    with pytest.raises(StoreError, match="was removed or replaced while it was in use"):
        submit_each_and_wait(engine, [ThreadJob(add, (1, 2), id="second")])
    engine.stop()
    assert engine.jobs.get_job_by_id("first").result() == 3
    assert engine.jobs.get_job_by_id("second").status in ("done", "cancelled")
    if tail:
        assert [row.id for row in read_store(path)[1]][:1] == ["first"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"its folder {tmp_path}/none does not exist; create it first"):
        Engine(store=tmp_path / "none" / "x.jobs")
