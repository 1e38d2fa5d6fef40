"""Jobs on a Dask cluster."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphs import Plan, expect_as_planned, run

from worker_dispatcher import ConfigError
from worker_dispatcher.engine import DaskJob, Engine, EngineSetting, SubprocessJob, ThreadJob, launcher

distributed = pytest.importorskip("distributed")
# Its threads are left to themselves, and end some seconds after it.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.leaves_threads]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Of a cluster in this process: quick to start, and its workers can be looked at."""
    with warnings.catch_warnings(action="ignore"):
        cluster = distributed.LocalCluster(
            n_workers=1, threads_per_worker=4, processes=False, dashboard_address="127.0.0.1:0", silence_logs=50
        )
        client = distributed.Client(cluster)
    yield client
    client.close()
    cluster.close()


@pytest.fixture
def engine(client: Any) -> Iterator[Engine]:
    with Engine(EngineSetting(print_traceback=False, max_dask_jobs=2)) as made:
        made.dask_client = client
        yield made


def add(a: int, b: int) -> int:
    return a + b


def test_results_go_to_the_cluster_and_back(engine: Engine) -> None:
    first = ThreadJob(add, (1, 2))
    second = DaskJob(add, (first.future, 4))
    third = ThreadJob(add, (second.future, 5))
    engine.submit(third, second, first)
    engine.wait(30)
    assert (second.result(), third.result(), engine.resource.n_dask) == (7, 12, 2)


def test_coroutine_functions_failures_and_retries_are_as_elsewhere(engine: Engine, tmp_path: Path) -> None:
    async def later(value: int) -> int:
        await asyncio.sleep(0)
        return value

    tries = tmp_path / "tries"

    def second_time() -> int:
        if tries.exists():
            return 1
        tries.touch()
        raise OSError("not yet")

    jobs = [DaskJob(later, (7,)), DaskJob(second_time, retries=1), DaskJob(int, ("x",))]
    engine.submit(*jobs)
    engine.wait(30)
    assert [job.status for job in jobs] == ["done", "done", "failed"]
    assert jobs[0].result() == 7
    assert jobs[1].attempts == 2
    assert isinstance(jobs[2].exception(), ValueError)


def wait_for(path: Path) -> None:
    until = time.monotonic() + 30
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.01)


def test_a_cancelled_job_has_ended_and_its_slot_is_free(engine: Engine, tmp_path: Path) -> None:
    go = tmp_path / "go"
    stuck = [DaskJob(wait_for, (go,)) for _ in range(2)]
    other = DaskJob(add, (1, 2))
    late = DaskJob(wait_for, (go,), deadline=0.2)
    engine.submit(*stuck, other)
    assert [job.status for job in (*stuck, other)] == ["running", "running", "pending"]
    engine.cancel(*stuck)
    assert engine.wait_job(other, 30) == 3
    engine.submit(late)
    engine.wait(30)
    assert [job.status for job in (*stuck, late)] == ["cancelled", "cancelled", "failed"]
    go.touch()


def test_a_graph_of_jobs_on_a_cluster_ends_as_the_model_says(client: Any) -> None:
    plan = Plan(1, 400)
    assert len({status for status, _ in plan.ends()}) == 3
    expect_as_planned(plan, *run(plan, DaskJob, lambda engine: setattr(engine, "dask_client", client)))


def test_a_timeout_is_refused_since_nothing_could_keep_it() -> None:
    with pytest.raises(ConfigError, match="deadline="):
        DaskJob(add, (1, 2), timeout=3)


def test_a_launcher_may_use_the_cluster(engine: Engine) -> None:
    assert launcher(add, engine=engine, job_type="dask")(1, 2) == 3


def test_an_asynchronous_client_is_as_good(client: Any) -> None:
    async def main() -> int:
        theirs = await distributed.Client(client.scheduler.address, asynchronous=True)
        with Engine() as engine:
            engine.dask_client = theirs
            job = DaskJob(add, (1, 2))
            engine.submit(job)
            value: int = await job
        await theirs.close()
        return value

    assert asyncio.run(main()) == 3
    with Engine() as engine, pytest.raises(ConfigError, match=r"distributed\.Client"):
        engine.dask_client = "tcp://somewhere"


def test_without_a_client_a_cluster_is_started_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(distributed.LocalCluster):  # type: ignore[misc]
        def __init__(self, host: str, **kwargs: Any) -> None:
            assert host == "127.0.0.1", "nobody else can reach it"
            super().__init__(n_workers=1, threads_per_worker=1, processes=False, silence_logs=50, **kwargs)

    monkeypatch.setattr(distributed, "LocalCluster", Small)
    with Engine() as engine:
        job = DaskJob(add, (1, 2))
        engine.submit(job)
        assert engine.wait_job(job, 30) == 3
        client = engine.dask_client
    assert client.status == "closed"


def test_a_command_may_run_there_as_its_base_class_says(engine: Engine) -> None:
    job = SubprocessJob("true", base_class=ThreadJob, record_cmd=False)
    engine.submit(job)
    began = time.monotonic()
    assert engine.wait_job(job, 30) == 0
    assert time.monotonic() - began < 30
