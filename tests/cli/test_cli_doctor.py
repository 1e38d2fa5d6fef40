"""`doctor`: what it finds on this machine, and what it says of one that lacks something."""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Any

import pytest

from worker_dispatcher.cli.commands import doctor
from worker_dispatcher.errors import RunError
from worker_dispatcher.osproc import cores as machine

Call = Callable[..., Any]


def test_a_sound_machine_is_all_good(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    said = call("doctor")
    assert (said.code, said.err) == (0, "")
    names = [line[:17].rstrip() for line in said.out.splitlines() if line[:1] != " "]
    assert names[:8] == ["version", "Python", "CPUs", "memory", "processes", "BLAS", "/dev/shm", "ulimit -n"]
    assert f"{machine.usable_cores()} usable (machine " in said.out
    assert "first result after " in said.out
    assert "held to 1 thread in each of " in said.out
    assert said.out.endswith("\nall good\n")
    assert max(map(len, said.out.splitlines())) < 80


def test_a_narrow_terminal_gets_lines_that_it_has_room_for(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, call("doctor").out.splitlines())) < 40


def test_few_descriptors_are_marked_with_what_to_do(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_of = resource.getrlimit  # the others hold for the workers, too, which could not live with them
    few = {resource.RLIMIT_NOFILE: (100, 4096)}
    monkeypatch.setattr(resource, "getrlimit", lambda which: few.get(which) or limit_of(which))
    said = call("doctor")
    assert said.code == 1
    assert "\n! ulimit -n      100 (may be raised to 4,096)\n" in said.out
    assert said.out.endswith("\nto do: run 'ulimit -n 1024' first\n")


def test_processes_that_do_not_start_are_told(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RunError("no forks today")

    monkeypatch.setattr("worker_dispatcher.dispatch.run.Run.drive", refuse)
    said = call("doctor")
    assert said.code == 1
    assert "! processes      cannot be started: no forks today" in said.out
    assert "to do: use threads" in said.out


def test_the_limit_of_the_container_is_shared_by_the_workers(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory_limit", lambda: 1 << 26)
    said = call("doctor")
    assert said.code == 1
    each = (64 // machine.usable_cores()) or 0
    assert f" {each} MB for each of " in said.out
    assert "container 64 MB)" in said.out
    assert f"to do: {each} MB a worker is little: use fewer workers" in said.out


NEEDS = [
    "numpy>=1",
    "Gamma_ray.s",
    "alpha>=3.8; extra == 'extra'",
    'beta[x]; python_version > "3" and extra == "extra"',
    "x; extra == 'test'",
]


@pytest.mark.parametrize(
    ("installed", "lines"),
    [
        (
            ["alpha", "beta", "numpy", "Gamma_ray.s"],
            [("packages", "numpy, Gamma_ray.s: there", ""), ("extra [extra]", "alpha, beta: there", "")],
        ),
        (
            ["alpha", "numpy"],
            [
                ("packages", "no Gamma_ray.s", "pip install 'worker-dispatcher'"),
                ("extra [extra]", "no beta: pip install 'worker-dispatcher[extra]'", ""),
            ],
        ),
    ],
)
def test_packages_and_extras_are_those_of_the_installation(
    monkeypatch: pytest.MonkeyPatch, installed: list[str], lines: list[tuple[str, str, str]]
) -> None:
    class Distribution:
        metadata = type("", (), {"get_all": lambda self, name: NEEDS})()

    monkeypatch.setattr("importlib.metadata.distribution", lambda name: Distribution)
    monkeypatch.setattr(doctor, "_is_installed", lambda package: package in installed)
    assert [tuple(line) for line in doctor._packages()] == lines


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"/sys/fs/cgroup/memory.max": "max\n"}, None),
        ({"/sys/fs/cgroup/memory.max": "1073741824\n"}, 1 << 30),
        ({"/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({"/sys/fs/cgroup/memory/memory.limit_in_bytes": "536870912\n"}, 1 << 29),
        ({}, None),
    ],
)
def test_the_memory_limit_of_the_container(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str], limit: int | None
) -> None:
    import io

    def opened(path: str) -> io.StringIO:
        if path not in files:
            raise FileNotFoundError(path)
        return io.StringIO(files[path])

    monkeypatch.setattr(machine, "open", opened, raising=False)
    assert machine.memory_limit() == limit
