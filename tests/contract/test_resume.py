"""The `journal` option: the same call again runs only what is missing, in every shape, for every kind of list."""

from __future__ import annotations

import itertools
import os
import sqlite3
import stat
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from staging import SHAPES

import worker_dispatcher as wd
from worker_dispatcher.dispatch import books
from worker_dispatcher.errors import JournalError
from worker_dispatcher.journal import journal as journal_module


def work(id):
    return id


quiet_failures = pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")
THREADS = {"number": 3}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


@pytest.fixture
def kept(path: Path) -> Callable[[], dict[int, dict[str, Any]]]:
    """What the journal has, by task id."""
    return lambda: {log["task_id"]: log for log in wd.read_journal(path)}


def content(path: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in path.parent.glob(f"{path.name}*")}


def start(path: Path, function: Any, items: Any, worker: Any = None, top: Any = None, **task: Any) -> list[Any]:
    return wd.start(
        {
            "task": {"list": items, "function": function, **task},
            "worker": worker or THREADS,
            "journal": path,
            "verbose": False,
            **(top or {}),
        }
    )


def noting(notes: Any) -> Callable[..., Any]:
    """A task that says that it ran; the tasks named in the notes as broken raise."""

    def work(id: int, task: Any, metadata: dict[str, Any]) -> Any:
        notes.add(id)
        metadata["by"] = id
        if f"broken {id}" in notes.all():
            raise ValueError(f"task {id} is broken")
        return [task, id]

    return work


# ---- what runs again


@quiet_failures
@pytest.mark.parametrize("kind", [list, range, iter, "count"])
def test_only_what_is_not_ok_runs_again(kind, shape, make_config, notes, path):
    given = {list: lambda: list(range(7)), range: lambda: range(7), iter: lambda: iter(range(7)), "count": lambda: 7}
    items = [{}] * 7 if kind == "count" else list(range(7))
    for broken in ("broken 3", "broken 7"):
        notes.add(broken)
    function = noting(notes)
    top = {"journal": path}
    first = wd.start(make_config(shape, function, given[kind](), top=top, retries=1))
    before = wd.get_logs()
    assert [bool(result) for result in first] == [True, True, False, True, True, True, False]
    assert Counter(notes.all()) == Counter(
        {"broken 3": 1, "broken 7": 1} | {str(n): 1 + (n in (3, 7)) for n in range(1, 8)}
    )
    assert wd.get_result_info()["resumed"] == 0

    notes.path.unlink()
    second = wd.start(make_config(shape, function, given[kind](), top=top, retries=1))

    assert notes.all() == ["3", "7"] or notes.all() == ["7", "3"]
    assert second == [[item, n] for n, item in enumerate(items, 1)]
    logs = wd.get_logs()
    assert [log["task_id"] for log in logs] == [1, 2, 3, 4, 5, 6, 7]
    assert [log["metadata"] for log in logs] == [{"by": n} for n in range(1, 8)]
    assert [log["result"] for log in logs] == second
    for log, earlier in zip(logs, before, strict=True):
        if log["task_id"] in (3, 7):
            assert all([log["worker"], log["pid"], "phase" not in log, log["attempts"] == 1])
        else:
            assert (log["worker"], log["pid"], log["phase"], log["attempts"]) == (None, None, "resumed", 1)
            assert log["started_at"] == pytest.approx(earlier["started_at"], abs=1e-3)
            assert log["ended_at"] == pytest.approx(earlier["ended_at"], abs=1e-3)
            assert log["duration"] == pytest.approx(earlier["duration"], abs=1e-6)
    info = wd.get_result_info()
    assert (info["counts"]["ok"], info["resumed"], info["not_run"]) == (7, 5, [])
    assert wd.get_tps()["count"]["total"] == 2  # this run's rows
    assert len(wd.report(verbose=False).rows) == 2

    notes.path.unlink()
    assert wd.start(make_config(shape, function, given[kind](), top=top)) == second
    assert notes.all() == []
    assert wd.get_result_info()["resumed"] == 7
    assert wd.get_tps()["count"]["total"] == 0


