"""The journal: what comes back and what does not, which files are refused, who may use one, and when it is on disk."""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import pickle
import resource
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import time
import tracemalloc
from array import array
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

from worker_dispatcher.clock import Anchor, now
from worker_dispatcher.errors import JournalError
from worker_dispatcher.journal import Journal, Recorded, file, read_journal
from worker_dispatcher.journal.fingerprint import NoDigest, code_of, digests, name_of
from worker_dispatcher.journal.rows import PIECE
from worker_dispatcher.records import CRASHED, ERROR, OK, TIMEOUT, Failure, TaskFailure

EARLIER = Anchor(1_700_000_000.25, 5000.0)  # another boot of the machine: monotonic time began anew
LATER = Anchor(1_700_009_999.5, 77.0)
KEYS = [
    *("task_id", "started_at", "ended_at", "duration", "result", "metadata", "status", "error", "attempts"),
    *("worker", "pid"),
]


def work(task):
    return task


def other(task):
    return task


class Boom:
    """Loading it leaves a mark."""

    mark = ""

    def __init__(self, mark=""):
        self.mark = str(mark)

    def __reduce__(self):
        return open, (self.mark, "w")


class Exits:
    def __reduce__(self):
        raise SystemExit(3)


class OddError(Exception):
    def __str__(self):
        raise self


class RaisesOdd:
    def __reduce__(self):
        raise OddError


class WillNotLoad:
    def __reduce__(self):
        return int, ("not a number",)


class Node:
    def __init__(self, name):
        self.name, self.me, self.others = name, self, [name, self]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.db"


def opened(path, function=work, anchor=EARLIER) -> Journal:
    return Journal(path, function, anchor)


def record(path, items, results=None, *, first=1, worker=3, **more) -> None:
    """One run that ends all these tasks ok."""
    with opened(path) as journal:
        journal.seen(1, items)
        results = list(items if results is None else results)
        times = [5000.0 + nth for nth in range(len(results))]
        ends = [at + 0.5 for at in times]
        assert journal.record_run(first, times, ends, results, worker, **more) == {}


def resumed(path, items, function=work) -> dict[int, object]:
    with opened(path, function, LATER) as journal:
        return by_id(journal.seen(1, items))


def by_id(found: list[Recorded]) -> dict[int, object]:
    return {one.first + nth: result for one in found for nth, result in enumerate(one.results)}


