"""What this machine lets a run use, and how its cores are shared."""

from __future__ import annotations

import math
import os

from worker_dispatcher.tracebacks import own

_BLAS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

_NO_LIMIT = 1 << 60  # bytes: version 1 says so many where nobody set a limit


def usable_cores() -> int:
    """CPUs this process may use: its affinity, cut by the container's quota. At least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, cpu_quota() or cores))


def blas_environment(blas_threads: int | None, cores: int, processes: int) -> dict[str, str]:
    """Variables that keep workers x BLAS threads within the cores; what the user set himself stands."""
    # The others are looked at before the common one, and must not hide what the user said there.
    limit = str(blas_threads or os.environ.get("OMP_NUM_THREADS") or max(1, cores // processes))
    return {name: limit for name in _BLAS if blas_threads or name not in os.environ}


def cpu_quota() -> int | None:
    """CPUs, rounded up, of the least quota that this process's control group or one above it has (version 2, else 1);
    None where there is none."""
    known = []
    for quota, period in _settings("cpu.max", "cpu", "cpu.cfs_quota_us", "cpu.cfs_period_us"):
        if quota.isdigit() and period.isdigit() and int(quota) and int(period):
            known.append(math.ceil(int(quota) / int(period)))
    return min(known, default=None)


def memory_limit() -> int | None:
    """Bytes that this process's control group and those above it may use (version 2, else 1); None without a limit."""
    texts = [text for (text,) in _settings("memory.max", "memory", "memory.limit_in_bytes")]
    return min((int(text) for text in texts if text.isdigit() and int(text) < _NO_LIMIT), default=None)


def _settings(file: str, controller: str, *files: str) -> list[list[str]]:
    """What the control groups of this process say, the outermost first: the words in a file of version 2, else those in
    files of version 1, one in each. From inside a container some groups are not there to be read."""
    groups = _text("/proc/self/cgroup").splitlines()
    for of, names in (("", (file,)), (controller, files)):
        path = "/"
        for line in groups:
            controllers, _, found = line.partition(":")[2].partition(":")
            if of in controllers.split(","):
                path = found
        folder, told = f"/sys/fs/cgroup/{of}".rstrip("/"), []
        for part in (None, *path.split("/")):  # first the outermost itself
            if part not in ("", ".."):
                folder = f"{folder}/{part}" if part else folder
                words: list[str] = []
                for name in names:
                    words += _text(f"{folder}/{name}").split()
                if len(words) == len(files):
                    told.append(words)
        if told:
            return told
    return []


def _text(path: str) -> str:
    """What is in a file; nothing where it cannot be read."""
    try:
        with open(path) as file:
            return file.read()
    except own(OSError):
        return ""
