"""What a person reads when something goes wrong: the last lines on the terminal, of whole scripts, word by word."""

from __future__ import annotations

import pickle
import re

import pytest

import worker_dispatcher as wd

pytestmark = pytest.mark.above_the_pools

KEPT = "and all logs are kept: worker_dispatcher.get_results(), get_logs()"
SECONDS = r"\d+(\.\d+)? (us|ms|s)"

PLACES = {  # of the one worker, as a pattern
    "threads": ({}, "worker thread 1"),
    "processes": ({"use_processing": True}, r"worker process 1 \(pid \d+\)"),
    "grid": ({"parallel_processing": {"enabled": True}}, r"worker 1 \(pid \d+\)"),
}

CONFIG = """
import worker_dispatcher
worker_dispatcher.start({
    "worker": {"nubmer": 3, "frequency_mode": {"interval": 0}},
    "frequency_mode": {"enabled": True},
    "task": {"retries": True, "timeout": "3 parsecs"},
})
"""

FIRST_TASK_ERROR = """
import worker_dispatcher

class ConnectTimeout(OSError):
    pass

def fetch(task):
    if task == "ORD_KL502":
        raise ConnectTimeout("host took more than 5 s")
    return task

worker_dispatcher.start({
    "task": {"list": ["ORD_AH001", "ORD_GR393", "ORD_KL502"], "function": fetch, "retries": 1, "on_error": "raise"},
    "worker": {"number": 1, **OPTIONS},
    "verbose": False,
})
"""

UNGUARDED = """
import worker_dispatcher

def size(id):
    return id

worker_dispatcher.start({"task": {"list": 3, "function": size}, "worker": {"use_processing": True}})
"""

UNSENDABLE = """
import sqlite3
import threading
import worker_dispatcher

lock = threading.Lock()
worker_dispatcher.start({
    "task": {"list": 3, "function": lambda id: id, "config": {"db": sqlite3.connect(""), "deep": [lock], "a": 1}},
    "worker": {"use_processing": True},
})
"""


def last_lines(text: str, first: str) -> list[str]:
    """From the last line that begins so."""
    lines = text.rstrip("\n").split("\n")
    return lines[max(at for at, line in enumerate(lines) if line.startswith(first)) :]


def test_the_first_config_error_tells_all_problems_at_once(script):
    done = script("-c", CONFIG)

    assert done.returncode == 1
    assert done.stdout == ""
    assert last_lines(done.stderr, "worker_dispatcher") == [
        "worker_dispatcher.ConfigError: 5 problems in the config",
        "  worker.nubmer                   unknown option; did you mean 'worker.number'?",
        "  worker.frequency_mode.interval  must be > 0, got 0; one tick per second is interval=1",
        "  frequency_mode                  unknown option here; it lives at 'worker.frequency_mode'",
        "  task.retries                    must be a whole number >= 0, got bool True; "
        "0 means that a failed task is not tried again",
        "  task.timeout                    must be a time such as 2.5, '250ms' or '5min', got str '3 parsecs'; "
        "give seconds such as 2.5, or None for no limit",
        "all options: worker-dispatcher options",
    ]


@pytest.mark.parametrize("kind", PLACES)
def test_the_first_task_error_is_the_tasks_own_and_says_which_task_it_was(script, tmp_path, kind):
    options, place = PLACES[kind]
    (tmp_path / "sizes.py").write_text(FIRST_TASK_ERROR.replace("OPTIONS", repr(options)))

    done = script("sizes.py")

    assert done.returncode == 1
    error, where, kept = last_lines(done.stderr, "ConnectTimeout")
    assert error == "ConnectTimeout: host took more than 5 s"
    assert re.fullmatch(f"  task #3 of 3, attempt 2, ran {SECONDS} in {place}; input 'ORD_KL502'", where)
    assert kept == f"  2 results {KEPT}"
    remote = done.stderr.partition("The above exception was the direct cause")[0]
    assert ("RemoteTraceback" in remote) == (kind != "threads")
    assert "sizes.py" in remote
    assert 'raise ConnectTimeout("host took more than 5 s")' in remote


def test_a_start_that_a_worker_meets_while_it_loads_a_module_names_line_and_guard(script, tmp_path):
    module = tmp_path / "sizes.py"
    module.write_text(UNGUARDED)

    done = script("-c", "import sizes")

    assert set(done.stderr.splitlines()) == {
        f"worker_dispatcher: start() at {module}:7 was called while a worker process loads this module; nothing was "
        "started. Put the call under: if __name__ == '__main__':"
    }


@pytest.mark.parametrize(("kind", "who"), [("processes", "worker process 1 was"), ("grid", "its worker process was")])
def test_a_killed_worker_is_named_with_the_signal(script, kind, who):
    options, place = PLACES[kind]
    code = (
        "import os, signal, worker_dispatcher\n"
        "worker_dispatcher.start({'task': {'list': 1, 'function': lambda id: os.kill(os.getpid(), signal.SIGKILL),"
        f" 'on_error': 'raise'}}, 'worker': {options}, 'verbose': False}})"
    )
    error, where, kept = last_lines(script("-c", code).stderr, "worker_dispatcher")

    who = f"worker_dispatcher.WorkerDied: task #1: {who}"
    assert error == f"{who} killed by signal 9 (SIGKILL), possibly out of memory"
    assert re.fullmatch(f"  task #1 of 1, attempt 1, ran {SECONDS} in {place}", where)
    assert kept == f"  0 results {KEPT}"


