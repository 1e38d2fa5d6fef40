"""A host that has more descriptors open than select() can count, and a close that goes on whatever one step raises."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from worker_dispatcher.osproc.shared_status import SharedStatus
from worker_dispatcher.osproc.starter import Process, ServerStarter
from worker_dispatcher.osproc.system import close_all
from worker_dispatcher.pools.parent import supervisor
from worker_dispatcher.pools.parent.worker_handle import WorkerHandle
from worker_dispatcher.pools.protocol.log_forwarding import Incoming

CODE = """
import logging, os, resource, sys
import worker_dispatcher
resource.setrlimit(resource.RLIMIT_NOFILE, (1400, 1400))
held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
logging.basicConfig(stream=sys.stdout)
def work(id):
    import logging
    logging.warning("from a worker")
    return id
async def coroutine(id):
    import asyncio
    await asyncio.sleep(0.001)
    return id
SHAPES = {
    "processes": {"number": 4, "use_processing": True},
    "grid": {"number": 4, "parallel_processing": {"enabled": True, "processes": 2}},
    "threads": {"number": 3},
}
before = len(os.listdir("/proc/self/fd"))
worker = SHAPES[sys.argv[1]] | ({} if sys.argv[2] == "None" else {"start_method": sys.argv[2]})
for nth in range(3):
    for function in (work, coroutine):
        task = {"list": 40, "function": function}
        results = worker_dispatcher.start({"task": task, "worker": worker, "verbose": False})
        assert results == list(range(1, 41)), results
    if nth == 0:
        first = len(os.listdir("/proc/self/fd"))
assert len(os.listdir("/proc/self/fd")) == first, "descriptors are left"
try:
    while True:
        assert os.waitpid(-1, os.WNOHANG) == (0, 0), "zombies are left"
        break
except ChildProcessError:
    pass
print("done")
"""


@pytest.mark.parametrize(
    ("shape", "method"),
    [("threads", None), *((shape, method) for shape in ("processes", "grid") for method in (None, "spawn", "fork"))],
)
def test_a_host_with_more_descriptors_than_select_takes_runs_as_any_other(shape, method):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 1400:
        pytest.skip("this machine allows too few descriptors")
    command = [sys.executable, "-c", CODE, shape, str(method)]
    done = subprocess.run(command, check=False, capture_output=True, timeout=60, text=True)
    assert done.stdout.splitlines()[-1:] == ["done"], done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("owner", "step"),
    [
        (supervisor, "settle_after_exit"),
        (WorkerHandle, "receive"),
        (Process, "close"),
        (SharedStatus, "close"),
        (ServerStarter, "close"),
        (Incoming, "close"),
    ],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_a_close_goes_on_to_its_end_whatever_one_step_raises(
    owner, step, process_shape, run, monkeypatch, next_run_works
):
    went_on = getattr(owner, step)
    raised = []

    def once(self, *arguments, **options):
        try:
            return went_on(self, *arguments, **options)
        finally:
            if not raised and not getattr(getattr(self, "life", None), "open", False):  # a worker's: at its end
                raised.append(step)
                raise ArithmeticError(step)

    monkeypatch.setattr(owner, step, once)
    with pytest.raises(ArithmeticError, match=step):
        run(lambda id: id, 40, process_shape)
    assert raised
    monkeypatch.undo()
    next_run_works(process_shape)


def test_a_descriptor_that_somebody_has_closed_does_not_keep_the_others_open():
    fds = [os.dup(0) for _ in range(3)]
    os.close(fds[1])
    close_all(fds)
    for fd in fds:
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(fd)
