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
    """CPUs, rounded up, of the least quota that this process's control group or one above it has (version 2, else 1);
    None where there is none."""
    pairs = [_text(f"{group}/cpu.max").split() for group in _groups("")]
    if not any(len(pair) == 2 for pair in pairs):
        files = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        pairs = [[_text(f"{group}/{name}").strip() for name in files] for group in _groups("cpu")]
    known = [(int(pair[0]), int(pair[1])) for pair in pairs if len(pair) == 2 and all(map(str.isdigit, pair))]
    return min((math.ceil(quota / period) for quota, period in known if quota > 0 and period > 0), default=None)


def memory_limit() -> int | None:
    """Bytes that this process's control group and those above it may use (version 2, else 1); None without a limit."""
    texts = [_text(f"{group}/memory.max").strip() for group in _groups("")]
    if not any(texts):
        texts = [_text(f"{group}/memory.limit_in_bytes").strip() for group in _groups("memory")]
    return min((int(text) for text in texts if text.isdigit() and int(text) < _NO_LIMIT), default=None)


def _groups(controller: str) -> list[str]:
    """Folders of the control groups above this process, the outermost first, and of its own.

    controller: of version 1; empty for version 2. From inside a container some are not there to be read.
    """
    path = "/"
    for line in _text("/proc/self/cgroup").splitlines():
        names, _, found = line.partition(":")[2].partition(":")
        if controller in names.split(","):
            path = found
    folders = [f"/sys/fs/cgroup/{controller}".rstrip("/")]
    for part in path.split("/"):
        if part not in ("", ".."):
            folders.append(f"{folders[-1]}/{part}")
    return folders


def _text(path: str) -> str:
    """What is in a file; nothing where it cannot be read."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
