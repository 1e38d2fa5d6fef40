"""Runs and pools on a Dask cluster: what only a cluster has."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import address

import worker_dispatcher as wd
from worker_dispatcher import WorkerPool
from worker_dispatcher.pools.dask.pool import DaskPool

pytest.importorskip("distributed")


@pytest.fixture
def backend() -> dict[str, Any]:
    return {"type": "dask", "address": address()}


def nap(task: float) -> int:
    time.sleep(task)
    return os.getpid()


def test_each_log_names_the_dask_worker_and_the_run_its_clocks(backend: dict[str, Any]) -> None:
    wd.start({"task": {"list": [0.05] * 8, "function": nap}, "worker": {"backend": backend}, "verbose": False})
    known = wd.get_result_info()["cluster"]
    assert known["address"] == backend["address"]
    assert {log["address"] for log in wd.get_logs()} <= set(known["workers"])
    assert {(one["clock_offset"], one["clock_error"]) for one in known["workers"].values()} == {(0.0, 0.0)}
    assert all(log["pid"] == log["result"] != os.getpid() for log in wd.get_logs())


def test_a_verbose_run_says_which_cluster_it_has(backend: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    wd.start({"task": {"list": [0.0] * 3, "function": nap}, "worker": {"backend": backend}})
    said = capsys.readouterr().out
    assert f"├─ Cluster: Dask at {backend['address']}" in said
    assert "Completed Tasks Count: 3" in said


@pytest.mark.parametrize("seconds", [0.004, 0.02])
def test_no_more_run_at_a_time_than_the_run_may(backend: dict[str, Any], seconds: float) -> None:
    worker = {"backend": backend, "number": 2}
    wd.start({"task": {"list": [seconds] * 200, "function": nap}, "worker": worker, "verbose": False})
    steps = sorted(step for log in wd.get_logs() for step in ((log["started_at"], 1), (log["ended_at"], -1)))
    assert max(itertools.accumulate(by for _, by in steps)) == 2


def test_a_schedule_is_shared_out_and_its_moments_kept(backend: dict[str, Any]) -> None:
    load = {"enabled": True, "rate": 40, "duration": 1}
    config = {"task": {"list": [0.01] * 100, "function": nap}, "worker": {"backend": backend, "frequency_mode": load}}
    wd.start({**config, "verbose": False})
    logs = wd.get_logs()
    assert len(logs) == 40
    assert min(log["queue_delay"] for log in logs) >= -0.001
    assert len({log["address"] for log in logs}) == 2


def test_a_cluster_holds_no_more_at_a_time_than_a_load_may(backend: dict[str, Any]) -> None:
    load = {"enabled": True, "rate": 100, "duration": 0.3, "max_workers": 2}
    config = {"task": {"list": [0.05] * 30, "function": nap}, "worker": {"backend": backend, "frequency_mode": load}}
    wd.start({**config, "verbose": False})
    assert max(log["in_flight"] for log in wd.get_logs()) <= 2


def test_what_a_load_cannot_drop_on_a_cluster_is_refused(backend: dict[str, Any]) -> None:
    load = {"enabled": True, "rate": 100, "on_saturation": "drop"}
    with pytest.raises(wd.ConfigError, match="on a cluster leave it out"):
        wd.start({"task": {"list": 3, "function": nap}, "worker": {"backend": backend, "frequency_mode": load}})


OTHER_CLOCK = """
import os, sys, time
import distributed
import worker_dispatcher as wd


def work(task):
    time.sleep(task)
    return time.monotonic()


if __name__ == "__main__":
    backend = {"type": "dask", "address": sys.argv[1]}
    load = {"enabled": True, "rate": 20, "duration": 1}
    wd.start({"task": {"list": [0.01] * 20, "function": work}, "worker": {"backend": backend, "frequency_mode": load},
              "verbose": False})
    logs, (clock,) = wd.get_logs(), wd.get_result_info()["cluster"]["workers"].values()
    assert 990 < logs[0]["result"] - time.monotonic() < 1010, logs[0]
    assert 990 < clock["clock_offset"] < 1010 and 0 < clock["clock_error"] < 1, clock
    late = [log["queue_delay"] for log in logs]
    assert len(logs) == 20 and min(late) > -clock["clock_error"] - 0.01 and max(late) < 5, late
