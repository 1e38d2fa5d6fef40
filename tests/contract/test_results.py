"""What `start` gives back: results, logs, info; in every shape, for every kind of list."""

from __future__ import annotations

import collections
import os
import site
import sys
import threading

import numpy as np
import psutil
import pytest
from staging import SHAPES

import worker_dispatcher as wd


def double(task):
    return task * 2


class Letters:
    """An iterable without a length."""

    def __iter__(self):
        return iter("abc")


class OldSequence:
    """Iterable through __getitem__ alone."""

    def __getitem__(self, at):
        if at >= 3:
            raise IndexError
        return at * 10


KINDS = {
    "list": (lambda: [1, 2, 3], [2, 4, 6]),
    "tuple": (lambda: (1, 2, 3), [2, 4, 6]),
    "range": (lambda: range(5), [0, 2, 4, 6, 8]),
    "set": (lambda: {7}, [14]),
    "dict": (lambda: {"a": 1, "b": 2}, ["aa", "bb"]),
    "generator": (lambda: (n for n in range(4)), [0, 2, 4, 6]),
    "array": (lambda: np.arange(3), [0, 2, 4]),
    "deque": (lambda: collections.deque([1, 2]), [2, 4]),
    "iterator": (lambda: iter([5, 6]), [10, 12]),
    "custom iterable": (Letters, ["aa", "bb", "cc"]),
    "old sequence": (OldSequence, [0, 20, 40]),
    "empty generator": (lambda: iter(()), []),
}


def local_double():
    def double(task):
        return task * 2

    return double


@pytest.mark.each_value
@pytest.mark.parametrize("count", [0, 1, 50])
def test_results_stand_in_id_order_and_every_task_has_one_log(shape, run, count):
    def square(id, task):
        return id, task**2

    results = run(shape, square, range(count))

    assert results == [(n + 1, n**2) for n in range(count)]
    assert results is wd.get_results()
    assert [log["task_id"] for log in wd.get_logs()] == list(range(1, count + 1))
    assert [log["result"] for log in wd.get_logs()] == results
    assert all(log["status"] == "ok" and log["error"] is None and log["attempts"] == 1 for log in wd.get_logs())


@pytest.mark.above_the_pools
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_iterable_is_consumed_in_full(shape, run, kind):
    make, expected = KINDS[kind]

    results = run(shape, local_double(), make())

    assert [getattr(value, "item", lambda value=value: value)() for value in results] == expected
    assert wd.get_result_info()["counts"]["ok"] == len(expected)


def test_a_count_gives_each_task_an_empty_dict_of_its_own(shape, run):
    def fill(id, task):
        found = dict(task)
        task["id"] = id
        return found

    assert run(shape, fill, 6) == [{}] * 6


def test_a_task_that_ends_last_still_stands_at_its_place(shape, run, notes):
    def first_waits_for_the_others(id):
        if id == 1:
            yield notes.count(7)
        notes.add(id)
        return id

    assert run(shape, first_waits_for_the_others, 8) == list(range(1, 9))
    assert notes.all()[-1] == "1"


def test_falsy_and_odd_results_pass_through_unchanged(shape, run):
    values = [0, "", None, False, [], {}, 0.0, b"", ValueError("returned, not raised"), StopIteration, ...]

    def give(config, id):
        return config[id - 1]

    results = run(shape, give, len(values), config=values)

    assert repr(results) == repr(values)
    assert {log["status"] for log in wd.get_logs()} == {"ok"}


def test_metadata_written_in_a_worker_comes_back_also_after_a_failure(shape, run):
    def note(id, metadata):
        metadata["seen"] = id
        if id == 2:
            raise ValueError("after the note")
        return id

    with pytest.warns(wd.TaskFailuresWarning):
        run(shape, note, 3)

    assert [log["metadata"] for log in wd.get_logs()] == [{"seen": 1}, {"seen": 2}, {"seen": 3}]


def test_a_task_without_metadata_has_an_empty_dict_of_its_own(shape, run):
    run(shape, local_double(), [1, 2])

    first, second = (log["metadata"] for log in wd.get_logs())
    assert first == second == {}
    assert first is not second


