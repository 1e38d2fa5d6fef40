"""worker.forward_logging: what workers log comes out of the parent's handlers, once, and costs nobody anything."""

from __future__ import annotations

import logging
import os
import signal
import threading

import pytest
from staging import SHAPES

import worker_dispatcher as wd


class Unsendable:
    def __init__(self):
        self.lock = threading.Lock()

    def __str__(self):
        return "an unsendable"


def test_each_record_reaches_the_parents_handlers_once(shape, run, handler):
    def log(id):
        logging.getLogger("app.part").info("task %d in %s", id, os.getpid())
        return os.getpid()

    pids = run(shape, log, 20)

    assert sorted(handler.texts) == sorted(f"task {id} in {pid}" for id, pid in enumerate(pids, 1))
    assert {record.process for record in handler.records} == set(pids)
    assert {(record.name, record.levelname, record.funcName) for record in handler.records} == {
        ("app.part", "INFO", "log")
    }


def test_levels_are_those_of_the_parent(process_shape, run, handler):
    logging.getLogger("app.quiet").setLevel(logging.ERROR)
    logging.getLogger("app.loud").setLevel(logging.DEBUG)

    def log():
        for name in ("app", "app.quiet", "app.loud"):
            for level in (logging.DEBUG, logging.INFO, logging.ERROR):
                logging.getLogger(name).log(level, "x")
        return logging.getLogger("app").isEnabledFor(logging.DEBUG)

    try:
        assert run(process_shape, lambda id: log(), 1) == [False]
    finally:
        logging.getLogger("app.quiet").setLevel(logging.NOTSET)
        logging.getLogger("app.loud").setLevel(logging.NOTSET)
    assert [(r.name, r.levelname) for r in handler.records] == [
        ("app", "INFO"),
        ("app", "ERROR"),
        ("app.quiet", "ERROR"),
        ("app.loud", "DEBUG"),
        ("app.loud", "INFO"),
        ("app.loud", "ERROR"),
    ]


def test_a_record_comes_whole_whatever_it_holds(process_shape, run, handler):
    def log(id):
        logger = logging.getLogger("app")
        try:
            raise ValueError("told")
        except ValueError:
            logger.exception("with %s", Unsendable(), extra={"order": {"id": 7}, "odd": Unsendable()})
        logger.error("too few %s %s", *[1])
        logger.error("x" * 1_000_000)
        logger.info("with extra", extra={"where": ("a", 1)})

    run(process_shape, log, 1)

    first, second, third, fourth = handler.records
    assert first.getMessage() == "with an unsendable"
    assert 'raise ValueError("told")' in first.exc_text
    assert (first.args, first.exc_info) == (None, None)
    assert "7" in str(first.order)
    assert first.odd == "an unsendable"
    assert "cannot be formatted: not enough arguments" in second.getMessage()
    assert len(third.getMessage()) < 20_000
    assert fourth.where == ("a", 1)


def test_the_records_of_a_long_task_come_while_it_runs(process_shape, make_config, notes, wait_until, handler):
    def log(id):
        for n in range(3):
            logging.getLogger("app").info("step %d", n)
        yield notes.has("go")

    run = wd.launch(make_config(process_shape, log, 1))
    wait_until(lambda: len(handler.records) == 3)
    notes.add("go")
    assert run.wait(20).info["counts"]["ok"] == 1


@pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")
def test_the_last_words_of_a_worker_that_dies_are_heard(process_shape, run, handler):
    def log(id):
        logging.getLogger("app").error("about to die")
        os.kill(os.getpid(), signal.SIGKILL)

    run(process_shape, log, 1)

    assert handler.texts == ["about to die"]


@pytest.mark.leaves_threads(1)
def test_many_records_of_many_threads_all_come(process_shape, run, handler):
    def log(id):
        logger = logging.getLogger("app")
        for n in range(100):
            logger.info("%d %d", id, n)

    run(process_shape, log, 40, {"number": 8})

    assert sorted(handler.texts) == sorted(f"{id} {n}" for id in range(1, 41) for n in range(100))


