"""Exceptions, results and items that do not travel well, and tasks that fork, print and leave children behind."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import psutil
import pytest

import worker_dispatcher
from worker_dispatcher.osproc.channel import Gone
from worker_dispatcher.osproc.starter import ServerStarter
from worker_dispatcher.pools.parent.worker_handle import WorkerHandle

SIZE_OF_A_LOG = 1_000_000


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("not to be packed")


class FailsOnLoading(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("needs two")


class ExitsOnLoading(Exception):
    def __reduce__(self) -> Any:
        return os._exit, (7,)


class WithoutWords(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class OddText(str):
    def __getitem__(self, key: Any) -> Any:
        raise ValueError("no part of me")

    encode = __getitem__  # type: ignore[assignment]


class WithOddText(Exception):
    def __str__(self) -> str:
        return OddText("text of an odd class")


def chained() -> Exception:
    last = Exception("the first")
    for nth in range(5000):
        later = Exception(f"number {nth}")
        later.__cause__, last = last, later
    return last


ERRORS: dict[str, Any] = {
    "Unpicklable": lambda: Unpicklable("told"),
    "FailsOnLoading": lambda: FailsOnLoading(1, 2),
    "ExitsOnLoading": lambda: ExitsOnLoading("told"),
    "WithoutWords": lambda: WithoutWords("told"),
    "WithOddText": WithOddText,
    "ValueError": lambda: ValueError("x" * 5_000_000),
    "Exception": chained,
    "UnicodeError": lambda: UnicodeError("\ud800 alone"),
}


@pytest.mark.each_value
@pytest.mark.parametrize("on_error", ["record", "raise"])
@pytest.mark.parametrize("name", ERRORS)
def test_an_exception_that_does_not_travel_is_the_task_s_error(name, on_error, any_shape, run, next_run_works):
    def work(task):
        if task == 3:
            raise ERRORS[name]()
        return task

    with contextlib.nullcontext() if on_error == "record" else pytest.raises(BaseException) as caught:  # noqa: PT011
        run(work, range(8), any_shape, on_error=on_error)
    if on_error == "raise":
        assert type(caught.value).__name__ in (name, "TaskError")
    (log,) = [log for log in worker_dispatcher.get_logs() if log["status"] == "error"]
    assert (log["task_id"], log["error"]["type"]) == (4, name)
    assert len(json.dumps(log["error"])) < SIZE_OF_A_LOG
    if on_error == "record":
        assert [one["result"] for one in worker_dispatcher.get_logs() if one is not log] == [0, 1, 2, 4, 5, 6, 7]
    next_run_works(any_shape)


def letters():
    yield from "ab"


@pytest.mark.parametrize("what", [threading.Lock, letters, sys._getframe])
def test_an_item_or_result_that_cannot_be_packed_is_its_task_s_error(what, process_shape, run, others_are_ok):
    def work(id, config, task):
        return what() if id == 5 else id * 10

    run(work, [0, what(), *range(8)], process_shape)
    logs = worker_dispatcher.get_logs()
    others_are_ok(10, [2, 5])
    assert "cannot be sent to a worker process" in logs[1]["error"]["message"]
    assert ("a generator" if what is letters else "cannot be sent to the parent process") in logs[4]["error"]["message"]


class OddTruth:
    def __bool__(self) -> bool:
        raise RuntimeError("neither")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("never")

    __hash__ = None  # type: ignore[assignment]


def test_results_pass_through_unchanged(any_shape, run, next_run_works):
    values = [None, 0, False, "", b"", [], {}, ValueError("returned"), np.zeros(0), "\ud800", 2**200, "x" * 200_000]
    values += [np.arange(100_000), np.arange(12).reshape(3, 4).T, np.float64("nan"), bytearray(200_000), OddTruth()]
    results = run(lambda task: task, values, any_shape)
    for value, result in zip(values, results, strict=True):
        assert type(result) is type(value)
        if isinstance(value, np.ndarray):
            assert np.array_equal(value, result)
            result[...] = 0  # it is the caller's own
        elif not isinstance(value, Exception | OddTruth | float):
            assert result == value
    assert {log["status"] for log in worker_dispatcher.get_logs()} == {"ok"}
    next_run_works(any_shape)  # lets go of the arrays, which stand on descriptors


def test_many_large_results_stay_alive(process_shape, run, next_run_works):
    results = run(lambda task: np.full(20_000, task), range(400), process_shape)
    assert [int(result[-1]) for result in results] == list(range(400))
    next_run_works(process_shape)


def test_the_child_of_a_task_that_forks_is_no_second_worker(any_shape, run, others_are_ok, tmp_path):
    def forks(id, config, task):
        with open(config, "a") as notes:
            notes.write(f"{id}\n")
        if id == 4 and (pid := os.fork()):
            os.waitpid(pid, 0)
        return id * 10

    notes = tmp_path / "notes"
    run(forks, range(30), any_shape, config=str(notes))
    others_are_ok(30)
    assert sorted(map(int, notes.read_text().split())) == list(range(1, 31))


def test_retries_of_a_task_that_kills_its_worker_are_bounded(process_shape, run, others_are_ok, tmp_path):
    def kills(id, config, task):
        if id == 4:
            with open(config, "a") as notes:
                notes.write("x")
            os._exit(9)
        return id * 10

    notes = tmp_path / "notes"
    run(kills, [*range(7)], {"number": 3, "use_processing": True}, config=str(notes), retries=3)
    others_are_ok(7, [4])
    log = worker_dispatcher.get_logs()[3]
    assert (log["status"], log["attempts"], notes.read_text()) == ("crashed", 4, "xxxx")


def test_a_kill_in_the_middle_of_a_batch_of_tiny_tasks_costs_one_task(process_shape, run, others_are_ok):
    def work(id, config, task):
        if id in (7001, 15002):
            ctypes.string_at(0)
        return id * 10

    run(work, range(20_000), process_shape)
    others_are_ok(20_000, [7001, 15002])
    assert [worker_dispatcher.get_logs()[id - 1]["status"] for id in (7001, 15002)] == ["crashed"] * 2


@pytest.mark.parametrize("end", ["timeout", "crash"])
def test_children_of_a_killed_task_go_with_it(end, process_shape, run, tmp_path, wait_until):
    def work(id, config, task):
        if id == 2:
            child = subprocess.Popen(["sleep", "3600"])
            (config / "pid").write_text(str(child.pid))
            if end == "crash":
                os.abort()
            child.wait()
        return id * 10

    run(work, range(6), process_shape, config=tmp_path, timeout=0.4)
    assert worker_dispatcher.get_logs()[1]["status"] == {"timeout": "timeout", "crash": "crashed"}[end]
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", 3)


def test_what_tasks_printed_is_not_lost_when_a_later_task_crashes(process_shape, run, capfd):
    def work(id, config, task):
        print(f"line {id}")
        if id == 200:
            os._exit(1)

    run(work, range(200), process_shape)
    printed = capfd.readouterr().out.split("\n")
    assert {f"line {id}" for id in range(1, 201)} <= set(printed)


def test_the_death_of_the_fork_server_costs_no_task(process_shape, run, others_are_ok, next_run_works, tmp_path):
    def work(id, config, task):
        if id == 5:
            try:
                (config / "done").touch(exist_ok=False)
            except FileExistsError:
                return 50
            os.kill(os.getppid(), 9)
            time.sleep(60)
        return id * 10

    run(work, range(40), process_shape, config=tmp_path)
    others_are_ok(40)
    next_run_works(process_shape)


def test_a_task_that_always_kills_the_fork_server_ends(run, next_run_works):
    def work(id, config, task):
        if id == 2:
            os.kill(os.getppid(), 9)
            time.sleep(60)
        return id * 10

    shape = {"number": 2, "use_processing": True}
    run(work, range(6), shape)
    assert worker_dispatcher.get_logs()[1]["status"] == "crashed"
    next_run_works(shape)


def test_what_a_worker_said_before_the_fork_server_ended_counts_when_it_is_heard_later(run, monkeypatch):
    """Else three times in a row it looks as if no worker could begin, and the run ends."""

    def work(id, config, task):
        if id == 1:
            os.kill(os.getppid(), 9)
            time.sleep(60)
        return id * 10

    pump, receive, ended = ServerStarter.pump, WorkerHandle.receive, []

    def noting(starter):
        ended.clear()
        try:
            return pump(starter)
        except Gone:
            ended.append(starter)
            raise

    def later(handle, **how):
        return [] if handle.held.seq_of(1) and not ended else receive(handle, **how)

    monkeypatch.setattr(ServerStarter, "pump", noting)
    monkeypatch.setattr(WorkerHandle, "receive", later)
    results = run(work, range(6), {"number": 1, "use_processing": True})
    assert results[0].status == "crashed"
    assert results[1:] == [20, 30, 40, 50, 60]


def test_a_timeout_ends_the_hard_cases_among_a_hundred_bystanders(process_shape, run, others_are_ok):
    import deeds

    guilty = {10: "deaf to signals", 50: "hang in C", 90: "swallow exceptions"}

    def work(id, config, task):
        if id in guilty:
            deeds.do(guilty[id])
        return id * 10

    run(work, range(103), process_shape, timeout=0.5)
    others_are_ok(103, guilty)
    logs = worker_dispatcher.get_logs()
    assert [logs[id - 1]["status"] for id in guilty] == ["timeout"] * 3
    assert max(logs[id - 1]["duration"] for id in guilty) < 0.5 + 3