def test_times_are_of_the_function_alone_and_lie_within_the_run(shape, run):
    run(shape, local_double(), range(20))

    info = wd.get_result_info()
    for log in wd.get_logs():
        assert info["started_at"] <= log["started_at"] <= log["ended_at"] <= info["ended_at"]
        assert log["duration"] == pytest.approx(log["ended_at"] - log["started_at"], abs=1e-6)
    assert info["duration"] == pytest.approx(info["ended_at"] - info["started_at"], abs=1e-6)
    assert wd.get_duration() == info["duration"]


def test_logs_name_the_worker_and_its_process(shape, run):
    def where():
        return os.getpid()

    results = run(shape, lambda task: where(), 8)

    for log, pid in zip(wd.get_logs(), results, strict=True):
        assert log["pid"] == pid
        assert 1 <= log["worker"] <= 4
        assert (pid == os.getpid()) is not shape.in_processes


def test_the_config_is_passed_by_identity_in_threads_and_keeps_its_type_in_processes(shape, run):
    config = collections.OrderedDict(a=1)
    results = run(shape, lambda config, task: (type(config).__name__, id(config)), 2, config=config)

    assert {name for name, _ in results} == {"OrderedDict"}
    if not shape.in_processes:
        assert {address for _, address in results} == {id(config)}


def test_counts_add_up_to_the_number_of_tasks(shape, run):
    def some_fail(id):
        if id % 3 == 0:
            raise RuntimeError(id)
        return id

    with pytest.warns(wd.TaskFailuresWarning, match="10 of 30"):
        results = run(shape, some_fail, 30)

    counts = wd.get_result_info()["counts"]
    assert counts == {"ok": 20, "error": 10, "timeout": 0, "crashed": 0, "cancelled": 0, "not_run": 0, "dropped": 0}
    assert [bool(result) for result in results] == [n % 3 != 0 for n in range(1, 31)]
    assert results[2].status == "error"
    assert results[2].task_id == 3
    assert results[2].attempts == 1
    assert results[2].error["type"] == "RuntimeError"
    assert results[2].error["message"] == "3"
    assert "some_fail" in results[2].traceback


def test_lists_returned_earlier_never_change(shape, run):
    first = run(shape, local_double(), [1, 2])
    logs, info, config = wd.get_logs(), wd.get_result_info(), wd.get_last_config()
    before = repr((first, logs, info, config))

    second = run(shape, local_double(), [3])

    assert repr((first, logs, info, config)) == before
    assert second == [6]
    assert wd.get_results() is second
    assert wd.get_logs() is not logs
    assert wd.get_result_info() is not wd.get_result_info()


def test_the_getters_before_any_run(script):
    code = (
        "import worker_dispatcher as w\n"
        "print(w.get_results(), w.get_logs(), w.get_result_info(), w.get_last_config(), w.get_duration())"
    )
    assert script("-c", code).stdout == "[] [] {} {} None\n"


def test_never_more_workers_than_tasks(shape, run, notes):
    def gather():
        notes.add((os.getpid(), threading.get_ident()))
        yield notes.count(3)

    run(shape, gather, 3, {"number": 50})

    assert len({log["worker"] for log in wd.get_logs()}) <= 3
    assert max(log["worker"] for log in wd.get_logs()) <= 3


def test_exactly_number_tasks_run_at_the_same_time(shape, run, notes):
    def meet(id):
        notes.add(id)
        yield notes.count(4)
        return True

    assert run(shape, meet, 4, {"number": 4}) == [True] * 4


