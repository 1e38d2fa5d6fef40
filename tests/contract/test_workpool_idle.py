"""Workers that leave when they have had nothing to do for a while, and come back with the next tasks."""

from __future__ import annotations

import os
import threading
import time

import pytest

from worker_dispatcher import WorkerPool

pytestmark = pytest.mark.above_the_pools

PATIENCE = 30  # seconds, for what takes a moment on a machine that has nothing else to do
KINDS = ["thread", "process", "grid"]


def await_(fact):
    until = time.monotonic() + PATIENCE
    while not fact():
        assert time.monotonic() < until
        time.sleep(0.01)


def nap(seconds):
    time.sleep(seconds)
    return os.getpid(), threading.get_ident()


@pytest.mark.parametrize("kind", KINDS)
def test_workers_that_were_idle_so_long_leave_and_come_back_on_demand(kind):
    with WorkerPool(3, kind=kind, idle_timeout=0.3) as pool:
        for _ in range(3):
            assert len([pool.submit(nap, 0.05) for _ in range(6)][-1].result(PATIENCE)) == 2
            await_(lambda: pool.stats().workers == 0)
        assert pool.submit(abs, -3).result(PATIENCE) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_with_a_task_stays_however_long_it_takes(kind):
    with WorkerPool(2, kind=kind, idle_timeout=0.2) as pool:
        long = pool.submit(nap, 1.5)
        assert long.result(PATIENCE)
        assert pool.stats().succeeded == 1


@pytest.mark.parametrize("kind", KINDS)
def test_workers_stay_where_no_time_is_given(kind):
    with WorkerPool(2, kind=kind) as pool:
        first = pool.submit(nap, 0).result(PATIENCE)
        time.sleep(0.5)
        assert pool.stats().workers >= 1
        assert pool.submit(nap, 0).result(PATIENCE)[0] == first[0]


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_that_come_as_workers_leave_are_all_run(kind):
    with WorkerPool(2, kind=kind, idle_timeout=0.05) as pool:
        for n in range(40):
            assert pool.submit(abs, -n).result(PATIENCE) == n
            time.sleep(0.045 + 0.0005 * n)
        stats = pool.stats()
    assert stats.submitted == stats.succeeded == 40


def switches(pid):
    """How often the threads of a process have been given a processor."""
    found = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status") as file:
            found += sum(int(line.split()[1]) for line in file if "ctxt" in line)
    return found


@pytest.mark.parametrize("kind", ["process", "grid"])
def test_idle_processes_do_not_run(kind):
    with WorkerPool(2, kind=kind) as pool:
        [future.result(PATIENCE) for future in [pool.submit(nap, 0.1) for _ in range(2)]]
        pids = set(pool._scheduler.pool.pids.values())
        time.sleep(0.3)
        before = {pid: switches(pid) for pid in pids}
        time.sleep(2.5)
        assert {pid: switches(pid) for pid in pids} == before