"""


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="only root makes a time of its own")
def test_a_worker_with_another_clock_keeps_the_moments_of_ours(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(OTHER_CLOCK)
    environment = {**os.environ, "DASK_TEMPORARY_DIRECTORY": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    run = [sys.executable, "-m"]
    programs: list[subprocess.Popen[Any]] = []
    told = tmp_path / "scheduler.json"
    try:
        command = [*run, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        quiet: dict[str, Any] = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        programs.append(subprocess.Popen([*command, "--scheduler-file", str(told)], **quiet))
        command = [*run, "distributed.cli.dask_worker", "--scheduler-file", str(told), "--no-nanny", "--no-dashboard"]
        there = ["unshare", "--time", "--monotonic", "1000", "--fork", "--kill-child", *command]
        until = time.monotonic() + 60
        while not (told.exists() and told.read_text().endswith("}")):  # else both read a half of it
            assert time.monotonic() < until
            time.sleep(0.05)
        programs.append(subprocess.Popen([*there, "--host", "127.0.0.1", "--nthreads", "2"], **quiet))
        found = told.read_text().partition('"address": "')[2].partition('"')[0]
        ended = subprocess.run(
            [sys.executable, str(tmp_path / "script.py"), found],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
    finally:
        for program in programs:
            program.kill()
            program.wait()


def test_what_a_worker_cannot_import_is_named(backend: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    ghost: Any = types.ModuleType("only_here")
    exec("def work(task): return task", vars(ghost))
    monkeypatch.setitem(sys.modules, "only_here", ghost)
    with pytest.raises(wd.RunError, match=r"cannot load task.function.* No module named 'only_here'; what they import"):
        wd.start({"task": {"list": 3, "function": ghost.work}, "worker": {"backend": backend}, "verbose": False})


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"python": (3, 1)}, r"runs Python 3.\d+, and this program 3.1; .*: use one version for both"),
        ({"version": "1.0"}, r"has worker_dispatcher .*, and this program 1.0: install one for both"),
    ],
)
def test_another_version_is_named_before_anything_runs(
    backend: dict[str, Any], monkeypatch: pytest.MonkeyPatch, notes: Any, other: dict[str, Any], said: str
) -> None:
    opening = DaskPool._opening
    monkeypatch.setattr(DaskPool, "_opening", lambda pool, packed: opening(pool, packed)._replace(**other))
    with pytest.raises(wd.RunError, match=said):
        wd.start({"task": {"list": ["ran"], "function": notes.add}, "worker": {"backend": backend}, "verbose": False})
    assert notes.all() == []


ONE_PROCESS = """
import sys, threading, time
from pathlib import Path
import distributed
import worker_dispatcher as wd


def meet(folder):
    (folder / f"came-{threading.get_ident()}").touch()
    until = time.monotonic() + 20
    while len(list(folder.glob("came-*"))) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    return len(list(folder.glob("came-*")))


