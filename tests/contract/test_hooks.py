"""worker.init and worker.exit: once in each worker, with what it made, in every shape; and what their errors mean."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
import time

import pytest
from staging import SHAPES

import worker_dispatcher as wd
from worker_dispatcher.pools import base, threads
from worker_dispatcher.pools.parent import limits

NUMBER = 4


class Unsendable(Exception):
    def __reduce__(self):
        raise TypeError("stays here")


def started_and_ended(notes):
    lines = notes.all()
    return sum(line.startswith("init") for line in lines), sum(line.startswith("exit") for line in lines)


def hooked(notes):
    """init and exit that note what they get, and where they run."""

    def init(config):
        notes.add(f"init {config['name']}")
        return os.getpid(), threading.get_ident()

    def end(worker_state):
        here = (os.getpid(), threading.get_ident())
        notes.add(f"exit {'at home' if here == worker_state else 'elsewhere'}")

    return {"init": init, "exit": end}


def meeting(shape, notes):
    """A task that ends once as many run as there are workers, so that each worker runs one; it gives the state."""
    fact = notes.has(*range(1, NUMBER + 1)) if shape.name != "coroutine-processes" else lambda: True

    async def awaiting(id, worker_state):
        notes.add(id)
        while not fact():
            await asyncio.sleep(0.002)
        return worker_state

    def plain(id, worker_state):
        notes.add(id)
        while not fact():
            time.sleep(0.002)
        return worker_state

    return awaiting if shape.coroutine else plain


@pytest.fixture
def start(make_config):
    """start(shape, function, list, worker options, **task): the function is given as it is."""

    def go(shape, function, items, worker=None, **task):
        config = make_config(shape, len, items, worker, **task)
        config["task"]["function"] = function
        return wd.start(config)

    return go


def test_init_and_exit_run_once_in_each_worker_and_its_tasks_get_the_state(shape, start, notes):
    states = start(shape, meeting(shape, notes), NUMBER, hooked(notes), config={"name": "n"}, timeout=30)

    # Coroutines share a loop, and so a state.
    count = {"coroutine-threads": 1}.get(shape.name) or len({pid for pid, _ in states} if shape.coroutine else states)
    if not shape.coroutine:
        assert count == NUMBER
    assert len(set(states)) == count
    assert started_and_ended(notes) == (count, count)
    assert {line for line in notes.all() if not line.isdigit()} == {"init n", "exit at home"}


def test_a_connection_of_a_kind_that_stays_in_its_thread_serves_all_tasks_of_a_worker(plain_shape, start, tmp_path):
    path = tmp_path / "table.db"
    with sqlite3.connect(path) as table:
        table.execute("CREATE TABLE done (id INTEGER)")
    table.close()

    def work(task, worker_state):
        worker_state.execute("INSERT INTO done VALUES (?)", (task,))
        worker_state.commit()

    hooks = {"init": lambda: sqlite3.connect(path, timeout=30), "exit": sqlite3.Connection.close}
    start(plain_shape, work, 20 * [7], hooks)

    with sqlite3.connect(path) as table:
        assert table.execute("SELECT count(*) FROM done").fetchone() == (20,)
    table.close()


def test_coroutine_functions_serve_as_hooks_of_coroutines_and_run_on_their_loop(shape, start, notes):
    if not shape.coroutine:
        return

    async def init():
        return asyncio.get_running_loop()

    async def end(worker_state):
        notes.add(f"exit {worker_state is asyncio.get_running_loop()}")

    async def task(worker_state):
        return worker_state is asyncio.get_running_loop()

    assert start(shape, task, 8, {"init": init, "exit": end}) == [True] * 8
    assert set(notes.all()) == {"exit True"}


@pytest.mark.parametrize("error", [ValueError, Unsendable])
def test_an_init_that_raises_ends_the_run_with_its_exception(shape, start, notes, error):
    def init():
        notes.add("init")
        raise error("no table")

    sendable = error is ValueError or not shape.in_processes
    with pytest.raises(error if sendable else wd.RunError, match="no table") as caught:
        start(
            shape, shape.function(lambda id: notes.add("task")), 20, {"init": init, "exit": lambda: notes.add("exit")}
        )

    assert caught.value.__notes__[0].startswith("  worker.init raised this in ")
    if shape.in_processes:
        assert "in init" in str(caught.value.__cause__)
    assert set(notes.all()) == {"init"}
    assert len(wd.get_result_info()["not_run"]) == 20
    assert wd.get_logs() == []


def test_an_exit_that_raises_is_a_warning_and_costs_nothing(shape, start, make_config):
    def end():
        raise OSError("the other side has hung up")

    with pytest.warns(wd.WorkerWarning, match="worker.exit raised OSError: the other side has hung up") as caught:
        results = start(shape, shape.function(lambda id: id), 8, {"exit": end})

    assert results == list(range(1, 9))
    assert caught[0].filename == make_config.__code__.co_filename or caught[0].filename == __file__


def test_no_exit_runs_in_a_worker_that_is_stopped(shape, start, notes, make_config):
    def end():
        notes.add("exit")

    config = make_config(shape, lambda id: id, 100_000_000, {"exit": end}, top={"runtime": 0.3})
    wd.start(config)

    assert notes.all() == []


@pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")
def test_a_worker_in_the_place_of_one_that_died_runs_init_too(process_shape, start, notes):
    def init():
        notes.add("init")
        return "here"

    def work(id, worker_state):
        if id % 4 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return worker_state

    async def work_async(id, worker_state):
        return work(id, worker_state)

    results = start(process_shape, work_async if process_shape.coroutine else work, 12, {"number": 2, "init": init})

    assert [bool(result) for result in results] == [True, True, True, False] * 3
    assert len(notes.all()) >= 3


@pytest.mark.parametrize("how", ["exit", "kill", "kill all but the first"])
def test_an_init_that_ends_its_process_ends_the_run_with_a_clear_error(process_shape, start, notes, how):
    def init():
        notes.add("init")
        if how == "exit":
            os._exit(3)
        if how == "kill" or len(notes.all()) > 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def work(id):
        os._exit(0)

    end = "exited with code 3" if how == "exit" else "was killed by signal 9"
    with pytest.raises(wd.RunError, match=f"worker processes end in worker.init.* {end}"):
        start(process_shape, process_shape.function(work), 400, {"number": 2, "init": init})


@pytest.mark.differs_on_a_cluster("how long it may take is known there, and stands")
@pytest.mark.leaves_threads
def test_an_init_that_does_not_return_ends_the_run_in_the_end(shape, start, notes, monkeypatch):
    for module in (base, threads, limits):
        monkeypatch.setattr(module, "LONGEST_INIT", 0.5)

    with pytest.raises(wd.RunError, match=r"worker.init has not returned after"):
        start(shape, shape.function(lambda id: id), 3, {"init": lambda: notes.wait("go")}, timeout=0.2)
    notes.add("go")


def test_the_time_of_init_is_no_task_s_time(shape, start, notes):
    def init():
        notes.add("init")
        time.sleep(1.2)

    # Two threads for each process of a grid: what is ready there are processes, whose threads still run init.
    options = {"parallel_processing": {"enabled": True, "processes": 2}} if shape.is_grid else {}
    results = start(shape, shape.function(lambda id: id), 4, {"init": init, **options}, timeout=1)

    assert results == [1, 2, 3, 4]
    assert max(log["duration"] for log in wd.get_logs()) < 1
    assert len(notes.all()) <= NUMBER  # nobody took the long start for a standstill, and killed for it


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape.is_grid and not shape.coroutine])
def test_the_task_beside_an_init_that_ends_their_process_is_not_to_blame(start, notes, tmp_path, name):
    def claim(what):
        try:
            os.close(os.open(tmp_path / what, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    def init():
        if not claim("first") and claim("second"):
            notes.wait("task")
            os.kill(os.getpid(), signal.SIGKILL)

    def work(id):
        notes.add("task")
        time.sleep(0.3)
        return id

    options = {"number": 2, "parallel_processing": {"enabled": True, "processes": 1}, "init": init}
    assert start(SHAPES[name], work, 4, options) == [1, 2, 3, 4]
    assert {log["attempts"] for log in wd.get_logs()} == {1}


def test_in_frequency_mode_the_clock_starts_once_the_first_workers_are_initialised(plain_shape, start):
    if plain_shape.is_grid:  # each of its threads runs init before its own first task
        return
    frequency = {"enabled": True, "interval": 0.1}
    start(plain_shape, lambda id: id, 4, {"number": 2, "frequency_mode": frequency, "init": lambda: time.sleep(0.8)})

    assert max(log["queue_delay"] for log in wd.get_logs()[:2]) < 0.8


def test_an_exit_that_does_not_return_holds_nobody_up_for_long(process_shape, start, monkeypatch):
    monkeypatch.setattr(base.Setup, "exit_grace", 0.3)
    began = time.monotonic()

    with pytest.warns(wd.WorkerWarning, match="worker.exit had not returned after 0.3 s"):
        assert start(process_shape, process_shape.function(lambda id: id), 4, {"exit": lambda: time.sleep(60)})

    assert time.monotonic() - began < 20


def test_an_exit_that_ends_its_process_is_told(process_shape, start):
    with pytest.warns(wd.WorkerWarning, match=r"worker.exit ended its process, which exited with code 9"):
        assert start(process_shape, process_shape.function(lambda id: id), 4, {"exit": lambda: os._exit(9)})


def test_a_run_in_init_and_a_fork_that_comes_back_from_it_harm_nobody(process_shape, start, notes):
    def init():
        if os.fork() == 0:
            return "child"
        os.wait()
        return "parent"

    function = meeting(process_shape, notes)
    assert set(start(process_shape, function, NUMBER, {"init": init})) == {"parent"}


# Whose arguments are right is known before anything starts.


def takes_state(worker_state, id):
    return worker_state


@pytest.mark.parametrize(
    ("task", "worker", "path", "text"),
    [
        ({"function": takes_state}, {}, "task.function", "set worker.init, or give it a default"),
        ({}, {"init": 3}, "worker.init", "must be callable or None, got int 3"),
        ({}, {"init": lambda a, b: 1}, "worker.init", "parameters 'a' and 'b' are not among config"),
        ({}, {"exit": lambda state, config: 1}, "worker.exit", "are not among worker_state"),
        ({}, {"init": asyncio.sleep}, "worker.init", "make it a plain function"),
    ],
)
def test_what_cannot_be_called_is_refused(task, worker, path, text):
    with pytest.raises(wd.ConfigError) as caught:
        wd.start({"task": {"list": 1, "function": lambda task: task} | task, "worker": worker, "verbose": False})
    ((found, problem),) = caught.value.problems
    assert found == path
    assert text in problem


@pytest.mark.parametrize(
    ("init", "state"),
    [
        (lambda: "nothing", "nothing"),
        (lambda config: config, "c"),
        (lambda anything: anything, "c"),
        (lambda size=3: size, 3),
        (lambda **more: more, {"config": "c"}),
        (str.upper, "C"),
    ],
)
def test_init_gets_the_config_if_it_wants_it(init, state):
    config = {"task": {"list": 1, "function": takes_state, "config": "c"}, "worker": {"init": init}, "verbose": False}
    assert wd.start(config) == [state]


def test_a_function_that_names_no_state_and_one_that_takes_anything_are_called_as_without_init(start):
    shape = SHAPES["threads"]
    seen = start(shape, lambda **all: sorted(all), 1, {"init": lambda: 1})
    assert seen == [["config", "id", "metadata", "task"]]
    assert start(shape, lambda task: task, ["a"], {"init": lambda: 1}) == ["a"]
    assert start(shape, lambda worker_state: worker_state, ["a"], {"init": lambda: 1}) == [1]
    assert start(shape, lambda task, worker_state=5: worker_state, ["a"]) == [5]