def in_child(function: Callable[[], object]) -> str:
    """What a forked child makes of it: its text, or that of the error it raised."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = str(function())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(write, text.encode()[:4000])
        os._exit(0)
    os.close(write)
    with open(read, "rb") as end:
        text = end.read().decode()
    os.waitpid(pid, 0)
    return text


def edit(path, sql, *values) -> None:
    """Change the file as a bad disk or a stranger would."""
    db = sqlite3.connect(path)
    assert db.execute(sql, values).rowcount != 0
    db.commit()
    db.close()


def files(path) -> dict[str, bytes]:
    return {name: Path(path.parent, name).read_bytes() for name in os.listdir(path.parent)}


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
        journal.record_one(2, OK, 1.0, 2.0, result="two", attempts=3, metadata={"m": 1})
        journal.record_one(3, ERROR, 1.0, 2.0, failure=Failure("ValueError", "no"))
        journal.record_one(4, CRASHED, 1.0, 2.0, failure=Failure("WorkerDied", "gone", status=CRASHED))
    with opened(path) as journal:
        assert (journal.last_id, journal.ok_count) == (6, 3)
        found = journal.seen(1, range(8))
        assert by_id(found) == {2: "two", 5: "five", 6: "six"}
        assert (found[0].attempts, found[0].metadata) == ({2: 3}, {2: {"m": 1}})
        journal.record_one(3, OK, 3.0, 4.0, result="three")
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
        refused = journal.record_run(1, [1.0] * 5, [2.0] * 5, results, [1, 2, 3, 4, 5], {3: {"m": 1}}, {3: 2})
        assert {task_id: type(error) for task_id, error in refused.items()} == {
            2: SystemExit, 4: ValueError, 5: TypeError,
        }  # fmt: skip
        assert isinstance(journal.record_one(2, OK, 1.0, 2.0, result=Exits()), SystemExit)
        failure = Failure("TypeError", "cannot be pickled")
        assert journal.record_one(2, ERROR, 1.0, 2.0, failure=failure, metadata={"bad": Exits()}) is None
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
        journal.record_one(4, TIMEOUT, 1.0, 2.0, failure=Failure("TaskTimeout", "late", status=TIMEOUT))
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


# Items and functions


def holding_itself(values: list) -> list:
    return [*values, {"back": values}, values.append(values)]


SAME = [
    (["xy", "xy"], lambda: ["xy", "".join(["x", "y"])]),
    ([b"xy", b"xy"], lambda: [b"xy", bytes([120, 121])]),
    ((1, (2, 3), (2, 3)), lambda: (1, tuple(range(2, 4)), tuple(range(2, 4)))),
    ({"a": "v", "v": "a"}, lambda: {"".join("a"): "".join(["v"]), "v": "a"}),
    ({"s": {"x", "y", "z"}, "f": frozenset(["x", "y"])}, lambda: {"s": {"z", "y", "x"}, "f": frozenset(["y", "x"])}),
    ({1, frozenset({"a", "b"}), (2, "c")}, lambda: {(2, "c"), frozenset({"b", "a"}), 1}),
    (np.arange(5.0), lambda: np.array([0.0, 1.0, 2.0, 3.0, 4.0])),
    ([np.arange(100_000), {"x"}], lambda: [np.arange(100_000), {"x"}]),
    (10**30, lambda: int("1" + "0" * 30)),
    (float("nan"), lambda: float("nan")),
    ("\x8f\x91\udcff", lambda: "".join(["\x8f", "\x91", "\udcff"])),
    (b"\x8f\x91" * 50_000, lambda: bytes([0x8F, 0x91]) * 50_000),
    (OrderedDict(a=1), lambda: OrderedDict([("a", 1)])),
    (holding_itself(["ab", "ab", b"c", b"c"]), lambda: holding_itself(["ab", "".join("ab"), b"c", bytes([99])])),
    (Node("deep"), lambda: Node("".join(["de", "ep"]))),
]


@pytest.mark.parametrize(("one", "make"), SAME, ids=lambda value: type(value).__name__)
def test_equal_items_have_one_digest_whatever_their_strings_are(one, make):
    assert digests([one]) == digests([make()])
    assert digests([0, one, 0]) == digests([0]) + digests([make()]) + digests([0])


DIFFERENT = [
    *(
        1,
        1.0,
        True,
        "1",
        b"1",
        bytearray(b"1"),
        [1],
        (1,),
        {1},
        frozenset({1}),
        {1: 1},
        np.int64(1),
        None,
        [],
        {},
        (),
        set(),
    ),
    *(
        0.0,
        -0.0,
        [[1], [2]],
        [[1, 2]],
        [[1, [2]]],
        {"a": 1, "b": 2},
        {"b": 2, "a": 1},
        {"x", "y"},
        {"xy"},
        Node("a"),
        Node("b"),
    ),
    *(
        np.arange(4),
        np.arange(4.0),
        np.arange(4).reshape(2, 2),
        np.arange(4, dtype=">i8"),
        np.arange(100_000),
        np.arange(100_001),
        np.ones(4),
        np.zeros(4),
        np.arange(100_000)[::-1].copy(),
        b"x" * 100_000,
        b"x" * 99_999 + b"y",
    ),
]


def test_different_items_have_different_digests():
    found = [digests([one]) for one in DIFFERENT]
    assert {len(one) for one in found} == {8}
    assert len(set(found)) == len(DIFFERENT)


def test_digests_do_not_depend_on_the_process():
    script = """
