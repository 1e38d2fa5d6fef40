"""A worker that dies in a host that ignores the ends of its children, or reaps them, is noticed all the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import os, signal, sys, threading, time
import worker_dispatcher
SHAPES = {
    "processes": {"number": 2, "use_processing": True},
    "grid": {"number": 4, "parallel_processing": {"enabled": True, "processes": 2}},
}
def work(id):
    if id == 5:
        os.kill(os.getpid(), signal.SIGKILL) if END == "killed" else os._exit(3)
    return id
END = sys.argv[4]
def reap():
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0.001)
if sys.argv[1] == "ignores":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
elif sys.argv[1] == "reaps":
    threading.Thread(target=reap, daemon=True).start()
elif sys.argv[1] == "reaps in its handler":
    signal.signal(signal.SIGCHLD, lambda *_: os.waitpid(-1, os.WNOHANG))
def run(**task):
    worker = SHAPES[sys.argv[2]] | {"start_method": sys.argv[3]}
    task = {"list": 30, "function": work, **task}
    worker_dispatcher.start({"task": task, "worker": worker, "verbose": False})
    logs = worker_dispatcher.get_logs()
    print([(log["task_id"], log["status"], log["attempts"]) for log in logs if log["status"] != "ok"])
run()
run(retries=1, timeout=5)
"""


@pytest.mark.parametrize("end", ["killed", "exits"])
@pytest.mark.parametrize("method", ["forkserver", "fork"])
@pytest.mark.parametrize("shape", ["processes", "grid"])
@pytest.mark.parametrize("host", ["ignores", "reaps", "reaps in its handler"])
def test_a_worker_that_dies_fails_one_task_in_a_host_that_takes_its_end(host, shape, method, end):
    command = [sys.executable, "-c", CODE, host, shape, method, end]
    done = subprocess.run(command, check=False, capture_output=True, timeout=40, text=True)
    assert done.stdout.splitlines() == ["[(5, 'crashed', 1)]", "[(5, 'crashed', 2)]"], done.stderr
    assert done.returncode == 0
