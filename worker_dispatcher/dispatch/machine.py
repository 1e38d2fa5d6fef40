"""What this machine lets a run use."""

from __future__ import annotations

import math
import os

__all__ = ["cpu_quota", "memory_limit", "usable_cores"]

_NO_LIMIT = 1 << 60  # bytes: version 1 says so many where nobody set a limit


def usable_cores() -> int:
    """CPUs this process may use: its affinity, cut by the container's quota. At least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, cpu_quota() or cores))


def cpu_quota() -> int | None:
    """CPUs of the control group's quota (version 2, then 1), rounded up; None where there is none."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        try:
            with open("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") as file:
                quota = file.read().strip()
            with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us") as file:
                period = file.read().strip()
        except OSError:
            return None
    if not quota.isdigit() or not period.isdigit() or int(quota) <= 0 or int(period) <= 0:
        return None
    return math.ceil(int(quota) / int(period))


def memory_limit() -> int | None:
    """Bytes that the control group (version 2, then 1) may use; None where there is no limit."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path) as file:
                text = file.read().strip()
        except OSError:
            continue
        return int(text) if text.isdigit() and int(text) < _NO_LIMIT else None
    return None
