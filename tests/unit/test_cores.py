"""How many cores a run may use: the affinity, cut by the container's quota, on machines that say it in any way."""

from __future__ import annotations

import io
import os

import pytest

from worker_dispatcher.osproc import cores as machine
from worker_dispatcher.osproc.cores import usable_cores

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


OWN = "/proc/self/cgroup"


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/a/b\n", {"/sys/fs/cgroup/a/b/cpu.max": "200000 100000"}, 2),
        ("0::/a/b\n", {"/sys/fs/cgroup/a/cpu.max": "300000 100000", "/sys/fs/cgroup/a/b/cpu.max": "max 100000"}, 3),
        ("0::/a/b\n", {V2: "100000 100000", "/sys/fs/cgroup/a/b/cpu.max": "200000 100000"}, 1),
        ("0::/not/seen/here\n", {V2: "200000 100000"}, 2),
        ("0::/../../out\n", {"/sys/fs/cgroup/out/cpu.max": "200000 100000"}, 2),
        (
            "4:memory:/m\n1:cpuacct,cpu:/docker/x\n0::/\n",
            {
                "/sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us": "250000\n",
                "/sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us": "100000\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        ("nonsense", {V2: "200000 100000"}, 2),
    ],
)
def test_the_least_quota_of_the_own_group_and_those_above_it_counts(own, files, cores, on_machine):
    """A service with CPUQuota, or a container that shares the machine's groups, has its quota below the root."""
    assert on_machine(8, {OWN: own, **files}) == cores


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