@pytest.mark.each_value
@pytest.mark.parametrize("size", [100_000, 5_000_000])
def test_arrays_go_in_and_out_and_results_can_be_written(shape, run, size):
    items = [np.full(size // 8, float(n)) for n in range(4)]

    def add(task, config):
        return task + config["one"]

    results = run(shape, add, items, config={"one": np.ones(size // 8)})

    for n, result in enumerate(results):
        assert result.shape == (size // 8,)
        assert (result == n + 1).all()
        result[0] = -1.0  # a private copy, which may be written
        assert result[1] == n + 1
    assert [item[0] for item in items] == [0, 1, 2, 3]
    run(shape, local_double(), 0)  # the last run keeps its results, and they their pages


@pytest.mark.each_value
@pytest.mark.parametrize("size", [100_000, 2_000_000])
def test_large_values_that_are_no_arrays_go_in_and_out_as_they_were(shape, run, size):
    items = [os.urandom(size), "\u20ac" * size, bytearray(size), {"body": os.urandom(size)}, list(range(size // 8))]
    config = {"prefix": os.urandom(size)}

    def pair(task, config):
        return task, config["prefix"]

    results = run(shape, pair, items, config=config)
    assert results == [(item, config["prefix"]) for item in items]
    assert [type(value) for value, _ in results] == list(map(type, items))
    assert run(shape, lambda task: task, items) == items


def test_an_array_in_the_list_is_drawn_row_by_row(shape, run):
    assert run(shape, lambda task: int(task.sum()), np.arange(6).reshape(3, 2)) == [1, 5, 9]


@pytest.mark.each_value
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_every_start_method_runs_tasks(process_shape, run, method):
    results = run(process_shape, lambda task: (task, os.getpid()), range(6), {"start_method": method, "number": 2})

    assert [task for task, _ in results] == list(range(6))
    assert os.getpid() not in {pid for _, pid in results}


def test_a_fork_that_cannot_be_watched_leaves_no_process(run, monkeypatch):
    opened, left = [], []
    pidfd_open = os.pidfd_open

    def open_once(pid, *flags):
        opened.append(pid)
        if len(opened) == 2:
            raise OSError(24, "Too many open files")
        return pidfd_open(pid, *flags)

    monkeypatch.setattr(os, "pidfd_open", open_once)
    run(SHAPES["processes"], abs, [-1, -2, -3, -4], {"number": 2, "start_method": "fork"})
    left = [child for child in psutil.Process().children() if child.pid == opened[1]]
    try:
        assert not left
    finally:
        for child in left:
            os.waitpid(child.pid, 0)


@pytest.mark.parametrize("threads", [3, None])
def test_workers_are_told_how_many_threads_linear_algebra_may_use(process_shape, run, monkeypatch, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

    [found] = run(process_shape, lambda task: [os.environ.get(n) for n in names], 1, {"blas_threads": threads})

    expected = threads or len(os.sched_getaffinity(0))
    assert found == [str(expected)] * 3
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_fork_has_its_path_from_its_parent(run, monkeypatch):
    class OfAnEditableInstall:
        @staticmethod
        def find_spec(*name):
            return None

    OfAnEditableInstall.__module__ = "__editable___of_the_host_finder"
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, OfAnEditableInstall])
    monkeypatch.setattr(site, "main", lambda: os._exit(9))
    assert run(SHAPES["processes"], abs, [-1, -2], {"start_method": "fork"}) == [1, 2]


def test_workers_have_the_environment_as_it_is_when_their_run_begins(process_shape, run, monkeypatch):
    def look(id):
        return os.environ.get("OF_THE_HOST")

    monkeypatch.setenv("OF_THE_HOST", "one")
    assert run(process_shape, look, 1) == ["one"]
    monkeypatch.setenv("OF_THE_HOST", "two")
    assert run(process_shape, look, 1) == ["two"]
    monkeypatch.delenv("OF_THE_HOST")
    assert run(process_shape, look, 1) == [None]


def test_workers_of_runs_side_by_side_have_each_their_own_environment(make_config):
    def look(id):
        return os.environ["OMP_NUM_THREADS"]

    def config(threads):
        options = {"number": 1, "max_tasks_per_worker": 1, "blas_threads": threads}  # workers start by turns
        return make_config(SHAPES["processes"], look, 8, options)

    sides = [wd.launch(config(threads)) for threads in (3, 5)]
    assert [side.wait().results for side in sides] == [["3"] * 8, ["5"] * 8]


def test_on_done_runs_once_for_a_task_that_forks_and_lets_the_child_return(process_shape, run, notes):
    def fork(id):
        child = os.fork()
        if child:
            os.waitpid(child, 0)  # it has gone through all that follows a task, if anything does
        return id

    def on_done(result):
        notes.add(result)
        return result

    assert run(process_shape, fork, 3, callback={"on_done": on_done}) == [1, 2, 3]
    assert sorted(notes.all()) == ["1", "2", "3"]