if __name__ == "__main__":
    shape = {"n_workers": 3, "threads_per_worker": 1, "processes": False, "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(**shape, protocol=sys.argv[1]) as cluster, cluster.get_client() as client:
        worker = {"backend": {"type": "dask", "client": client}}
        task = {"list": [Path.cwd()] * 3, "function": meet}
        assert wd.start({"task": task, "worker": worker, "verbose": False}) == [3, 3, 3]
        assert len({log["address"] for log in wd.get_logs()}) == 3
"""


@pytest.mark.parametrize("protocol", ["tcp", "inproc"])
def test_dask_workers_that_share_a_process_have_a_pool_each(tmp_path: Path, protocol: str) -> None:
    (tmp_path / "script.py").write_text(ONE_PROCESS)
    environment = {**os.environ, "DASK_TEMPORARY_DIRECTORY": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(tmp_path / "script.py"), protocol]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


# Pools


@pytest.fixture
def pool(backend: dict[str, Any]) -> Iterator[WorkerPool]:
    made = WorkerPool(kind="dask", backend=backend)
    yield made
    made.shutdown(kill=True, timeout=20)


def fails(text: str) -> None:
    raise ValueError(text)


def test_a_pool_on_a_cluster_is_an_executor(pool: WorkerPool) -> None:
    assert list(pool.map(abs, range(-20, 0))) == list(range(20, 0, -1))
    with pytest.raises(ValueError, match="no such") as caught:
        pool.submit(fails, "no such").result(30)
    assert "in fails" in str(caught.value.__cause__)
    stats = pool.stats()
    assert (stats.succeeded, stats.failed) == (20, 1)


def test_a_pool_keeps_as_many_functions_as_it_needs(pool: WorkerPool) -> None:
    futures = [pool.submit(lambda value=value: value) for value in range(150)]
    assert [future.result(60) for future in futures] == list(range(150))


def test_what_runs_on_a_cluster_says_so_and_can_be_given_up(pool: WorkerPool, tmp_path: Path) -> None:
    go = tmp_path / "go"
    stuck = pool.submit(wait_for, go)
    until = time.monotonic() + 30
    while not stuck.running():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert stuck.kill()
    assert pool.submit(abs, -3).result(30) == 3
    late = pool.schedule(wait_for, (go,), timeout=0.3)
    with pytest.raises(wd.TaskTimeout):
        late.result(30)
    go.touch()


def wait_for(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.01)


def where(number: int) -> tuple[int, int]:
    time.sleep(0.02)
    return number, os.getpid()


def test_two_pools_that_spill_over_to_one_cluster_share_it(backend: dict[str, Any]) -> None:
    """The shared bucket: local first, then whoever has room."""
    results: list[set[int]] = []

    def one() -> None:
        with (
            WorkerPool(kind="dask", backend=backend) as far,
            WorkerPool(1, capacity=2, overflow=far) as near,
        ):
            ended = [future.result(60) for future in [near.submit(where, number) for number in range(30)]]
        assert [number for number, _ in ended] == list(range(30))
        results.append({pid for _, pid in ended})

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    for pids in results:
        assert os.getpid() in pids
        assert len(pids) > 1


def test_what_a_cluster_that_is_gone_had_comes_home(tmp_path: Path) -> None:
    told: list[object] = []
    backend = {"type": "dask", "address": "tcp://127.0.0.1:9"}
    far = WorkerPool(kind="dask", backend=backend)
    with WorkerPool(1, capacity=1, overflow=far, on_overflow_failed=lambda task, error: told.append(error)) as near:
        futures = [near.submit(where, number) for number in range(5)]
        assert [future.result(60)[0] for future in futures] == list(range(5))
    assert told
    far.shutdown()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("tcp://x", "must be 'local' or a dict"),
        ({"type": "ray"}, "must have 'type': 'dask', got str 'ray'"),
        ({"type": "dask", "adress": "tcp://a:1"}, "did you mean 'address'?"),
        ({"type": "dask", "address": "a"}, "must have an address such as 'tcp://host:8786'"),
        ({"type": "dask", "address": "tls://a:1"}, "must have security with a tls address"),
        ({"type": "dask", "address": "tls://a:1", "security": {"ca": "x"}}, "must have three paths as its security"),
        ({"type": "dask", "client": 3}, "must have a distributed.Client as 'client', got int 3"),
        ({"type": "dask", "timeout": 0}, "must have a timeout in seconds above 0"),
    ],
)
def test_what_is_no_cluster_is_refused_by_name(given: Any, said: str) -> None:
    with pytest.raises(wd.ConfigError, match=r"worker.backend") as caught:
        wd.start({"task": {"list": 1, "function": abs}, "worker": {"backend": given}})
    assert said in str(caught.value)
    with pytest.raises(wd.ConfigError) as pooled:
        WorkerPool(kind="dask", backend=given)
    assert said in str(pooled.value)
