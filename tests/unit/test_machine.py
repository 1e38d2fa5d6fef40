"""How many cores a run may use: the affinity, cut by the container's quota, on machines that say it in any way."""

from __future__ import annotations

import io
import os

import pytest

from worker_dispatcher.dispatch import machine
from worker_dispatcher.dispatch.machine import usable_cores

V2 = "/sys/fs/cgroup/cpu.max"
QUOTA = "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"
PERIOD = "/sys/fs/cgroup/cpu/cpu.cfs_period_us"


@pytest.fixture
def on_machine(monkeypatch):
    """on_machine(cores, files): the cores that a machine with such an affinity and such files lets us use."""

    def usable(cores: int, files: dict[str, str | OSError]) -> int:
        def opened(path: str) -> io.StringIO:
            content = files.get(path, FileNotFoundError(path))
            if isinstance(content, OSError):
                raise content
            return io.StringIO(content)

        monkeypatch.setattr(machine, "open", opened, raising=False)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(3, 3 + cores)))
        return usable_cores()

    return usable


@pytest.mark.parametrize(
    ("content", "cores"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("100001 100000\n", 2),
        ("50000 100000\n", 1),
        ("1 100000\n", 1),
        ("799999 100000", 8),
        ("6400000 100000\n", 8),
        ("30000 10000\n", 3),
        ("0 100000\n", 8),
        ("-1 100000\n", 8),
        ("what ever\n", 8),
    ],
)
def test_the_quota_of_version_2_cuts_the_affinity(content, cores, on_machine):
    assert on_machine(8, {V2: content, QUOTA: "100000\n", PERIOD: "100000\n"}) == cores


@pytest.mark.parametrize("missing", [None, PermissionError("no"), "", "100000", "1 2 3"])
@pytest.mark.parametrize(
    ("quota", "period", "cores"),
    [
        ("-1\n", "100000\n", 8),
        ("250000\n", "100000\n", 3),
        ("150000", "50000", 3),
        ("1000\n", "100000\n", 1),
        ("\n", "\n", 8),
        ("200000\n", OSError("gone"), 8),
        (OSError("gone"), "100000\n", 8),
    ],
)
def test_without_version_2_the_quota_of_version_1_does(quota, period, cores, missing, on_machine):
    files = {QUOTA: quota, PERIOD: period} | ({} if missing is None else {V2: missing})
    assert on_machine(8, files) == cores


def test_without_any_quota_the_affinity_counts(on_machine):
    assert on_machine(5, {}) == 5


def test_there_is_always_a_core(on_machine):
    assert on_machine(0, {}) == 1


@pytest.mark.parametrize(("count", "cores"), [(6, 6), (None, 1)])
def test_where_there_is_no_affinity_all_cores_count(count, cores, on_machine, monkeypatch):
    on_machine(8, {})
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert usable_cores() == cores
