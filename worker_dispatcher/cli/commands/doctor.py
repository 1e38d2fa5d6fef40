"""`doctor`: what this machine lets a run use, and what to do where that is too little."""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worker_dispatcher.cli.ending import FAILED, OK
from worker_dispatcher.cli.help_text import EXIT_CODES, add_command
from worker_dispatcher.clock import now
from worker_dispatcher.dispatch.banner import print as say
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.units import counted

_LEAST_DESCRIPTORS = 256  # for the interpreter, the host program, and a few for each worker
_DESCRIPTORS_EACH = 4
_LEAST_MEMORY = 128 << 20  # bytes a worker: an interpreter with numpy, and something to work on
_NAME, _EXTRA = re.compile(r"[\w.-]+"), re.compile(r"""\bextra\s*==\s*['"]([\w-]+)['"]""")
_OURS = ("test", "bench", "examples")  # extras for who works on the package
_ABOUT = """
    What this machine lets a run use: CPUs, memory, descriptors, and how fast a
    worker process is there. Ends in "all good", or in what to do.
"""


class _Line(NamedTuple):
    """One thing that was looked at. advice: what to do about it, '' if it is all right."""

    name: str
    found: str
    advice: str = ""


def add(commands: Any) -> None:
    parser = add_command(commands, "doctor", "is this machine ready, and what may a run use?", _ABOUT, EXIT_CODES)
    parser.set_defaults(function_of_command=_doctor)


def _doctor(_given: argparse.Namespace) -> int:
    advice, width = [], min(shutil.get_terminal_size().columns, 80) - 1
    for line in _lines():
        mark, room = ("! ", 15) if line.advice else ("", 17)
        say(textwrap.fill(f"{mark}{line.name:<{room}}{line.found}", width, subsequent_indent=" " * 17))
        advice += [line.advice] if line.advice else []
    say("\nall good" if not advice else "\n" + "\n".join(f"to do: {text}" for text in advice))
    return FAILED if advice else OK


def _lines() -> Iterator[_Line]:
    from worker_dispatcher import __version__
    from worker_dispatcher.osproc.cores import usable_cores

    cores = usable_cores()
    yield _Line("version", f"worker_dispatcher {__version__}")
    yield _Line(
        "Python",
        f"{platform.python_version()} ({platform.python_implementation()}), {platform.system()} {platform.release()}",
    )
    yield _cpus(cores)
    yield _memory(cores)
    yield _first_result()
    yield _linear_algebra(cores)
    yield _shared_memory()
    yield _descriptors(cores)
    yield from _packages()


def _cpus(cores: int) -> _Line:
    from worker_dispatcher.osproc.cores import cpu_quota

    quota = cpu_quota()
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = f"machine {os.cpu_count()}, affinity {affinity}, container {quota or 'unlimited'}"
    return _Line("CPUs", f"{cores} usable ({limits})")


def _memory(cores: int) -> _Line:
    from worker_dispatcher.osproc.cores import memory_limit

    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = memory_limit() or whole
    each = min(limit, whole) // cores
    container = _size(limit) if limit < whole else "unlimited"
    found = f"{_size(each)} for each of {cores} workers (machine {_size(whole)}, container {container})"
    return _Line(
        "memory", found, "" if each >= _LEAST_MEMORY else f"{_size(each)} a worker is little: use fewer workers"
    )


def _first_result() -> _Line:
    """What a process costs before it does anything, measured by one."""
    began = now()
    _, problem = _in_a_process(str)
    seconds = now() - began
    if problem:
        return _Line("processes", problem, "use threads, or processes on a machine that lets them start")
    return _Line("processes", f"start method forkserver; first result after {1000 * seconds:.0f} ms")


def _linear_algebra(cores: int) -> _Line:
    found, problem = _in_a_process(linear_algebra, cores)
    if problem or not found:
        return _Line("BLAS", problem or "none that could take every core")
    name, threads = found
    advice = (
        f"{cores} workers of {threads} BLAS threads are too many: set worker.blas_threads to 1" if threads > 1 else ""
    )
    held = f"held to {counted(threads, 'thread')} in each of {cores} processes"
    return _Line("BLAS", f"{name}, {held}", advice)


def linear_algebra(task: object) -> tuple[str, int] | None:
    """In a worker: which library numpy computes with and how many threads it takes; None without one."""
    import numpy  # noqa: F401 -- brings the library in
    import threadpoolctl

    for pool in threadpoolctl.threadpool_info():
        if pool["user_api"] == "blas":
            version = ".".join(str(pool["version"]).split(".")[:3])
            return f"{pool['internal_api']} {version}", pool["num_threads"]
    return None


def _in_a_process(function: Any, workers: int = 1) -> tuple[Any, str]:
    """What the function returned in a worker process, or why it did not."""
    from worker_dispatcher.dispatch.run import Run
    from worker_dispatcher.errors import WorkerDispatcherError

    config = {
        "task": {"list": [None] * workers, "function": function, "timeout": 30},
        "worker": {"use_processing": True, "number": workers},
        "verbose": False,
    }
    try:
        run = Run.of(config).drive()
    except (WorkerDispatcherError, OSError) as error:
        return None, f"cannot be started: {error}"
    log = run.logs[0]
    return log["result"], "" if log["status"] == "ok" else f"cannot be used: {log['error']['message']}"


def _shared_memory() -> _Line:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return _Line("/dev/shm", "none; arrays travel to processes without it")
    return _Line("/dev/shm", f"{_size(shutil.disk_usage(folder).free)} free; arrays travel to processes without it")


def _descriptors(cores: int) -> _Line:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(_LEAST_DESCRIPTORS, _DESCRIPTORS_EACH * cores)
    most = "unlimited" if hard == resource.RLIM_INFINITY else f"{hard:,}"
    few = soft != resource.RLIM_INFINITY and soft < wanted
    found = "unlimited" if soft == resource.RLIM_INFINITY else f"{soft:,} (may be raised to {most})"
    return _Line("ulimit -n", found, f"run 'ulimit -n {max(1024, wanted)}' first" if few else "")


def _packages() -> Iterator[_Line]:
    """What the package needs, and what it offers beyond the core, as its own metadata says."""
    import importlib.metadata as metadata

    try:
        told = metadata.distribution("worker-dispatcher").metadata
    except metadata.PackageNotFoundError:
        yield _Line("packages", "unknown: worker-dispatcher runs from a folder, it was not installed")
        return
    packages: dict[str, list[str]] = {}
    for requirement in told.get_all("Requires-Dist") or ():
        name, of = _NAME.match(requirement), _EXTRA.search(requirement)
        packages.setdefault(of[1] if of else "", []).append(name[0] if name else requirement)
    for extra, names in packages.items():
        if extra not in _OURS:
            yield _package_line(extra, names, [name for name in names if not _is_installed(name)])


def _package_line(extra: str, names: list[str], missing: list[str]) -> _Line:
    title = f"extra [{extra}]" if extra else "packages"
    if not missing:
        return _Line(title, f"{', '.join(names)}: there")
    how = f"pip install 'worker-dispatcher{f'[{extra}]' if extra else ''}'"
    if extra:
        return _Line(title, f"no {', '.join(missing)}: {how}")
    return _Line(title, f"no {', '.join(missing)}", how)


def _is_installed(package: str) -> bool:
    import importlib.metadata as metadata

    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


def _size(count: int) -> str:
    """Bytes, as people say them."""
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"
