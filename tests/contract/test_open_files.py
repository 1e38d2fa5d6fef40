"""An open file cannot go to another process: cloudpickle would send what is in it, as a StringIO."""

from __future__ import annotations

import pytest
from staging import SHAPES

import worker_dispatcher

REFUSED = "an open file cannot be sent or kept: give its path"
MODES = ["r", "rb", "r+b", "w", "wb"]


@pytest.fixture
def opened(tmp_path):
    """opened(mode): a file, closed after the test."""
    files = []

    def call(mode):
        path = tmp_path / "list.txt"
        path.write_text("one\ntwo\n")
        files.append(path.open(mode))
        return files[-1]

    yield call
    for one in files:
        one.close()


def error_of(task_id):
    return worker_dispatcher.get_logs()[task_id - 1]["error"]


@pytest.mark.parametrize("mode", MODES)
def test_an_open_file_as_an_item_is_its_task_s_error(mode, opened, process_shape, run):
    results = run(process_shape, str, ["a", opened(mode), {"of": [opened(mode)]}])

    assert results[0] == "a"
    for nth in (2, 3):
        assert error_of(nth)["type"] == "TypeError"
        assert error_of(nth)["message"].startswith(f"the task cannot be sent to a worker process: {REFUSED}")


@pytest.mark.parametrize("start_method", ["forkserver", "spawn", "fork"])
@pytest.mark.parametrize("mode", MODES)
def test_an_open_file_as_a_result_is_its_task_s_error(mode, start_method, tmp_path, run):
    path = str(tmp_path / "list.txt")
    worker = {"start_method": start_method, "number": 1}

    def work(id):
        return open(path, "w" if id == 1 else mode) if id < 3 else id

    results = run(SHAPES["processes"], work, 3, worker)

    assert results[2] == 3
    assert REFUSED in error_of(1)["message"]
    assert error_of(2)["message"].startswith(f"the result cannot be sent to the parent process: {REFUSED}")


def test_an_open_file_in_metadata_is_its_task_s_error(opened, process_shape, run, tmp_path):
    path = tmp_path / "noted.txt"
    path.write_text("one\n")

    def work(task, metadata):
        metadata["file"] = path.open()

    run(process_shape, work, [1])
    assert REFUSED in error_of(1)["message"]


@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
@pytest.mark.parametrize("mode", MODES)
def test_an_open_file_in_the_config_or_a_closure_is_refused_before_anything_starts(mode, start_method, opened, run):
    file, worker = opened(mode), {"start_method": start_method}

    with pytest.raises(worker_dispatcher.ConfigError) as caught:
        run(SHAPES["processes"], lambda task: file.name, [1], worker, config={"log": file, "lock": 1})

    (function, said), (part, text) = caught.value.problems
    assert (function, part) == ("task.function", "task.config['log']")
    assert "'file'" in said
    assert REFUSED in said
    assert REFUSED in text


def test_a_fork_has_an_open_file_of_the_config(opened, run):
    file = opened("r")
    worker = {"start_method": "fork", "number": 1}

    def work(task, config):
        return config is file, config.read()

    assert run(SHAPES["processes"], work, [1], worker, config=file) == [(True, "one\ntwo\n")]


def test_a_closed_file_is_refused_too(opened, run):
    file = opened("r")
    file.close()
    run(SHAPES["processes"], lambda task: 1, [file])
    assert "a closed file cannot be sent or kept: give its path" in error_of(1)["message"]


def test_an_open_file_stays_itself_in_threads(opened, run):
    file = opened("r")
    assert run(SHAPES["threads"], lambda task: task, [file]) == [file]


def test_an_open_file_as_a_result_is_not_kept_in_a_journal_as_a_copy(opened, run, tmp_path):
    file = opened("r")
    run(SHAPES["threads"], lambda task: file, [1], top={"journal": tmp_path / "run.db"})
    assert REFUSED in error_of(1)["message"]


OWN = """
import sys, worker_dispatcher
from sys import stdout, stderr
own = {"out": sys.stdout}

def work(task, file=sys.stderr):
    return stdout is sys.stdout, stderr is sys.stderr, own["out"] is sys.stdout, file is sys.stderr, task is sys.stdout

print(worker_dispatcher.start({
    "task": {"list": [stdout], "function": work},
    "worker": {"use_processing": True, "start_method": sys.argv[1]},
    "verbose": False,
}))
"""


@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
def test_standard_output_and_error_are_those_of_the_worker(script, start_method):
    done = script("-c", OWN, start_method)
    assert (done.stderr, done.stdout) == ("", "[(True, True, True, True, True)]\n")