@quiet_failures
def test_attempts_and_every_kind_of_failure_are_kept(path, kept, process_shape, make_config, notes, tmp_path):
    def work(id):
        if id == 1 and not (tmp_path / "once").exists():
            (tmp_path / "once").touch()
            raise ValueError("the first time")
        if id == 2:
            os.kill(os.getpid(), 9)
        if id == 3:
            raise KeyError("no")
        if id == 4:
            yield lambda: False
        return id

    config = make_config(process_shape, work, 5, {"number": 2}, {"journal": path}, retries=1, timeout=0.5)
    wd.start(config)
    logs = {log["task_id"]: log for log in wd.get_logs()}
    assert [logs[n]["status"] for n in range(1, 6)] == ["ok", "crashed", "error", "timeout", "ok"]
    assert [logs[n]["attempts"] for n in range(1, 5)] == [2, 2, 2, 2]
    for task_id, log in kept().items():
        for name, value in log.items():
            assert value == (pytest.approx(logs[task_id][name]) if isinstance(value, float) else logs[task_id][name])

    wd.start({**config, "task": config["task"] | {"retries": 0, "timeout": 0.2}})
    logs = {log["task_id"]: log for log in wd.get_logs()}
    assert [logs[n]["attempts"] for n in range(1, 6)] == [2, 1, 1, 1, 1]
    assert [logs[n].get("phase") for n in range(1, 6)] == ["resumed", None, None, None, "resumed"]


def test_a_list_may_grow_and_its_end_is_what_runs(path, notes):
    function = noting(notes)
    start(path, function, ["a", "b"])
    assert start(path, function, ["a", "b", "c"]) == [["a", 1], ["b", 2], ["c", 3]]
    assert sorted(notes.all()) == ["1", "2", "3"]


def test_arrays_and_falsy_results_come_back(path):
    import numpy as np

    values = [np.arange(100_000), 0, None, [], np.zeros((2, 0)), b"x" * 200_000]

    def function(id):
        return values[id - 1]

    start(path, function, 6)
    first, *rest = start(path, function, 6)
    assert np.array_equal(first, values[0])
    assert rest[:3] == [0, None, []]
    assert rest[3].shape == (2, 0)
    assert rest[4] == values[5]
    assert wd.get_result_info()["resumed"] == 6


def test_on_all_done_is_not_in_the_journal_and_runs_again(path, kept):
    seen = []

    def done(id, result):
        seen.append(id)
        return -result

    for _ in range(2):
        assert start(path, lambda id: id, 3, callback={"on_all_done": done}) == [-1, -2, -3]
    assert seen == [1, 2, 3] * 2
    assert [kept()[n]["result"] for n in (1, 2, 3)] == [1, 2, 3]


def test_a_run_in_on_all_done_may_use_the_same_journal(path):
    def done(result):
        return start(path, len, [[]] * 4)[0] if result == 0 else result

    assert start(path, len, [[]] * 4, callback={"on_all_done": done}) == [0, 0, 0, 0]


def test_on_done_has_done_its_work_before_the_result_is_kept(path, kept):
    start(path, lambda id: id, 3, callback={"on_done": lambda result: result * 10})
    assert [kept()[n]["result"] for n in (1, 2, 3)] == [10, 20, 30]


def test_code_that_changed_only_warns(path):
    def version(number):
        def work(id):
            return id * 10

        def changed(id):
            return id * 1000

        changed.__qualname__ = work.__qualname__
        return work if number == 1 else changed

    start(path, version(1), 2)
    with pytest.warns(UserWarning, match="the function was another") as caught:
        assert start(path, version(2), 3) == [10, 20, 3000]
    assert caught[0].filename == __file__


# ---- before it is reported


def test_what_is_told_is_durable(path, kept, plain_shape, make_config):
    run = wd.launch(make_config(plain_shape, lambda id: id, 40, top={"journal": path}))
    for log in run:
        assert kept()[log["task_id"]]["result"] == log["result"]
    assert sorted(kept()) == list(range(1, 41))
    run = wd.launch(make_config(plain_shape, lambda id: id, 40, top={"journal": path}))
    assert sorted(log["task_id"] for log in run) == list(range(1, 41))
    assert {log["phase"] for log in run.logs} == {"resumed"}