def test_what_cannot_be_sent_is_named_with_its_type_and_what_to_do(script):
    done = script("-c", UNSENDABLE)

    assert done.stdout == ""
    fix = "cannot be sent to a process; open it in worker.init, or use threads"
    assert last_lines(done.stderr, "worker_dispatcher") == [
        "worker_dispatcher.ConfigError: 2 problems in the config",
        f"  task.config['db']    (sqlite3.Connection) {fix} (TypeError: cannot pickle 'sqlite3.Connection' object)",
        f"  task.config['deep']  (list) {fix} (TypeError: cannot pickle '_thread.lock' object)",
        "all options: worker-dispatcher options",
    ]


@pytest.mark.parametrize(
    "code",
    [
        "def f(task): return db.execute(task)\n",
        "def make(db):\n    return lambda task: db.execute(task)\nf = make(db)\n",
    ],
)
def test_what_a_function_takes_along_is_named_if_it_cannot_be_sent(script, code):
    done = script(
        "-c",
        f"import sqlite3, worker_dispatcher\ndb = sqlite3.connect(':memory:')\n{code}"
        "worker_dispatcher.start({'task': {'list': 2, 'function': f}, 'worker': {'use_processing': True}})",
    )
    assert last_lines(done.stderr, "worker_dispatcher")[1] == (
        "  task.function  uses 'db' (sqlite3.Connection), which cannot be sent to a process; open it in worker.init, "
        "or use threads (TypeError: cannot pickle 'sqlite3.Connection' object)"
    )


RAN = rf", ran {SECONDS} in worker process 1 \(pid \d+\)"


@pytest.mark.parametrize(
    ("items", "result", "way", "rest"),
    [
        ("[threading.Lock()]", "1", "the task cannot be sent to a worker process", ""),  # it never ran
        ("['KL502']", "threading.Lock()", "the result cannot be sent to the parent process", f"{RAN}; input 'KL502'"),
    ],
)
def test_an_item_or_result_that_cannot_be_sent_is_told_apart(script, items, result, way, rest):
    code = (
        "import threading, worker_dispatcher\n"
        f"worker_dispatcher.start({{'task': {{'list': {items}, 'function': lambda task: {result},"
        " 'on_error': 'raise'}, 'worker': {'use_processing': True}, 'verbose': False})"
    )
    error, *notes, said, where, kept = last_lines(script("-c", code).stderr, "TypeError")

    assert error == "TypeError: cannot pickle '_thread.lock' object"
    # Python's own, from 3.14 on: a result is in a tuple, with its metadata.
    assert set(notes) <= {"when serializing list item 0", "when serializing tuple item 0"}
    assert said == f"  {way}"
    assert re.fullmatch(f"  task #1 of 1, attempt 1{rest}", where)
    assert kept == f"  0 results {KEPT}"


def test_a_task_that_is_over_its_time_is_named(script):
    code = (
        "import time, worker_dispatcher\n"
        "worker_dispatcher.start({'task': {'list': 1, 'function': lambda id: time.sleep(60), 'timeout': 0.2,"
        " 'on_error': 'raise'}, 'worker': {'use_processing': True}, 'verbose': False})"
    )
    error, where, _ = last_lines(script("-c", code).stderr, "worker_dispatcher")

    assert error == "worker_dispatcher.TaskTimeout: task #1 ran longer than its timeout of 0.2 s"
    assert where.startswith("  task #1 of 1, attempt 1, ran ")


@pytest.mark.parametrize("item", [{"password": "hunter2"}, ("hunter2",), ["hunter2"], "x" * 30 + "hunter2" * 10])
def test_only_a_short_text_or_a_number_of_an_input_is_in_a_note(shape, run, item):
    def fails(task):
        raise ValueError("no such order")

    with pytest.raises(ValueError, match="no such order") as caught:
        run(shape, fails, [item], on_error="raise")

    assert "hunter2" not in "".join(caught.value.__notes__)


@pytest.mark.parametrize(
    "error",
    [
        wd.ConfigError([("worker.number", "must be > 0")]),
        wd.RunError("why"),
        wd.TaskError(3, "ValueError", "no such order", "trace"),
        wd.TaskTimeout(3, 0.2),
        wd.WorkerDied(3, "was killed", 2),
        wd.TaskFailuresWarning("3 failed"),
        wd.WorkerDispatcherError("base"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_pickling(error):
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), str(copied), vars(copied)) == (type(error), str(error), vars(error))


def test_each_error_and_warning_has_the_name_it_is_imported_by():
    named = [getattr(wd, name) for name in wd.__all__]
    found = [one for one in named if isinstance(one, type) and issubclass(one, BaseException)]
    assert len(found) >= 7
    assert [f"{one.__module__}.{one.__qualname__}" for one in found] == [
        f"worker_dispatcher.{e.__name__}" for e in found
    ]
