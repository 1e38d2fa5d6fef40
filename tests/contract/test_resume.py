"""A run with a journal that is begun again: what runs, and what is said of it."""

from __future__ import annotations

import itertools
import os
import threading
from collections import Counter

import pytest
from resuming import noting, start
from staging import SHAPES

import worker_dispatcher as wd
from worker_dispatcher.errors import JournalError
from worker_dispatcher.journal import journal as journal_module

pytestmark = pytest.mark.above_the_pools

quiet_failures = pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")


# ---- what runs again


@pytest.mark.each_value
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
        earlier = zip(log.pop("earlier_attempts", ()), logs[task_id].get("earlier_attempts", ()), strict=True)
        assert all(one == pytest.approx(other) for one, other in earlier)
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
    assert caught[0].filename == start.__code__.co_filename


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