def test_a_handler_set_up_in_the_worker_writes_there_and_nobody_writes_it_again(process_shape, run, handler, tmp_path):
    path = tmp_path / "own"

    def own():
        logging.getLogger("app.own").addHandler(logging.FileHandler(path))

    def log(id):
        logging.getLogger("app.own").error("for its own handler")
        logging.getLogger("app.other").error("for all")

    run(process_shape, log, 1, {"init": own})

    assert path.read_text() == "for its own handler\n"
    assert handler.texts == ["for all"]


def test_a_worker_that_is_a_fork_of_this_process_uses_none_of_its_handlers(run, handler):
    def log(id):
        logging.getLogger("app").error("forked %d", id)

    run(SHAPES["processes"], log, 3, {"start_method": "fork"})

    assert sorted(handler.texts) == ["forked 1", "forked 2", "forked 3"]


def test_a_child_that_a_task_forks_does_not_write_into_the_channel(process_shape, run, handler, capfd):
    def log(id):
        if os.fork() == 0:
            logging.getLogger("app").error("the child")
            os._exit(0)
        os.wait()
        logging.getLogger("app").error("the task")
        return id

    assert run(process_shape, log, 3) == [1, 2, 3]
    assert handler.texts == ["the task"] * 3
    assert capfd.readouterr().err.splitlines().count("the child") == 3  # from 3.12 on a warning of forks names it too


def test_off_means_that_workers_log_for_themselves(process_shape, run, handler, capfd):
    run(process_shape, lambda id: logging.getLogger("app").error("by myself"), 1, {"forward_logging": False})

    assert handler.records == []
    assert capfd.readouterr().err == "by myself\n"


SCRIPT = """
import logging
import worker_dispatcher

logging.basicConfig(format="parent: %(levelname)s %(message)s", level=logging.INFO)

import helper

worker_dispatcher.start({
    "task": {"list": 2, "function": helper.work},
    "worker": {"number": 1, "use_processing": True, "start_method": METHOD},
    "verbose": False,
})
"""
HELPER = """
import logging

logging.basicConfig(format="helper: %(levelname)s %(message)s", level=logging.INFO)
log = logging.getLogger(__name__)


def work(id):
    log.info("task %d", id)
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_script_that_sets_logging_up_prints_each_line_once(method, script, tmp_path):
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "main.py").write_text(SCRIPT.replace("METHOD", repr(method)))
    done = script("main.py")
    assert done.stderr == "parent: INFO task 1\nparent: INFO task 2\n"


def test_without_any_logging_nothing_of_it_is_loaded(script, tmp_path):
    (tmp_path / "looks.py").write_text("import sys\ndef look(id):\n    return 'logging' in sys.modules\n")
    code = (
        "import worker_dispatcher, looks, sys\n"
        "print(worker_dispatcher.start({'task': {'list': 1, 'function': looks.look},"
        " 'worker': {'use_processing': True}, 'verbose': False}))"
    )
    done = script("-c", code)
    assert (done.stdout, done.stderr) == ("[False]\n", "")


WARNED = """
import logging, warnings
import worker_dispatcher

logging.basicConfig(format="%(name)s %(process)d %(message)s", level=logging.INFO)
logging.captureWarnings(CAPTURED)

def work(task):
    warnings.warn(f"careful {task}")
    return __import__("os").getpid()

pids = worker_dispatcher.start({
    "task": {"list": ["a"], "function": work},
    "worker": {"number": 1, **SHAPE},
    "verbose": False,
})
print(pids[0])
"""


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_processing": True},
        {"use_processing": True, "start_method": "spawn"},
        {"use_processing": True, "start_method": "fork"},
        {"parallel_processing": {"enabled": True}},
    ],
    ids=str,
)
@pytest.mark.parametrize("captured", [True, False])
def test_warnings_of_workers_are_logged_where_the_parent_logs_its_own(options, captured, script, tmp_path):
    (tmp_path / "main.py").write_text(WARNED.replace("CAPTURED", str(captured)).replace("SHAPE", repr(options)))
    done = script("main.py")
    assert "UserWarning: careful a" in done.stderr
    assert done.stderr.startswith(f"py.warnings {done.stdout.strip()} ") is captured
