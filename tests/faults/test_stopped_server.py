"""A fork server that stands still, and a system that gives no more threads or processes: nothing hangs, all is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from programs import tell

import worker_dispatcher
from worker_dispatcher.errors import RunError
from worker_dispatcher.osproc.starter import ServerStarter


def stops_the_server(id: int, config: str) -> int:
    if id == 5:
        with open(config, "w") as file:
            file.write(str(os.getppid()))
        os.kill(os.getppid(), signal.SIGSTOP)
        time.sleep(60)
    return id * 10


def test_a_timeout_counts_while_the_fork_server_stands_still(
    process_shape, run, others_are_ok, next_run_works, tmp_path
):
    note = tmp_path / "server"
    began = time.monotonic()
    try:
        run(stops_the_server, 12, process_shape, config=str(note), timeout=0.5)
        took = time.monotonic() - began
        others_are_ok(12, [5])
        log = worker_dispatcher.get_logs()[4]
        assert (log["status"], log["attempts"]) == ("timeout", 1)
        assert log["duration"] < 4
        assert took < 12
    finally:
        with suppress(ProcessLookupError):  # it was replaced, and may have been reaped with the pool
            os.kill(int(note.read_text()), signal.SIGCONT)
    next_run_works(process_shape)


def test_tasks_of_a_run_in_a_pool_that_come_back_run_before_those_after_them(tmp_path: Path):
    """Else they would wait for the end of long ones that were not yet begun when they were."""
    code = """
import signal, threading
from worker_dispatcher.osproc import forkserver
from worker_dispatcher.osproc.starter import ServerStarter

start, asked = ServerStarter.start, []
def noting(self, *arguments):
    asked.append(start(self, *arguments))
    return asked[-1]
ServerStarter.start = noting

run(len, [[1]])
server = forkserver._server._pid
asked.clear()
os.kill(server, signal.SIGSTOP)
with worker_dispatcher.WorkerPool(2, kind="process") as pool:
    task = {"list": [0.0, 0.0, 600.0, 600.0, 600.0, 600.0], "function": time.sleep}
    launched = worker_dispatcher.launch({"task": task, "worker": {"pool": pool}, "verbose": False})
    while len(asked) < 2:
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(server, signal.SIGKILL)
    ended = [log["task_id"] for _, log in zip(range(2), launched)]
    launched.cancel()
    launched.wait()
tell([sorted(ended), launched.info["counts"]["ok"]])
"""
    assert tell(tmp_path, "import time\n" + code) == [[1, 2], 2]


@pytest.mark.parametrize("method", [None, "spawn"])
def test_a_log_names_the_process_though_the_server_has_not_said_yet_that_it_started(process_shape, method, monkeypatch):
    logs: list[dict[str, Any]] = []
    pump = ServerStarter.pump
    monkeypatch.setattr(ServerStarter, "pump", lambda self: pump(self) if logs else [])
    task = {"list": 3, "function": lambda id: os.getpid()}
    config = {"task": task, "worker": {**process_shape, "start_method": method}, "verbose": False}
    for log in worker_dispatcher.launch(config, keep_records=False):
        logs.append(log)
    assert [log["pid"] for log in logs] == [log["result"] for log in logs]


def no_thread(self: threading.Thread) -> None:
    raise RuntimeError(no_thread.why)


@pytest.mark.parametrize(
    ("why", "told"),
    [
        ("can't create new thread at interpreter shutdown", "call start before that, and not in a function of atexit"),
        ("can't start new thread", "ulimit -u.*use fewer workers"),
    ],
)
@pytest.mark.parametrize("how", ["start", "launch", "generator", "coroutine"])
def test_a_thread_that_cannot_be_started_is_one_clear_error(how, why, told, monkeypatch):
    async def coroutine(task):
        return task

    monkeypatch.setattr(no_thread, "why", why, raising=False)
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    task = {
        "list": iter([1, 2]) if how == "generator" else [1, 2],
        "function": coroutine if how == "coroutine" else abs,
    }
    go = worker_dispatcher.launch if how == "launch" else worker_dispatcher.start
    with pytest.raises(RunError, match=f"no thread can be started, since .*{told}") as caught:
        go({"task": task, "worker": {"number": 2}, "verbose": False})
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_no_room_for_one_more_process_is_a_plain_message(method):
    code = f"""
import errno, os
import worker_dispatcher
def full(*arguments, **named):
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
os.fork = os.posix_spawn = full
worker = {{"number": 2, "use_processing": True, "start_method": {method!r}}}
try:
    worker_dispatcher.start({{"task": {{"list": [1, 2], "function": abs}}, "worker": worker, "verbose": False}})
except worker_dispatcher.RunError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, timeout=30, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("no worker process can be started")
    assert "Resource temporarily unavailable" in done.stdout