def test_a_result_waits_for_the_journal_before_it_is_told(path, monkeypatch, wait_until, notes):
    may_commit, commit = threading.Event(), journal_module.Journal.commit

    def held(self):
        assert may_commit.wait(20)
        return commit(self)

    monkeypatch.setattr(journal_module.Journal, "commit", held)
    run = wd.launch({"task": {"list": 2, "function": noting(notes)}, "journal": path, "verbose": False})
    told = []
    listener = threading.Thread(target=lambda: told.extend(log["task_id"] for log in run))
    listener.start()
    wait_until(notes.count(2))
    assert told == []
    assert run.logs == []
    assert run.info["counts"]["ok"] == 0
    may_commit.set()
    run.wait(10)
    listener.join(10)
    assert sorted(told) == [1, 2]


def test_a_lone_result_does_not_wait_for_company(path, kept, wait_until, notes):
    def work(id):
        while id == 2 and "go" not in notes.all():
            threading.Event().wait(0.002)
        return id

    run = wd.launch({"task": {"list": 2, "function": work}, "journal": path, "verbose": False})
    wait_until(lambda: path.exists() and 1 in kept())
    notes.add("go")
    run.wait(10)


def test_what_a_raised_error_speaks_of_is_in_the_journal(path, kept):
    def work(id):
        if id == 5:
            raise OSError("no more")
        return id

    with pytest.raises(OSError, match="no more") as caught:
        start(path, work, 1000, {"number": 1}, on_error="raise")
    ok = [log["task_id"] for log in wd.get_logs() if log["status"] == "ok"]
    assert "all logs are kept" in "".join(caught.value.__notes__)
    assert {n for n, log in kept().items() if log["status"] == "ok"} == set(ok)
    assert kept()[5]["error"]["message"] == "no more"


# ---- lists without a length, loads


def test_an_endless_list_goes_on_where_it_was_stopped(path, notes, wait_until):
    config = {
        "task": {"list": None, "function": noting(notes)},
        "worker": {"frequency_mode": {"enabled": True, "rate": 50, "duration": 1.0}},
        "journal": path,
        "verbose": False,
    }
    run = wd.launch(config)
    wait_until(notes.count(5))
    run.cancel()
    run.wait(10)
    ended = {log["task_id"] for log in run.logs if log["status"] == "ok"}
    begun = wd.launch(config).wait(10)
    assert begun.info["resumed"] == len(ended)
    dues = [log["scheduled_at"] for log in begun.logs if "scheduled_at" in log]
    assert len(dues) == 50 - len(ended)
    assert dues[-1] - dues[0] == pytest.approx((len(dues) - 1) / 50, abs=1e-3)  # it goes on, it does not begin again
    assert sorted(log["task_id"] for log in begun.logs) == list(range(1, 51))
    runs = Counter(map(int, notes.all()))
    assert set(runs) == set(range(1, 51))
    assert all(runs[n] == 1 for n in ended)
    again = wd.launch(config).wait(10)
    assert again.info["resumed"] == 50
    assert Counter(map(int, notes.all())) == runs


def test_a_list_begun_again_by_a_load_is_known_by_place(path, notes):
    worker = {"frequency_mode": {"enabled": True, "rate": 100, "duration": 0.2}}
    first = start(path, noting(notes), ["a", "b", "c"], worker)
    assert first == [["abc"[n % 3], n + 1] for n in range(20)]
    assert start(path, noting(notes), ["a", "b", "c"], worker) == first
    assert len(notes.all()) == 20
    with pytest.raises(JournalError, match=r"the item of task #6 differs"):
        start(path, noting(notes), ["a", "b", "c", "a", "b", "d"], worker)


@quiet_failures
def test_a_resumed_load_keeps_its_pace_and_says_when_its_own_tasks_were_due(path, notes):
    for n in (2, 4, 5, 6):
        notes.add(f"broken {n}")
    worker = {"number": 1, "frequency_mode": {"enabled": True, "interval": 0.05}}
    start(path, noting(notes), 8, worker)
    notes.path.unlink()
    start(path, noting(notes), 9, worker)
    assert notes.all() == ["2", "4", "5", "6", "9"]
    own = {log["task_id"]: log for log in wd.get_logs() if "scheduled_at" in log}
    assert sorted(own) == [2, 4, 5, 6, 9]
    dues = [own[n]["scheduled_at"] for n in sorted(own)]
    assert [late - due for due, late in itertools.pairwise(dues)] == pytest.approx([0.05] * 4, abs=1e-4)
    assert [own[n]["interval"] for n in sorted(own)] == [4, 5, 6, 7, 8]  # the ticks that the others had are gone
    for log in own.values():
        assert log["queue_delay"] >= 0
        assert log["in_flight"] >= 1
        assert log["phase"] == "main"
    assert [log["phase"] for log in wd.get_logs() if log["task_id"] not in own] == ["resumed"] * 4


