"""The journal: what is recorded comes back, and when; who may use it at a time."""

from __future__ import annotations

import os
import pickle
import shutil
import socket
import stat
import sys
import time
import tracemalloc
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from journals import EARLIER, LATER, Exits, by_id, files, in_child, opened, record, resumed

from worker_dispatcher.clock import now
from worker_dispatcher.errors import JournalError, TaskFailure
from worker_dispatcher.journal.reading import read_journal
from worker_dispatcher.journal.row_format import PIECE
from worker_dispatcher.records import CRASHED, ERROR, OK, TIMEOUT, Failure, Outcome

KEYS = [
    *("task_id", "started_at", "ended_at", "duration", "result", "metadata", "status", "error", "attempts"),
    *("worker", "pid"),
]


class WillNotLoad:
    def __reduce__(self):
        return int, ("not a number",)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.db"


# What comes back


def test_a_task_comes_back_with_all_that_was_recorded_of_it(path):
    items = ["a", "b", "c"]
    record(path, items, [1, None, {"x": 2}], worker=[1, 2, 3], metadata={2: {"k": (1,)}}, attempts={3: 4})
    with opened(path, anchor=LATER) as journal:
        assert (journal.created, journal.last_id, journal.ok_count, journal.code_changed) == (False, 3, 3, False)
        (found,) = journal.seen(1, items)
    assert (found.first, found.results) == (1, [1, None, {"x": 2}])
    assert list(found.workers) == [1, 2, 3]
    assert (found.metadata, found.attempts) == ({2: {"k": (1,)}}, {3: 4})
    assert [LATER.wall_at(at) for at in found.starts] == [EARLIER.wall_at(5000.0 + nth) for nth in range(3)]
    assert [end - start for start, end in zip(found.starts, found.ends, strict=True)] == pytest.approx([0.5] * 3)


def test_a_row_is_given_back_in_the_parts_in_which_the_list_is_drawn(path):
    record(path, range(10), metadata={2: {"a": 1}, 9: {"b": 2}}, attempts={3: 5, 8: 2})
    with opened(path) as journal:
        (head,) = journal.seen(1, range(4))
        assert (head.metadata, head.attempts) == ({2: {"a": 1}}, {3: 5})
        (middle,) = journal.seen(5, range(4, 7))
        assert (middle.first, middle.results, list(middle.starts)) == (5, [4, 5, 6], [5004.0, 5005.0, 5006.0])
        assert journal.seen(8, range(7, 12))[0].metadata == {9: {"b": 2}}
        assert journal.seen(13, range(12, 20)) == []


def test_gaps_stay_open_and_failed_tasks_run_again(path):
    with opened(path) as journal:
        journal.seen(1, range(8))
        journal.record_run(5, [1.0, 2.0], [1.5, 2.5], ["five", "six"], 1)
        journal.record_one(Outcome(2, OK, 1.0, 2.0, result="two", attempts=3, metadata={"m": 1}))
        journal.record_one(Outcome(3, ERROR, 1.0, 2.0, failure=Failure("ValueError", "no")))
        journal.record_one(Outcome(4, CRASHED, 1.0, 2.0, failure=Failure("WorkerDied", "gone", status=CRASHED)))
    with opened(path) as journal:
        assert (journal.last_id, journal.ok_count) == (6, 3)
        found = journal.seen(1, range(8))
        assert by_id(found) == {2: "two", 5: "five", 6: "six"}
        assert (found[0].attempts, found[0].metadata) == ({2: 3}, {2: {"m": 1}})
        journal.record_one(Outcome(3, OK, 3.0, 4.0, result="three"))
    assert resumed(path, range(8)) == {2: "two", 3: "three", 5: "five", 6: "six"}
    assert [log["status"] for log in read_journal(path)] == ["ok", "ok", "crashed", "ok", "ok"]


