"""What tasks log on a cluster reaches the handlers of the program whose tasks they are, as from worker processes."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clusters import address

import worker_dispatcher as wd
from worker_dispatcher import WorkerPool

pytest.importorskip("distributed")

MANY = 3000  # records: several times what the way to the parent holds
INSIDE = pytest.mark.parametrize("inside", [{}, {"use_processing": True}], ids=["threads", "processes"])


@pytest.fixture
def backend() -> dict[str, Any]:
    return {"type": "dask", "address": address()}


def start(function: Callable[..., Any], tasks: Any, worker: dict[str, Any], **task: Any) -> Any:
    return wd.start({"task": {"list": tasks, "function": function, **task}, "worker": worker, "verbose": False})


def log_many(id: int) -> int:
    for nth in range(MANY):
        logging.getLogger("app").info("%d: %d", id, nth)
    return id


@INSIDE
def test_records_come_in_order_with_the_address_of_their_dask_worker(
    backend: dict[str, Any], handler: Any, inside: dict[str, Any]
) -> None:
    assert start(log_many, 4, {"backend": backend, **inside}) == [1, 2, 3, 4]
    for log in wd.get_logs():
        own = [record for record in handler.records if record.getMessage().startswith(f"{log['task_id']}:")]
        assert [record.getMessage() for record in own] == [f"{log['task_id']}: {nth}" for nth in range(MANY)]
        assert {(vars(record)["dask_worker"], record.process) for record in own} == {(log["address"], log["pid"])}


@INSIDE
def test_levels_are_those_of_the_program_and_the_dask_worker_has_its_own_again(
    backend: dict[str, Any], handler: Any, inside: dict[str, Any]
) -> None:
    logging.getLogger("app.quiet").setLevel(logging.ERROR)
    logging.getLogger("app.loud").setLevel(logging.DEBUG)

    def log(task: str) -> None:
        for name in ("app", "app.quiet", "app.loud"):
            for level in (logging.DEBUG, logging.INFO, logging.ERROR):
                logging.getLogger(name).log(level, task)

    def known(task: str) -> list[Any]:
        root = logging.getLogger()
        return [root.level, root.handlers, *(logging.getLogger(n).level for n in ("app", "app.loud", "app.quiet"))]

    off = {"backend": backend, "forward_logging": False}
    before = start(known, ["x"], off)
    try:
        start(log, ["x"], {"backend": backend, **inside})
    finally:
        logging.getLogger("app.quiet").setLevel(logging.NOTSET)
        logging.getLogger("app.loud").setLevel(logging.NOTSET)
    assert [(record.name, record.levelname) for record in handler.records] == [
        ("app", "INFO"),
        ("app", "ERROR"),
        ("app.quiet", "ERROR"),
        ("app.loud", "DEBUG"),
        ("app.loud", "INFO"),
        ("app.loud", "ERROR"),
    ]
    assert start(known, ["x"], off) == before == [[logging.WARNING, [], 0, 0, 0]]


@INSIDE
def test_the_records_of_a_long_task_come_while_it_runs(
    backend: dict[str, Any], handler: Any, inside: dict[str, Any], tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    go = tmp_path / "go"

    def log(task: int) -> None:
        for nth in range(3):
            logging.getLogger("app").info("step %d", nth)
            time.sleep(0.05)
        wait_for(go)

    config = {"task": {"list": 1, "function": log}, "worker": {"backend": backend, **inside}, "verbose": False}
    run = wd.launch(config)
    wait_until(lambda: len(handler.records) == 3, within=30)
    go.touch()
    assert run.wait(30).info["counts"]["ok"] == 1


def wait_for(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.01)


def log_elsewhere(id: int) -> int:
    logging.getLogger("elsewhere").error("x")
    return id


def launch_held_up(backend: dict[str, Any], handler: Any, inside: dict[str, Any]) -> Any:
    """A run whose tasks log much, while the handler stands still with the first record."""
    handler.gate.clear()
    config = {"task": {"list": 2, "function": log_many}, "worker": {"backend": backend, **inside}, "verbose": False}
    run = wd.launch(config)
    assert handler.came.wait(30)
    return run


@INSIDE
def test_who_logs_waits_for_handlers_that_stand_still_and_nobody_else(
    backend: dict[str, Any], handler: Any, inside: dict[str, Any]
) -> None:
    run = launch_held_up(backend, handler, inside)
    other = start(log_elsewhere, 5, {"backend": backend, **inside})
    assert other == [1, 2, 3, 4, 5]
    assert run.info["counts"]["ok"] == 0
    handler.gate.set()
    assert run.wait(60).results == [1, 2]
    assert len(handler.records) == 2 * MANY


@pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.WorkerWarning")
@INSIDE
def test_a_run_whose_tasks_wait_to_log_can_be_cancelled(
    backend: dict[str, Any], handler: Any, inside: dict[str, Any]
) -> None:
    run = launch_held_up(backend, handler, inside)
    run.cancel()
    assert run.wait(30).info["counts"]["cancelled"] >= 1
    assert start(abs, [-1], {"backend": backend}) == [1]  # the threads of Dask are free again


@INSIDE
def test_where_it_is_asked_for_records_are_dropped_and_counted(
    backend: dict[str, Any], handler: Any, inside: dict[str, Any], wait_until: Callable[..., None]
) -> None:
    handler.gate.clear()
    worker = {"backend": backend, "forward_logging": "drop", **inside}
    run = wd.launch({"task": {"list": 2, "function": log_many}, "worker": worker, "verbose": False})
    wait_until(lambda: run.info["counts"]["ok"] == 2, within=30)  # although the handlers stand still
    handler.gate.set()
    with pytest.warns(wd.WorkerWarning, match="log records of workers were lost") as caught:
        run.wait(60)
    lost = int(str(caught[0].message).split()[0])
    assert 0 < len(handler.records) < 2 * MANY
    assert lost + len(handler.records) == 2 * MANY


def test_off_means_that_nothing_comes(backend: dict[str, Any], handler: Any) -> None:
    start(log_many, 1, {"backend": backend, "forward_logging": False})
    assert handler.records == []


def test_each_of_two_programs_gets_what_its_own_tasks_log(backend: dict[str, Any], handler: Any) -> None:
    def log(name: str, met: Any) -> int:
        logging.getLogger("app").info("of %s", name)
        return os.getpid()

    logging.getLogger("app").setLevel(logging.INFO)
    with WorkerPool(kind="dask", backend=backend) as one:
        one.submit(log, "one", None).result(30)
        logging.getLogger("app").setLevel(logging.ERROR)
        with WorkerPool(kind="dask", backend=backend) as other:
            [future.result(30) for future in [other.submit(log, "other", None) for _ in range(20)]]
        logging.getLogger("app").setLevel(logging.INFO)
        [future.result(30) for future in [one.submit(log, "one", None) for _ in range(20)]]
    assert handler.texts == ["of one"] * 21


def test_what_a_module_logs_as_it_is_imported_and_a_hook_as_it_begins_and_ends_comes(
    backend: dict[str, Any], handler: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"imported_{os.getpid()}"
    code = "import logging\nlogging.getLogger('app').info('imported')\ndef work(task):\n    return task\n"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    work = __import__(name).work
    handler.records.clear()

    def begin() -> None:
        logging.getLogger("app").info("begins")

    def end() -> None:
        logging.getLogger("app").info("ends")

    worker = {"backend": backend, "number": 1, "init": begin, "exit": end}
    assert start(work, ["x"], worker) == ["x"]
    assert handler.texts == ["imported", "begins", "ends"]


def test_warnings_are_logged_where_the_program_logs_its_own(backend: dict[str, Any], handler: Any) -> None:
    def warn(task: str) -> None:
        import warnings

        warnings.warn(f"careful {task}", UserWarning, stacklevel=1)

    kept = type(handler)()
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(kept)
    try:
        start(warn, ["a"], {"backend": backend})
    finally:
        logging.getLogger("py.warnings").removeHandler(kept)
        logging.captureWarnings(False)
    assert ["careful a" in text for text in kept.texts] == [True]


def test_records_of_a_pool_that_is_kept_come_while_it_is(
    backend: dict[str, Any], handler: Any, wait_until: Callable[..., None]
) -> None:
    with WorkerPool(kind="dask", backend=backend) as pool:
        pool.submit(log_many, 7).result(30)
        wait_until(lambda: len(handler.records) == MANY, within=30)
        pool.submit(log_many, 8).result(30)
        threads = [thread.name for thread in threading.enumerate()]
        assert threads.count("worker-logs") == 1
    assert handler.texts == [f"{id}: {nth}" for id in (7, 8) for nth in range(MANY)]
