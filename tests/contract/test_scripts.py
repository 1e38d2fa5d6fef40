"""Programs of every kind, with processes and without a guard: they run once, and say what to do where they cannot."""

from __future__ import annotations

import pytest

UNGUARDED = """
import os
import worker_dispatcher

print("loaded", flush=True)

class Point:
    def __init__(self, x):
        self.x = x

def helper(x):
    return Point(x * 2)

def task(id, task):
    return helper(task).x, os.getpid()

results = worker_dispatcher.start({
    "task": {"list": [1, 2, 3, 4], "function": task},
    "worker": {"number": 2, OPTIONS},
    "verbose": False,
})
print("results", [value for value, _ in results], os.getpid() in {pid for _, pid in results}, flush=True)
"""

MODULE = """
import worker_dispatcher

def task(id):
    return id * 10

results = worker_dispatcher.start({
    "task": {"list": 4, "function": task},
    "worker": {"number": 2, OPTIONS},
    "verbose": False,
})
print("results", results, flush=True)
"""

OPTIONS = ['"use_processing": True', '"parallel_processing": {"enabled": True}']

CHILD = """
import multiprocessing
import worker_dispatcher

class Point:
    def __init__(self, x):
        self.x = x

def work(task):
    return Point(task * 2)

def child(answers):
    results = worker_dispatcher.start({
        "task": {"list": [1, 2], "function": work},
        "worker": {"number": 2, "use_processing": True},
        "verbose": False,
    })
    answers.put([(type(result) is Point, result.x) for result in results])

if __name__ == "__main__":
    context = multiprocessing.get_context("METHOD")
    answers = context.SimpleQueue()
    process = context.Process(target=child, args=(answers,))
    process.start()
    process.join()
    print(process.exitcode, process.exitcode or answers.get())
"""


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
@pytest.mark.parametrize("how", ["script.py", "-c", "-m pkg.mod", "stdin"])
def test_an_unguarded_program_runs_once(script, tmp_path, how, options, method):
    code = UNGUARDED.replace("OPTIONS", f'{options}, "start_method": "{method}"')
    if how == "script.py":
        (tmp_path / "script.py").write_text(code)
        done = script("script.py")
    elif how == "-c":
        done = script("-c", code)
    elif how == "-m pkg.mod":
        (tmp_path / "pkg").mkdir()
        (tmp_path / "pkg" / "__init__.py").touch()
        (tmp_path / "pkg" / "mod.py").write_text(code)
        done = script("-m", "pkg.mod")
    else:
        done = script("-", text=code)

    assert done.stderr == ""
    assert done.stdout == "loaded\nresults [2, 4, 6, 8] False\n"
    assert done.returncode == 0


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_the_functions_of_a_script_work_in_children_of_multiprocessing(script, tmp_path, method):
    """There the script is a module of another name, `__mp_main__`, which workers cannot import either."""
    (tmp_path / "script.py").write_text(CHILD.replace("METHOD", method))
    done = script("script.py")

    assert (done.stderr, done.stdout) == ("", "0 [(True, 2), (True, 4)]\n")


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_start_in_a_module_that_workers_load_is_refused_there_with_one_line(script, tmp_path, options, method):
    (tmp_path / "unguarded_module.py").write_text(MODULE.replace("OPTIONS", f'{options}, "start_method": "{method}"'))

    done = script("-c", "import unguarded_module")

    assert "results [10, 20, 30, 40]\n" in done.stdout
    assert done.stdout.count("results False") <= 2  # once in each worker, and nowhere else
    lines = done.stderr.splitlines()
    assert lines
    line = MODULE.split("\n").index("results = worker_dispatcher.start({") + 1
    for said in lines:
        assert f"unguarded_module.py:{line}" in said
        assert "if __name__ == '__main__':" in said
    assert done.returncode == 0


def test_a_launch_in_a_module_that_workers_load_starts_nothing_there(script, tmp_path):
    code = MODULE.replace("worker_dispatcher.start(", "worker_dispatcher.launch(").replace("OPTIONS", OPTIONS[0])
    (tmp_path / "launching_module.py").write_text(code)

    done = script("-c", "import launching_module as m; m.results.wait(20)")

    assert done.returncode != 0
    assert "Put the call under: if __name__ == '__main__':" in done.stderr


def test_threads_work_in_a_module_that_workers_load(script, tmp_path):
    (tmp_path / "threaded_module.py").write_text(
        "import worker_dispatcher\n"
        "TABLE = worker_dispatcher.start({'task': {'list': 3, 'function': lambda id: id}, 'verbose': False})\n"
        "def task(id):\n    return TABLE[id - 1]\n"
    )
    code = (
        "import worker_dispatcher, threaded_module\n"
        "print(worker_dispatcher.start({'task': {'list': 3, 'function': threaded_module.task},"
        " 'worker': {'use_processing': True}, 'verbose': False}))"
    )

    assert script("-c", code).stdout == "[1, 2, 3]\n"


def test_the_program_ends_although_a_thread_is_stuck_in_a_task(script):
    code = (
        "import threading, worker_dispatcher, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "stuck = threading.Event()\n"
        "r = worker_dispatcher.start({'task': {'list': 1, 'function': lambda id: stuck.wait(), 'timeout': 0.2},"
        " 'verbose': False})\n"
        "print(r[0].status)"
    )
    done = script("-c", code)

    assert (done.stdout, done.stderr, done.returncode) == ("timeout\n", "", 0)


def test_the_environment_of_the_host_is_left_alone(script):
    code = (
        "import os, signal, worker_dispatcher as w\n"
        "before = dict(os.environ), os.getcwd(), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGCHLD)\n"
        "for worker in ({}, {'use_processing': True}, {'parallel_processing': {'enabled': True}}):\n"
        "    w.start({'task': {'list': 3, 'function': lambda id: id}, 'worker': worker, 'verbose': False})\n"
        "after = dict(os.environ), os.getcwd(), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGCHLD)\n"
        "print(before == after)"
    )
    assert script("-c", code).stdout == "True\n"