@pytest.mark.parametrize(
    "value",
    [
        0,
        "",
        None,
        [],
        float("inf"),
        2**100,
        "\udcff",
        b"\x00" * 70_000,
        "é" * 70_000,
        b"y" * (PIECE - 1),
        b"y" * PIECE,
        [b"z" * (PIECE // 2)] * 5,
        {1, 2},
        ValueError("v"),
        (lambda: 1),
        TaskFailure(1, "error", None, 1),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_results_of_any_picklable_kind_come_back(path, value):
    record(path, [1, 2], [value, "other"])
    back = resumed(path, [1, 2])
    assert back[2] == "other"
    assert type(back[1]) is type(value)
    if isinstance(value, Exception):
        assert back[1].args == value.args
    elif callable(value):
        assert back[1]() == 1
    else:
        assert back[1] == value


@pytest.mark.parametrize("made", [
    lambda: np.arange(PIECE // 8), lambda: np.arange(PIECE // 8 + 1), lambda: np.arange(3 * PIECE, dtype="u1"),
    lambda: np.arange(300_000.0).reshape(2, 5, -1), lambda: np.asfortranarray(np.arange(300_000.0).reshape(500, -1)),
    lambda: np.arange(300_000.0)[::3], lambda: np.zeros((0, 4)), lambda: np.array([1, "a", None], dtype=object),
    lambda: np.array(3.5), lambda: np.frombuffer(bytes(100_000), "u1"),
])  # fmt: skip
def test_arrays_come_back_as_they_were(path, made):
    given = made()
    record(path, [1, 2], [given, [given[:1] if given.ndim else given]])
    back = resumed(path, [1, 2])
    assert (back[1].dtype, back[1].shape, back[1].tolist()) == (given.dtype, given.shape, given.tolist())
    assert isinstance(back[2][0], np.ndarray)
    if given.size > 10_000 and given.flags.writeable:
        back[1][...] = 0  # the user's own, to be changed


def test_a_large_array_is_never_in_memory_a_second_time(path):
    size = 16 * PIECE
    given = np.ones(size, "u1")
    tracemalloc.start()
    try:
        record(path, [1], [given])
        assert tracemalloc.get_traced_memory()[1] < size // 4
        tracemalloc.reset_peak()
        back = resumed(path, [1])
        assert tracemalloc.get_traced_memory()[1] < size * 5 // 4
    finally:
        tracemalloc.stop()
    assert back[1].sum() == size
    assert path.stat().st_size > size


def test_a_result_that_cannot_be_pickled_or_loaded_is_that_tasks_error_only(path):
    results = ["a", Exits(), "c", WillNotLoad(), socket.socket()]
    with results[4], opened(path) as journal:
        journal.seen(1, range(5))
        assert not journal.record_run(1, [1.0] * 5, [2.0] * 5, results, [1, 2, 3, 4, 5], {3: {"m": 1}}, {3: 2})
        for task_id, result in enumerate(results, 1):
            more = {"attempts": 2, "metadata": {"m": 1}} if task_id == 3 else {}
            error = journal.record_one(Outcome(task_id, OK, 1.0, 2.0, result=result, worker=task_id, **more))
            assert type(error) is {2: SystemExit, 4: ValueError, 5: TypeError}.get(task_id, type(None))
        failure = Failure("TypeError", "cannot be pickled")
        assert journal.record_one(Outcome(2, ERROR, 1.0, 2.0, failure=failure, metadata={"bad": Exits()})) is None
    assert resumed(path, range(5)) == {1: "a", 3: "c"}
    logs = read_journal(path)
    assert [(log["task_id"], log["status"], log["worker"]) for log in logs] == [
        (1, "ok", 1), (2, "error", None), (3, "ok", 3),
    ]  # fmt: skip
    assert (logs[2]["metadata"], logs[2]["attempts"]) == ({"m": 1}, 2)


def test_a_result_that_this_process_cannot_load_is_an_error_and_does_not_run_again(path, monkeypatch):
    module = type(sys)("a_module_that_goes")
    exec("class Thing:\n    pass", module.__dict__)
    module.Thing.__module__ = module.__name__
    monkeypatch.setitem(sys.modules, module.__name__, module)
    record(path, [1, 2], [1, module.Thing()])
    monkeypatch.delitem(sys.modules, module.__name__)
    with pytest.raises(
        JournalError, match="cannot be loaded: ModuleNotFoundError: No module named 'a_module_that_goes'"
    ):
        resumed(path, [1, 2])
    placeholder = read_journal(path)[1]["result"]
    assert placeholder
    assert "ModuleNotFoundError" in repr(placeholder)


# When it is on disk


def test_a_record_can_be_read_once_it_is_committed_and_not_before(path):
    with opened(path) as journal:
        journal.seen(1, range(4))
        assert (journal.commit(), journal.due) == ([], float("inf"))
        before = now()
        journal.record_run(1, [1.0, 1.0], [2.0, 2.0], [1, 2], 1)
        due = journal.due
        assert before < due <= now() + 0.05
        time.sleep(0.002)
        journal.record_one(Outcome(4, TIMEOUT, 1.0, 2.0, failure=Failure("TaskTimeout", "late", status=TIMEOUT)))
        assert journal.due == due
        assert read_journal(path) == []
        assert journal.commit() == [(1, 2), (4, 1)]
        assert [log["task_id"] for log in read_journal(path)] == [1, 2, 4]
        assert (journal.commit(), journal.due) == ([], float("inf"))


def test_it_may_be_used_by_another_thread_than_the_one_that_opened_it(path):
    journal = opened(path)

    def drive():
        journal.seen(1, range(2))
        journal.record_run(1, [1.0], [2.0], ["a"], 1)
        return journal.commit()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(drive).result() == [(1, 1)]
    journal.close()
    assert resumed(path, range(2)) == {1: "a"}


def test_large_results_do_not_wait_for_others(path):
    with opened(path) as journal:
        journal.seen(1, range(2))
        journal.record_run(1, [1.0], [2.0], [np.ones(9 << 20, "u1")], 1)
        assert journal.due < now()


def test_a_task_is_recorded_only_after_its_item_was_seen(path):
    with opened(path) as journal:
        journal.seen(1, range(2))
        with pytest.raises(ValueError, match="task #3 is recorded before"):
            journal.record_run(2, [1.0] * 2, [2.0] * 2, [1, 2], 1)


def test_the_columns_of_a_run_may_be_arrays_and_a_run_may_be_empty(path):
    with opened(path) as journal:
        journal.seen(1, range(2))
        journal.record_run(1, array("d", [1.0, 2.0]), array("d", [1.5, 2.5]), ["a", "b"], array("l", [7, 8]))
        journal.record_run(3, [], [], [], 1)
        assert journal.commit() == [(1, 2)]
    assert [(log["worker"], log["duration"]) for log in read_journal(path)] == [(7, 0.5), (8, 0.5)]


def test_all_its_files_are_0600_and_one_is_left(path):
    mask = os.umask(0)
    try:
        with opened(path) as journal:
            journal.seen(1, [1])
            journal.record_run(1, [1.0], [2.0], [1], 1)
            journal.commit()
            modes = {name: stat.S_IMODE(Path(path.parent, name).stat().st_mode) for name in os.listdir(path.parent)}
    finally:
        os.umask(mask)
    assert modes == {"run.db": 0o600, "run.db-wal": 0o600, "run.db-shm": 0o600}
    assert os.listdir(path.parent) == ["run.db"]
    path.chmod(0o644)
    with opened(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_resuming_and_reading_write_nothing(path):
    record(path, range(100))
    before, changed = files(path), path.stat().st_mtime_ns
    assert len(resumed(path, range(100))) == 100
    assert len(read_journal(path)) == 100
    assert (files(path), path.stat().st_mtime_ns) == (before, changed)


# One run at a time


def test_a_journal_in_use_is_refused_everywhere_and_free_once_it_is_closed(path):
    with opened(path) as journal:
        journal.seen(1, range(2))
        for _ in range(2):  # refusing must not drop the lock
            with pytest.raises(JournalError, match="is in use by another run"):
                opened(path)
            assert "is in use by another run" in in_child(lambda: opened(path))
        path.parent.joinpath("link").symlink_to(path)
        with pytest.raises(JournalError, match="is in use"):
            opened(path.parent / "link")
        assert read_journal(path) == []  # reading must not drop it either
        assert "is in use by another run" in in_child(lambda: opened(path))
        assert in_child(lambda: len(read_journal(path))) == "0"
        assert "is in use by another run" in in_child(lambda: opened(path))
        journal.record_run(1, [1.0], [2.0], ["a"], 1)
        journal.commit()
    assert in_child(lambda: resumed(path, range(2))) == "{1: 'a'}"


def test_a_copy_is_another_journal(path, tmp_path):
    with opened(path) as journal:
        journal.seen(1, range(2))
        journal.record_run(1, [1.0], [2.0], ["a"], 1)
        journal.commit()
        in_child(lambda: [shutil.copy(f"{path}{tail}", f"{tmp_path}/copy{tail}") for tail in ("", "-wal")])
        with opened(tmp_path / "copy", anchor=LATER) as copy:
            assert by_id(copy.seen(1, range(2))) == {1: "a"}
            copy.record_run(2, [1.0], [2.0], ["in the copy"], 1)
        assert "is in use" in in_child(lambda: opened(path))
    assert resumed(path, range(2)) == {1: "a"}
    assert resumed(tmp_path / "copy", range(2)) == {1: "a", 2: "in the copy"}


def test_a_lock_dropped_by_a_stray_close_is_taken_again_with_the_next_commit(path):
    with opened(path) as journal:
        journal.seen(1, range(2))
        path.read_bytes()  # closes a descriptor of the file: POSIX drops all locks of the process on it
        journal.record_run(1, [1.0], [2.0], ["a"], 1)
        journal.commit()
        assert "is in use" in in_child(lambda: opened(path))


def test_a_forked_child_neither_holds_nor_uses_nor_ends_it(path):
    journal = opened(path)
    journal.seen(1, range(2))
    journal.record_run(1, [1.0], [2.0], ["a"], 1)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)  # until the parent is done
        os._exit(0)
    os.close(read)
    assert "opened by another process" in in_child(journal.commit)
    assert in_child(journal.close) == "None"
    assert journal.commit() == [(1, 1)]
    journal.close()
    assert resumed(path, range(2)) == {1: "a"}  # while the child lives
    os.close(write)
    os.waitpid(pid, 0)


@pytest.mark.parametrize("lose", [os.unlink, lambda path: os.replace(shutil.copy(path, f"{path}.2"), path)])
def test_a_file_that_is_removed_or_replaced_meanwhile_is_an_error(path, lose):
    journal = opened(path)
    journal.seen(1, range(2))
    journal.record_run(1, [1.0], [2.0], ["a"], 1)
    lose(path)
    with pytest.raises(JournalError, match="was removed or replaced"):
        journal.commit()
    with pytest.raises(JournalError, match="was removed or replaced"):
        journal.record_run(2, [1.0], [2.0], ["b"], 1)
    journal.close()


def test_closing_twice_is_once_and_what_is_closed_is_not_written(path):
    journal = opened(path)
    journal.seen(1, [1])
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="is closed"):
        journal.record_run(1, [1.0], [2.0], ["a"], 1)
    assert journal.commit() == []


# Reading


def test_records_are_read_as_get_logs_gives_them(path):
    with opened(path) as journal:
        journal.pids = {2: 4711}
        journal.seen(1, range(3))
        journal.record_one(
            Outcome(3, ERROR, 5010.0, 5011.0, failure=Failure("ValueError", "no", "trace"), worker=2, attempts=2)
        )
        journal.record_run(1, [5001.0], [5002.5], [{"r": 1}], 1, {1: {"m": 1}})
        journal.commit()
        one, three = read_journal(path)
    assert list(one) == KEYS
    assert list(three) == [*KEYS, "task", "input"]
    assert one == dict(
        zip(
            KEYS,
            (1, EARLIER.wall_at(5001.0), EARLIER.wall_at(5002.5), 1.5, {"r": 1}, {"m": 1}, "ok", None, 1, 1, None),
            strict=True,
        )
    )
    error = {"type": "ValueError", "message": "no", "traceback": "trace"}
    assert (three["status"], three["error"], three["attempts"]) == ("error", error, 2)
    assert (three["worker"], three["pid"]) == (2, 4711)
    assert three["result"] == TaskFailure(3, "error", error, 2)


def test_more_rows_are_read_than_one_read_takes(path):
    with opened(path) as journal:
        journal.seen(1, range(1000))
        for task_id in range(1, 1001):
            journal.record_run(task_id, [1.0], [2.0], [task_id], 1)
            if task_id % 7 == 0:
                journal.commit()
        assert [log["result"] for log in read_journal(path)] == list(range(1, 1000 - 1000 % 7 + 1))


def test_a_journal_error_survives_pickling():
    error = JournalError("/a/run.db", "is in use", 3)
    back = pickle.loads(pickle.dumps(error))
    assert (str(back), back.path, back.problem, back.task_id) == ("journal /a/run.db: is in use", *error.args)