import sys
sys.path[:0] = sys.argv[1:]
from test_journal import DIFFERENT, SAME, digests
print(digests([*DIFFERENT, *(one for one, _ in SAME)]).hex())
"""
    mine = digests([*DIFFERENT, *(one for one, _ in SAME)]).hex()
    folders = [os.path.dirname(__file__), *filter(None, sys.path)]
    command = [sys.executable, "-c", script, *folders]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == mine


def test_an_item_that_cannot_be_known_again_is_refused_by_name(path):
    with pytest.raises(NoDigest) as caught:
        digests([1, lambda: 1])
    assert caught.value.index == 1
    with opened(path) as journal:
        journal.seen(1, range(5))
        with pytest.raises(JournalError, match=r"task #8 \(.*\.Exits\) cannot: SystemExit: 3") as refused:
            journal.seen(6, [1, [2], Exits(), socket])
        with pytest.raises(JournalError, match="OddError: <its text cannot be shown>"):
            journal.seen(1, [RaisesOdd()])
    assert refused.value.task_id == 8
    assert digests([1, "a"]) == digests([1]) + digests(["a"])


def test_an_item_is_known_as_it_was_before_its_task_changed_it(path):
    items = [[1], [2]]
    with opened(path) as journal:
        journal.seen(1, items)
        items[0].append("changed")
        journal.record_run(1, [1.0] * 2, [2.0] * 2, ["a", "b"], 1)
    assert resumed(path, [[1], [2]]) == {1: "a", 2: "b"}


def test_the_first_item_that_differs_is_named_and_the_file_left_as_it_is(path):
    record(path, range(1000))
    before = files(path)
    for changed, named in ((700, 701), (0, 1), (999, 1000)):
        items = list(range(1000))
        items[changed:] = [-1] * (1000 - changed)
        with opened(path) as journal, pytest.raises(JournalError, match=f"item of task #{named} differs") as refused:
            collections.deque((journal.seen(at + 1, items[at : at + 64]) for at in range(0, 1000, 64)), 0)
        assert refused.value.task_id == named
    assert files(path) == before


def test_items_that_were_never_recorded_may_change_and_those_that_failed_may_not(path):
    with opened(path) as journal:
        journal.seen(1, range(5))
        journal.record_one(2, ERROR, 1.0, 2.0, failure=Failure("E", "e"))
        journal.record_one(5, OK, 1.0, 2.0, result="five")
    assert resumed(path, [-1, 1, -2, -3, 4]) == {5: "five"}
    with pytest.raises(JournalError, match="item of task #2 differs"):
        resumed(path, [0, -1, 2, 3, 4])


def test_a_list_may_have_grown_but_not_lost_what_is_recorded(path):
    record(path, range(5))
    assert len(resumed(path, range(10))) == 5
    with opened(path) as journal:
        journal.expect(5)
        journal.expect(6)
        with pytest.raises(JournalError, match="records up to task #5, the list has 4 tasks"):
            journal.expect(4)


def test_another_function_is_refused_and_other_code_of_the_same_one_is_told(path, monkeypatch):
    record(path, range(3))
    before = files(path)
    with pytest.raises(
        JournalError, match=rf"belongs to the function {__name__}.work, this run calls {__name__}.other"
    ):
        opened(path, other)
    assert files(path) == before
    changed = eval("lambda task: task + 1")
    changed.__module__, changed.__qualname__ = work.__module__, work.__qualname__
    with opened(path, changed) as journal:
        assert journal.code_changed
        assert len(journal.seen(1, range(3))) == 1


def test_functions_of_every_kind_have_a_name_and_those_in_python_a_code():
    assert name_of(work) == f"{__name__}.work"
    assert name_of(functools.partial(work, 1)) == f"partial({__name__}.work)"
    assert code_of(functools.partial(work, 1)) == code_of(work) != code_of(lambda task: task + 1)
    assert name_of(Node("a").__init__) == f"{__name__}.Node.__init__"
    assert (name_of(len), code_of(len)) == ("builtins.len", "")
    assert name_of(np.sum)
    assert name_of(int) == "builtins.int"

    class Called:
        def __call__(self, task):
            return {"a", "b", "c"} == task

    assert name_of(Called()).endswith("Called")
    assert code_of(Called()) != ""


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
        journal.record_one(2, OK, 1.0, 2.0, result=np.full(PIECE // 8, 7.0))
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

    def finished_after(real):
        try:
            return real_look(real)
        finally:
            path.write_bytes(whole)

    monkeypatch.setattr(file, "_look", finished_after)
    about = file.look(str(path))
    assert about is not None
    assert about.function == name_of(work)


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


# Reading


def test_records_are_read_as_get_logs_gives_them(path):
    with opened(path) as journal:
        journal.pids = {2: 4711}
        journal.seen(1, range(3))
        journal.record_one(3, ERROR, 5010.0, 5011.0, failure=Failure("ValueError", "no", "trace"), worker=2, attempts=2)
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


# Descriptors of this process: to close one drops all its locks on the file


def descriptors_of(path) -> int:
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return sum(os.path.exists(link) and os.path.samefile(link, path) for link in links)


def test_a_refused_run_leaves_the_locks_of_a_reader_in_the_same_process(path, tmp_path):
    record(path, [1, 2], ["a", "b"])
    script = f"""
from pathlib import Path
from worker_dispatcher.journal import file
hold = file.Hold({str(path)!r}, {name_of(work)!r}, "")
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
    code = f"from worker_dispatcher.journal import file; file.Hold({str(path)!r}, {name_of(work)!r}, '')"
    with opened(path) as journal:
        journal.seen(1, [1])
        journal.record_one(1, OK, 1.0, 2.0, result="kept")
        journal.commit()
        for _ in range(3):
            assert file.is_database(path)
            assert len(read_journal(path)) == 1
            done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
            assert "is in use by another run" in done.stderr
    assert descriptors_of(path) == 0
