"""A journal written in any way and cut, torn or damaged at any byte: what comes back is what was recorded, or less."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rounds import examples

from worker_dispatcher.clock import Anchor
from worker_dispatcher.errors import JournalError
from worker_dispatcher.journal.fingerprint import digests
from worker_dispatcher.journal.journal import Journal
from worker_dispatcher.journal.reading import read_journal
from worker_dispatcher.records import ERROR, OK, Failure, Outcome

ANCHOR = Anchor(1_700_000_000.0, 50.0)
TASKS = 60
ITEMS = [("item", n) for n in range(1, TASKS + 1)]

run_of_tasks = st.tuples(st.just("run"), st.integers(1, 12), st.integers(0, 2))
one_task = st.tuples(st.just("one"), st.integers(1, TASKS), st.sampled_from([OK, ERROR]))
large = st.tuples(st.just("large"), st.integers(65_000, 140_000), st.just(0))
commit = st.tuples(st.just("commit"), st.just(0), st.just(0))
again = st.tuples(st.just("again"), st.just(0), st.just(0))
steps = st.lists(st.one_of(run_of_tasks, one_task, large, commit, commit, again), min_size=1, max_size=25)


class Written(NamedTuple):
    file: bytes
    log: bytes
    states: list[dict[int, object]]  # what is recorded as ok after each commit, the last one included


def work(task):
    return task


def plain(result):
    return result.tobytes() if isinstance(result, np.ndarray) else result


def write(folder: Path, todo) -> Written:
    """Carry out the steps; the files as they are before the journal is closed."""
    path = folder / "run.db"
    journal, recorded, states = Journal(path, work, ANCHOR), {}, [{}]
    journal.seen(1, ITEMS)
    free = iter(range(1, TASKS + 1))

    def done() -> None:
        journal.commit()
        states.append(dict(recorded))

    for nth, (what, one, two) in enumerate(todo):
        if what == "commit":
            done()
        elif what == "again":
            done()
            journal.close()
            journal = Journal(path, work, ANCHOR)
            assert ok_of(journal) == recorded
        elif what == "one":
            if one not in recorded:
                failure = None if two == OK else Failure("E", "failed")
                journal.record_one(Outcome(one, two, 1.0, 2.0, result=(one, nth), failure=failure))
                recorded |= {one: (one, nth)} if two == OK else {}
        else:
            ids: list[int] = []
            for task_id in free:
                if task_id in recorded:
                    if ids:
                        break
                    continue
                ids.append(task_id)
                if what == "large" or len(ids) == one:
                    break
            results = [np.full(one, nth, "u1") if what == "large" else (task_id, nth) for task_id in ids]
            assert not ids or journal.record_run(ids[0], [1.0] * len(ids), [2.0] * len(ids), results, two)
            recorded |= {task_id: plain(result) for task_id, result in zip(ids, results, strict=True)}
    done()
    log = Path(f"{path}-wal")
    found = Written(path.read_bytes(), log.read_bytes() if log.exists() else b"", states)
    journal.close()
    assert ok_of_file(path) == recorded
    return found


def ok_of(journal: Journal) -> dict[int, object]:
    found = {}
    for first in range(1, TASKS + 1, 7):
        for one in journal.seen(first, ITEMS[first - 1 : first + 6]):
            # Sessions of the very same moment are told apart by the last digit of their clocks' shift.
            assert np.allclose(one.starts, [1.0] * len(one.results), rtol=0, atol=1e-5)
            found |= {one.first + nth: plain(result) for nth, result in enumerate(one.results)}
    return found


def ok_of_file(path: Path) -> dict[int, object]:
    with Journal(path, work, ANCHOR) as journal:
        return ok_of(journal)


def read_of_file(path: Path) -> dict[int, object]:
    return {log["task_id"]: plain(log["result"]) for log in read_journal(path) if log["status"] == "ok"}


def left(folder: str, file: bytes, log: bytes) -> Path:
    """What a crash left, as a journal of its own."""
    path = Path(folder, "left.db")
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_bytes(file)
    if log:
        Path(f"{path}-wal").write_bytes(log)
    return path


@given(todo=steps, cut=st.floats(0, 1))
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
def test_a_log_cut_at_any_byte_gives_what_some_commit_had_recorded_and_can_be_gone_on_with(todo, cut):
    with tempfile.TemporaryDirectory() as folder:
        written = write(Path(folder), todo)
        path = left(folder, written.file, written.log[: round(cut * len(written.log))])
        assert read_of_file(path) in written.states
        back = ok_of_file(path)
        assert back in written.states
        with Journal(path, work, ANCHOR) as journal:
            assert ok_of(journal) == back
            for task_id in range(1, TASKS + 1):
                if task_id not in back:
                    journal.record_one(Outcome(task_id, OK, 1.0, 2.0, result="anew"))
        assert ok_of_file(path) == {task_id: back.get(task_id, "anew") for task_id in range(1, TASKS + 1)}


@given(todo=steps)
@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.too_slow])
def test_a_log_left_whole_gives_all_that_was_committed(todo):
    with tempfile.TemporaryDirectory() as folder:
        written = write(Path(folder), todo)
        path = left(folder, written.file, written.log)
        assert read_of_file(path) == ok_of_file(path) == written.states[-1]


@given(todo=steps, closed=st.booleans(), where=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4),
       how=st.sampled_from(["flip", "zero", "cut", "noise"]), length=st.integers(1, 3000))  # fmt: skip
@settings(max_examples=examples(120), suppress_health_check=[HealthCheck.too_slow])
def test_damage_anywhere_never_gives_a_wrong_result(todo, closed, where, how, length):
    with tempfile.TemporaryDirectory() as folder:
        written = write(Path(folder), todo)
        whole = Path(folder, "run.db").read_bytes() if closed else written.file
        files = [bytearray(whole), bytearray(b"" if closed else written.log)]
        sizes = [len(content) for content in files]
        for spot in where:
            at = int(spot * sum(sizes))
            content, at = (files[0], at) if at < sizes[0] else (files[1], at - sizes[0])
            end = min(len(content), at + length)
            if how == "flip" and at < len(content):
                content[at] ^= 1 << (length % 8)
            elif how == "cut":
                del content[at:]
            else:
                content[at:end] = bytes(end - at) if how == "zero" else os.urandom(end - at)
        path = left(folder, bytes(files[0]), bytes(files[1]))
        for use in (read_of_file, ok_of_file, read_of_file):
            try:
                back = use(path)
            except JournalError:
                continue
            # A damaged row may hide that a task failed or ended before; it never changes how it ended.
            assert back.items() <= written.states[-1].items()


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
        | st.frozensets(st.text(max_size=3) | st.integers(), max_size=4)
    ),
    max_leaves=12,
)


def rebuilt(value):
    """An equal value that shares no object with the other one, as far as Python lets it."""
    match value:
        case str():
            return "".join(list(value))
        case bytes():
            return bytes(bytearray(value))
        case list():
            return [rebuilt(one) for one in value]
        case tuple():
            return tuple(map(rebuilt, value))
        case frozenset():
            return frozenset(rebuilt(one) for one in sorted(value, key=repr, reverse=True))
        case dict():
            return {rebuilt(key): rebuilt(one) for key, one in value.items()}
        case _:
            return value


def told(value):
    """The value with its types, so that 1, 1.0 and True differ; sets without order, dicts with it."""
    match value:
        case list() | tuple():
            return (type(value).__name__, *map(told, value))
        case dict():
            return ("dict", *((told(key), told(one)) for key, one in value.items()))
        case frozenset():
            return ("set", frozenset(map(told, value)))
        case _:
            return (type(value).__name__, repr(value))


@given(one=values, other=values)
@settings(max_examples=examples(300))
def test_digests_are_equal_exactly_where_items_are(one, other):
    assert digests([one, [one, one]]) == digests([rebuilt(one), [rebuilt(one), one]])
    assert (digests([one]) == digests([other])) == (told(one) == told(other))
