"""A Dask cluster of separate processes over TLS, of which some die, stand still, or are not what they should be."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

import worker_dispatcher as wd

distributed = pytest.importorskip("distributed")

PATIENCE = 60.0  # seconds in which a part of the cluster starts, however much else the machine does


def certificates(folder: Path) -> dict[str, str]:
    """Paths of a new certificate, which is its own authority, and of its key."""
    security = distributed.Security.temporary()
    for name, text in (("ca", security.tls_ca_file), ("key", security.tls_client_key)):
        (folder / f"{name}.pem").write_text(text)
    (folder / "cert.pem").write_text(security.tls_client_cert)
    return {name: str(folder / f"{name}.pem") for name in ("ca", "cert", "key")}


class Cluster:
    """A scheduler and its workers, each a program of its own, that trust one certificate."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.security = folder, certificates(folder)
        self.port = free_port()
        self.programs: list[subprocess.Popen[bytes]] = []
        self.scheduler = self.start_scheduler()
        self.workers: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        return f"tls://127.0.0.1:{self.port}"

    @property
    def backend(self) -> dict[str, Any]:
        return {"type": "dask", "address": self.address, "security": self.security}

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--protocol", "tls", "--no-dashboard"]
        program = self.start("distributed.cli.dask_scheduler", *options)
        until = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return program
            except OSError:
                assert time.monotonic() < until, "the scheduler has not started"
                time.sleep(0.05)

    def add_worker(self, *options: str, threads: int = 1) -> subprocess.Popen[bytes]:
        own = [
            "--nthreads",
            str(threads),
            "--host",
            "127.0.0.1",
            "--no-dashboard",
            "--local-directory",
            str(self.folder),
        ]
        program = self.start("distributed.cli.dask_worker", self.address, *own, *(options or ("--no-nanny",)))
        self.workers.append(program)
        return program

    def start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        files = [
            "--tls-ca-file",
            self.security["ca"],
            "--tls-cert",
            self.security["cert"],
            "--tls-key",
            self.security["key"],
        ]
        settings = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "3s", "PYTHONPATH": os.pathsep.join(sys.path)}
        settings["DASK_TEMPORARY_DIRECTORY"] = str(self.folder)
        settings["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] = "1"  # workers that one task may end; 3 if not told
        with (self.folder / "said").open("ab") as said:
            program = subprocess.Popen(
                [sys.executable, "-m", module, *arguments, *files],
                env={**os.environ, **settings},
                stdout=said,
                stderr=said,
            )
        self.programs.append(program)
        return program

    def close(self) -> None:
        """In the order in which they were started last; one that is killed leaves semaphores of its children."""
        for program in reversed(self.programs):
            if program.poll() is None:
                program.terminate()
                try:
                    program.wait(10)
                except subprocess.TimeoutExpired:
                    for one in [*psutil.Process(program.pid).children(recursive=True), program]:
                        one.kill()
            program.wait(PATIENCE)


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        made = Cluster(tmp_path)
        stack.callback(made.close)
        yield made


def slow(task: tuple[str, int]) -> int:
    """Notes that it has begun, and takes a while."""
    folder, number = task
    with open(f"{folder}/begun-{number}", "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(0.05)
    return number


def config(cluster: Cluster, function: Callable[..., Any], items: Any, **top: Any) -> dict[str, Any]:
    return {
        "task": {"list": items, "function": function},
        "worker": {"backend": cluster.backend},
        "verbose": False,
        **top,
    }


def wait_until(fact: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not fact():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_worker_that_is_killed_costs_nothing_and_nothing_is_recorded_twice(cluster: Cluster, tmp_path: Path) -> None:
    first, _ = cluster.add_worker(), cluster.add_worker()
    items = [(str(tmp_path), number) for number in range(60)]
    run = wd.launch(config(cluster, slow, items))
    wait_until(lambda: len(list(tmp_path.glob("begun-*"))) > 10)
    first.kill()

    assert run.wait(PATIENCE).results == list(range(60))
    assert [log["task_id"] for log in run.logs] == list(range(1, 61))
    assert run.info["counts"]["ok"] == 60


def test_a_worker_that_stands_still_costs_nothing(cluster: Cluster, tmp_path: Path) -> None:
    first, _ = cluster.add_worker(), cluster.add_worker()
    items = [(str(tmp_path), number) for number in range(60)]
    run = wd.launch(config(cluster, slow, items))
    try:
        wait_until(lambda: len(list(tmp_path.glob("begun-*"))) > 10)
        first.send_signal(signal.SIGSTOP)
        assert run.wait(PATIENCE).results == list(range(60))
    finally:
        first.send_signal(signal.SIGCONT)
    assert run.info["counts"]["ok"] == 60


def test_without_its_scheduler_a_run_ends_with_an_error_and_its_journal_goes_on_with_another(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.add_worker()
    items = [(str(tmp_path), number) for number in range(80)]
    journal = str(tmp_path / "run.db")
    run = wd.launch(config(cluster, slow, items, journal=journal))
    wait_until(lambda: run.info["counts"]["ok"] > 5)
    cluster.scheduler.kill()
    with pytest.raises(wd.RunError, match=r"the scheduler of the Dask cluster at tls://127.0.0.1:.* is gone"):
        run.wait(PATIENCE)
    done = run.info["counts"]["ok"]
    cluster.close()

    cluster.start_scheduler()
    cluster.add_worker()
    before = {path.name: path.stat().st_size for path in tmp_path.glob("begun-*")}
    assert wd.start(config(cluster, slow, items, journal=journal)) == list(range(80))
    again = [name for name, size in before.items() if (tmp_path / name).stat().st_size > size]
    assert wd.get_result_info()["resumed"] >= done > 5
    assert len(again) <= 40  # what had begun and was not told of


def test_who_shows_another_certificate_is_let_in_by_nobody(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add_worker()
    other = tmp_path / "other"
    other.mkdir()
    wrong = {**cluster.backend, "security": certificates(other)}
    began = time.monotonic()
    with pytest.raises(wd.RunError, match=r"cannot use the Dask cluster at tls://127.0.0.1:"):
        wd.start({"task": {"list": 3, "function": abs}, "worker": {"backend": wrong}, "verbose": False})
    assert time.monotonic() < began + 20


def test_where_nobody_listens_it_is_said_at_once() -> None:
    backend = {"type": "dask", "address": f"tcp://127.0.0.1:{free_port()}"}
    began = time.monotonic()
    with pytest.raises(wd.RunError, match=r"no Dask scheduler answers at tcp://127.0.0.1:.*is it running"):
        wd.start({"task": {"list": 3, "function": abs}, "worker": {"backend": backend}, "verbose": False})
    assert time.monotonic() < began + 10


def test_a_cluster_without_workers_is_named(cluster: Cluster) -> None:
    backend = {**cluster.backend, "timeout": 0.5}
    with pytest.raises(wd.RunError, match=r"has had no worker for 0.5 s; start one there"):
        wd.start({"task": {"list": [1], "function": abs}, "worker": {"backend": backend}, "verbose": False})


def hungry(task: int) -> int:
    if task == 3:
        kept = [b"x" * (1 << 20) for _ in range(600)]
        time.sleep(30)
        return len(kept)
    return task


@pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")
def test_a_task_for_which_workers_are_killed_is_named_with_their_limit(cluster: Cluster) -> None:
    cluster.add_worker("--nanny", "--memory-limit", "400MB")
    results = wd.start(config(cluster, hungry, [1, 2, 3, 4, 5]))
    assert [results[at] for at in (0, 1, 3, 4)] == [1, 2, 4, 5]
    failure = results[2]
    assert failure.status == "crashed"
    assert "2 Dask workers ended while they ran it" in failure.error["message"]
    assert "memory_limit, which is" in failure.error["message"]


def overlap(run: Any) -> int:
    """How many tasks ran at a time, at most."""
    steps = sorted(step for log in run.logs for step in ((log["started_at"], 1), (log["ended_at"], -1)))
    return max(itertools.accumulate(by for _, by in steps))


def test_a_worker_that_comes_in_the_place_of_another_has_its_share_of_the_limit(
    cluster: Cluster, tmp_path: Path
) -> None:
    first, _ = cluster.add_worker(threads=2), cluster.add_worker(threads=2)
    run = wd.launch(
        config(cluster, slow, [(str(tmp_path), number) for number in range(3000)])
        | {"worker": {"backend": cluster.backend, "number": 3}}
    )
    wait_until(lambda: len({log["address"] for log in run.logs}) == 2)
    first.kill()
    cluster.add_worker(threads=2)
    wait_until(lambda: len({log["address"] for log in run.logs}) == 3 or run.done)
    run.cancel()
    run.wait(PATIENCE)
    logs = [log for log in run.logs if log["status"] == "ok"]
    assert len({log["address"] for log in logs}) == 3
    assert overlap(run) <= 3


def test_workers_that_come_later_run_tasks_up_to_the_limit(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add_worker()
    run = wd.launch(
        config(cluster, slow, [(str(tmp_path), number) for number in range(3000)])
        | {"worker": {"backend": cluster.backend, "number": 3}}
    )
    wait_until(lambda: run.logs)
    for known, threads in ((2, 1), (3, 4)):  # one after the other: who comes first has what is left
        cluster.add_worker(threads=threads)
        wait_until(lambda known=known: len({log["address"] for log in run.logs}) == known or run.done)
    wait_until(lambda: overlap(run) == 3)
    run.cancel()
    run.wait(PATIENCE)
    assert len({log["address"] for log in run.logs if log["status"] == "ok"}) == 3
    assert overlap(run) == 3


KILLED = """
import functools, logging, os, signal, sys, time
import worker_dispatcher as wd
from worker_dispatcher.pools.dask import pool

pool.Opening = functools.partial(pool.Opening, looks_every=0.3)

def work(task):
    logging.getLogger("told").warning("x" * 1000)
    if task:
        open(task, "w").close()
        while True:  # its records are fetched by nobody, soon
            logging.getLogger("told").warning("x" * 1000)
    return task

if __name__ == "__main__":
    backend = {"type": "dask", "address": sys.argv[2], "security": eval(sys.argv[3])}
    config = {"task": {"list": ["", sys.argv[1]], "function": work}, "worker": {"backend": backend}, "verbose": False}
    run = wd.launch(config)
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def hosts() -> int:
    """Threads of pools in a Dask worker, and theirs."""
    return sum(thread.name.startswith("host of ") for thread in threading.enumerate())


def test_a_program_that_is_killed_leaves_nothing_of_its_pool_in_the_workers(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add_worker()
    command = [sys.executable, "-c", KILLED, str(tmp_path / "begun"), cluster.address, repr(cluster.security)]
    killed = subprocess.run(command, check=False, timeout=PATIENCE, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    security = distributed.Security(
        require_encryption=True,
        tls_ca_file=cluster.security["ca"],
        tls_client_cert=cluster.security["cert"],
        tls_client_key=cluster.security["key"],
    )
    with distributed.Client(cluster.address, security=security) as client:
        wait_until(lambda: not any(client.run(hosts).values()))
