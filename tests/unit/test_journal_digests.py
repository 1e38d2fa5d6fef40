"""How a journal knows items and functions again."""

from __future__ import annotations

import collections
import functools
import os
import socket
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
from journals import Exits, files, opened, other, record, resumed, work

from worker_dispatcher.errors import JournalError
from worker_dispatcher.journal.fingerprint import NoDigest, code_of, digests, name_of
from worker_dispatcher.records import ERROR, OK, Failure, Outcome


class OddError(Exception):
    def __str__(self):
        raise self


class RaisesOdd:
    def __reduce__(self):
        raise OddError


class Node:
    def __init__(self, name):
        self.name, self.me, self.others = name, self, [name, self]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.db"


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
from test_journal_digests import DIFFERENT, SAME, digests
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
        journal.record_one(Outcome(2, ERROR, 1.0, 2.0, failure=Failure("E", "e")))
        journal.record_one(Outcome(5, OK, 1.0, 2.0, result="five"))
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
    with pytest.raises(JournalError, match=r"belongs to the function journals.work, this run calls journals.other"):
        opened(path, other)
    assert files(path) == before
    changed = eval("lambda task: task + 1")
    changed.__module__, changed.__qualname__ = work.__module__, work.__qualname__
    with opened(path, changed) as journal:
        assert journal.code_changed
        assert len(journal.seen(1, range(3))) == 1


def test_functions_of_every_kind_have_a_name_and_those_in_python_a_code():
    assert name_of(work) == "journals.work"
    assert name_of(functools.partial(work, 1)) == "partial(journals.work)"
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