def test_a_generator_is_read_again_and_only_what_is_missing_runs(path, notes, wait_until):
    def lines(most):
        for n in range(most):
            yield f"line {n}"

    run = wd.launch({"task": {"list": lines(10**9), "function": noting(notes)}, "journal": path, "verbose": False})
    wait_until(notes.count(300))
    run.cancel()
    run.wait(10)
    ended = {log["task_id"] for log in run.logs if log["status"] == "ok"}
    most = max(ended) + 50
    notes.path.unlink()
    assert start(path, noting(notes), lines(most)) == [[f"line {n}", n + 1] for n in range(most)]
    assert wd.get_result_info()["resumed"] == len(ended)
    assert set(map(int, notes.all())) == set(range(1, most + 1)) - ended


def test_dropped_tasks_are_not_recorded_and_have_another_chance(path, kept, notes, wait_until):
    def slow(id):
        yield notes.has("go")
        return id

    function = SHAPES["threads"].function(slow)
    load = {"enabled": True, "rate": 100, "on_saturation": "drop", "max_workers": 1}
    run = wd.launch(
        {
            "task": {"list": 10, "function": function},
            "worker": {"frequency_mode": load},
            "journal": path,
            "verbose": False,
        }
    )
    wait_until(lambda: len(run.dropped) == 9)
    notes.add("go")
    run.wait(10)
    assert sorted(kept()) == [1]
    assert start(path, function, 10, {"number": 2}) == list(range(1, 11))


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
        (["a", "b", "X", "Y", "e"], r"the item of task #3 differs; run the same list, in the same order, or give"),
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
    assert "the result or its metadata cannot be kept in the journal" in caught.value.__notes__[0]
    assert "task #2 of 3, attempt 1" in caught.value.__notes__[1]


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


@pytest.mark.parametrize("batched", [False, True])
def test_a_full_disk_stops_the_run_and_resume_works_once_there_is_room(
    path, kept, notes, monkeypatch, batched, shape, make_config
):
    if batched:
        monkeypatch.setattr(books, "_REST", 1000)
    room = ["a little"]
    connect = journal_module.Hold.__init__

    def small(self, *args):
        connect(self, *args)
        if room:
            self.db.execute("PRAGMA max_page_count = 12")

    monkeypatch.setattr(journal_module.Hold, "__init__", small)
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
    connect = journal_module.Hold.__init__

    def small(self, *args):
        connect(self, *args)
        self.db.execute("PRAGMA max_page_count = 12")

    monkeypatch.setattr(journal_module.Hold, "__init__", small)
    run = wd.launch({"task": {"list": 3000, "function": lambda id: "x" * 50}, "journal": path, "verbose": False})
    told = {log["task_id"] for log in run}
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


# ---- what is said


def test_a_verbose_run_says_how_much_came_from_the_journal(path, capsys):
    start(path, lambda id: id, 3)
    start(path, lambda id: id, 5, top={"verbose": True})
    out = capsys.readouterr().out
    assert "Completed Tasks Count: 5\n" in out
    assert "Taken from the journal: 3 of 5\n" in out
    assert "ok 5 (3 from the journal)   failed 0   p50" in out
    start(path, lambda id: id, 5, top={"verbose": True, "debug": True})
    out = capsys.readouterr().out
    assert "Taken from the journal: 5 of 5\n" in out
    assert "p50" not in out


def test_reports_read_a_journal_and_leave_out_what_an_earlier_run_did(path, tmp_path):
    start(path, lambda id: id, 3)
    start(path, lambda id: id, 5)
    assert wd.get_tps()["count"]["total"] == 2
    assert wd.check(None, ["error_rate<1%"])
    assert "resumed 3" in str(wd.report(verbose=False))
    whole = wd.report(wd.read_journal(path), verbose=False)
    assert len(whole.rows) == 5
    assert wd.check(wd.read_journal(path), ["error_rate<1%", "p99<60s"])
    assert wd.compare(wd.read_journal(path), whole)
    assert whole.to_csv(tmp_path / "run.csv").read_text().count("\n") == 6
