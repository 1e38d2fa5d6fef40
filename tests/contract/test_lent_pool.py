"""`worker.pool`: a run on the workers of a WorkerPool, beside whatever else that does, is a run like any other."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from worker_dispatcher import ConfigError, RunError, TaskTimeout, WorkerDied, WorkerPool, get_logs, launch, start

pytestmark = pytest.mark.above_the_pools

KINDS = ("thread", "process", "grid", "coroutine")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pool(kind: str) -> Iterator[WorkerPool]:
    with WorkerPool(4, kind=kind, threads_per_process=2) as made:
        yield made


def until(true: Callable[[], object]) -> None:
    by = time.monotonic() + 30
    while not true():
        assert time.monotonic() < by
        time.sleep(0.002)


def run_config(function: Any, tasks: Any, pool: WorkerPool | None, **task: Any) -> dict[str, Any]:
    return {"task": {"function": function, "list": tasks, **task}, "worker": {"pool": pool}, "verbose": False}


def plain(id: int, config: Any, task: int, metadata: dict[Any, Any]) -> tuple[int, Any, int]:
    metadata["noted"] = id
    return id, config, task * task


async def awaited(id: int, config: Any, task: int, metadata: dict[Any, Any]) -> tuple[int, Any, int]:
    await asyncio.sleep(0)
    return plain(id, config, task, metadata)


async def square_later(value: int) -> int:
    await asyncio.sleep(0)
    return value * value


def square(value: int) -> int:
    return value * value


def misbehave(task: str) -> str:
    if task == "raise":
        raise KeyError("as told")
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "sleep":
        time.sleep(600)
    return task


def fail_twice(task: str) -> int:
    with open(task, "a") as file:
        file.write("x")
    if (times := len(Path(task).read_text())) < 3:
        raise OSError(times)
    return times


def own_pid(task: Any) -> int:
    time.sleep(0.01)
    return os.getpid()


def note_overlap(task: str) -> int:
    """How many run at once, as files in a folder."""
    mine = Path(task) / f"{os.getpid()}-{threading.get_ident()}-{time.monotonic_ns()}"
    mine.touch()
    time.sleep(0.02)
    count = len(os.listdir(task))
    mine.unlink()
    return count


def doubled(result: Any, log: dict[str, Any]) -> Any:
    return result, log["task_id"]


def function_for(kind: str) -> Any:
    return awaited if kind == "coroutine" else plain


@pytest.mark.parametrize("count", [1, 30, 3000])
def test_a_run_in_a_pool_gives_what_one_with_its_own_workers_gives(kind: str, pool: WorkerPool, count: int) -> None:
    def of_run(given: WorkerPool | None) -> tuple[Any, Any]:
        results = start(
            run_config(function_for(kind), range(count), given, config={"a": 1}, callback={"on_done": doubled})
        )
        logs = get_logs()
        return results, [(log["task_id"], log["status"], log["metadata"], log["attempts"]) for log in logs]

    lent = of_run(pool)
    assert lent == of_run(None)
    assert lent[0] == [((n + 1, {"a": 1}, n * n), n + 1) for n in range(count)]
    assert pool.stats().submitted == 0
    assert not pool.closed


@pytest.mark.parametrize("kind", ["thread", "process", "grid"])
def test_coroutine_functions_run_in_pools_of_all_kinds(pool: WorkerPool) -> None:
    assert start(run_config(awaited, range(50), pool)) == [(n + 1, {}, n * n) for n in range(50)]


def test_tasks_of_a_list_that_is_drawn_and_of_unknown_length_are_run(kind: str, pool: WorkerPool) -> None:
    drawn = (n for n in range(200))
    assert len(start(run_config(function_for(kind), drawn, pool))) == 200


@pytest.mark.parametrize("kind", ["process", "grid"])
def test_a_task_that_dies_fails_or_takes_too_long_costs_neither_its_run_nor_others_anything(pool: WorkerPool) -> None:
    futures = [pool.schedule(time.sleep, (0.05,)) for _ in range(20)]
    tasks = ["a", "raise", "b", "die", "c", "sleep", *"defgh"]
    results = start(run_config(misbehave, tasks, pool, timeout=1.0))
    assert [r if isinstance(r, str) else None for r in results] == ["a", None, "b", None, "c", None, *"defgh"]
    statuses = {log["task_id"]: log["status"] for log in get_logs()}
    assert [statuses[n] for n in (2, 4, 6)] == ["error", "crashed", "timeout"]
    assert "SIGKILL" in results[3].error["message"]
    assert [future.result(30) for future in futures] == [None] * 20
    assert pool.submit(square, 3).result(30) == 9


def test_in_threads_a_task_that_takes_too_long_is_recorded_and_left_behind() -> None:
    gate = threading.Event()
    with WorkerPool(2) as pool:
        results = start(run_config(lambda task: gate.wait() if task == 1 else task, range(6), pool, timeout=0.3))
        assert [log["status"] for log in get_logs()] == ["ok", "timeout", *["ok"] * 4]
        assert "task #2 ran longer" in results[1].error["message"]
        assert pool.submit(square, 3).result(30) == 9
        gate.set()
    assert not results[1]


@pytest.mark.parametrize("kind", ["thread", "process", "grid"])
def test_failed_tasks_of_the_run_are_tried_again_as_it_says(pool: WorkerPool, tmp_path: Path) -> None:
    tasks = [str(tmp_path / f"t{n}") for n in range(5)]
    retry = {"retries": 2, "retry_on": OSError, "backoff": {"initial": 0.01}}
    assert start(run_config(fail_twice, tasks, pool, **retry)) == [3] * 5
    assert [log["attempts"] for log in get_logs()] == [3] * 5
    failed = start(run_config(misbehave, ["raise"], pool, **retry))
    assert not failed[0]
    assert get_logs()[0]["attempts"] == 1


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_run_that_raises_raises_the_tasks_own_exception(pool: WorkerPool) -> None:
    with pytest.raises(KeyError, match="as told") as caught:
        start(run_config(misbehave, ["a", "raise", *"bc"], pool, on_error="raise"))
    assert any(f"in worker {pool.kind}" in note for note in caught.value.__notes__)
    if pool.kind == "process":
        with pytest.raises(TaskTimeout, match="task #1 "):
            start(run_config(misbehave, ["sleep"], pool, on_error="raise", timeout=0.2))
        with pytest.raises(WorkerDied):
            start(run_config(misbehave, ["die"], pool, on_error="raise"))
    assert pool.submit(square, 3).result(30) == 9


@pytest.mark.parametrize("kind", ["process", "grid"])
def test_the_second_run_is_warm(pool: WorkerPool) -> None:
    first = set(start(run_config(own_pid, range(40), pool)))
    assert {log["pid"] for log in get_logs()} == first
    workers = sorted(pool._scheduler.pool.pids.items())  # type: ignore[union-attr]
    second = set(start(run_config(own_pid, range(40), pool)))
    assert second <= {pid for _, pid in workers}
    assert {log["pid"] for log in get_logs()} == second
    assert os.getpid() not in second
    assert sorted(pool._scheduler.pool.pids.items()) == workers  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["thread", "process", "grid"])
@pytest.mark.parametrize("number", [1, 2, None])
def test_a_run_uses_so_many_workers_at_a_time_as_its_number_says(
    pool: WorkerPool, number: int | None, tmp_path: Path
) -> None:
    config = run_config(note_overlap, [str(tmp_path)] * 24, pool)
    config["worker"]["number"] = number
    assert max(start(config)) <= (number or 4)
    assert launch(config).wait().config["worker"]["number"] == (number or 4)


def test_two_runs_and_submits_share_a_pool_and_none_waits_for_the_end_of_another(kind: str, pool: WorkerPool) -> None:
    function, one = (awaited, square_later) if kind == "coroutine" else (plain, square)
    gate = threading.Event()

    def drawn() -> Iterator[int]:
        yield from range(100)
        gate.wait()

    first = launch(run_config(function, drawn(), pool))
    second = launch(run_config(function, range(500), pool))
    futures = [pool.submit(one, n) for n in range(200)]
    assert [future.result(30) for future in futures] == [n * n for n in range(200)]
    assert second.wait(30).results == [(n + 1, {}, n * n) for n in range(500)]
    assert not first.done
    gate.set()
    assert first.wait(30).results == [(n + 1, {}, n * n) for n in range(100)]
    assert pool.stats().succeeded == 200


def test_a_launched_run_is_iterated_and_cancelled_and_the_pool_goes_on(kind: str, pool: WorkerPool) -> None:
    function = nap_later if kind == "coroutine" else nap
    run = launch(run_config(function, [0.01] * 3 + [600.0] * 9, pool))
    seen = []
    for log in run:
        seen.append(log["task_id"])
        if len(seen) == 3:
            break
    assert sorted(seen) == [1, 2, 3]
    run.cancel()
    run.wait(30)
    assert run.info["stopped"] == "cancel"
    assert run.info["counts"]["ok"] == 3
    assert run.info["counts"]["cancelled"] + run.info["counts"]["not_run"] == 9
    _let_go.set()  # threads, which nothing can end, hold their places until they return
    one: Any = square_later if kind == "coroutine" else square
    assert pool.submit(one, 4).result(30) == 16
    assert start(run_config(function_for(kind), range(9), pool))[8] == (9, {}, 64)


def nap(task: float) -> float:
    by = time.monotonic() + task
    while time.monotonic() < by:
        time.sleep(0.05)
        if threading.current_thread() is not threading.main_thread() and _let_go.is_set():
            break
    return task


async def nap_later(task: float) -> float:
    await asyncio.sleep(task)
    return task


_let_go = threading.Event()


@pytest.fixture(autouse=True)
def _threads_end() -> Iterator[None]:
    _let_go.clear()
    yield
    _let_go.set()


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_the_runtime_of_a_run_ends_what_it_has_in_the_pool_and_nothing_else(pool: WorkerPool) -> None:
    start(run_config(nap, [0.05] * 8, pool))  # the workers are there
    future = pool.submit(time.sleep, 1.0)
    config = run_config(nap, [0.01, 600.0, 600.0], pool)
    started = time.monotonic()
    results = start({**config, "runtime": 1.0})
    assert time.monotonic() - started < 20
    assert results[0] == 0.01
    assert not future.done() or future.exception(0) is None
    assert future.result(30) is None


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_journal_goes_on_in_another_run(pool: WorkerPool, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    config = run_config(touch_and_nap, [(str(notes), n) for n in range(40)], pool)
    run = launch({**config, "journal": tmp_path / "run.db"})
    until(lambda: len(os.listdir(notes)) >= 8)
    run.cancel()
    run.wait(30)
    done = run.info["counts"]["ok"]
    assert 0 < done < 40
    assert start({**config, "journal": tmp_path / "run.db"}) == list(range(40))
    assert sum(1 for log in get_logs() if log.get("resumed")) in (0, done)


def touch_and_nap(task: tuple[str, int]) -> int:
    Path(task[0], str(task[1])).touch()
    time.sleep(0.02)
    return task[1]


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_pool_that_is_shut_down_ends_its_runs_with_an_error_and_what_they_have_is_kept(kind: str) -> None:
    pool = WorkerPool(2, kind=kind)
    run = launch(run_config(nap, [0.01, 0.01, 600.0, 600.0, 0.01], pool))
    until(lambda: run.info["counts"]["ok"] == 2)
    _let_go.set()
    pool.shutdown()
    with pytest.raises(RunError, match=r"worker\.pool was shut down"):
        run.wait(30)
    assert run.results[:2] == [0.01, 0.01]
    with pytest.raises(ConfigError, match=r"worker\.pool.*shut down"):
        start(run_config(square, [1], pool))


def test_a_pool_that_is_killed_ends_its_runs_with_an_error() -> None:
    pool = WorkerPool(2, kind="process")
    run = launch(run_config(nap, [0.01, 600.0, 600.0], pool))
    until(lambda: run.info["counts"]["ok"] == 1)
    pool.shutdown(kill=True)
    with pytest.raises(RunError, match=r"worker\.pool was shut down"):
        run.wait(30)
    assert run.results[0] == 0.01


def refuse_to_begin() -> None:
    raise LookupError("no model here")


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_pool_whose_workers_cannot_begin_ends_its_runs_with_that(kind: str) -> None:
    with WorkerPool(2, kind=kind, initializer=refuse_to_begin) as pool, pytest.raises(RunError, match="no model here"):
        start(run_config(square, range(5), pool))


def test_a_run_in_a_task_of_its_own_pool_is_refused_rather_than_stuck() -> None:
    with WorkerPool(1) as pool:
        future = pool.submit(start, run_config(square, [1, 2], pool))
        with pytest.raises(RunError, match="same pool"):
            future.result(30)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("use_processing", True),
        ("parallel_processing", {"enabled": True}),
        ("start_method", "spawn"),
        ("blas_threads", 2),
        ("init", print),
        ("exit", print),
        ("max_tasks_per_worker", 3),
        ("memory_limit", "1GB"),
        ("forward_logging", "drop"),
        ("capture_output", True),
    ],
)
def test_what_the_pool_has_decided_is_refused_beside_it(path: str, value: Any) -> None:
    with WorkerPool(1) as pool:
        config = run_config(square, [1], pool)
        with pytest.raises(ConfigError, match=rf"worker\.{path}.*worker\.pool"):
            start({**config, "worker": {"pool": pool, path: value}})
        assert start({**config, "worker": {"pool": pool, "use_processing": False}}) == [1]


def test_what_is_no_pool_or_does_not_fit_is_refused() -> None:
    with WorkerPool(1) as pool, WorkerPool(1, kind="coroutine") as coroutines:
        with pytest.raises(ConfigError, match=r"worker\.pool.*WorkerPool"):
            start(run_config(square, [1], 4))  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=r"frequency_mode.*worker\.pool"):
            start({**run_config(square, [1], pool), "worker": {"pool": pool, "frequency_mode": {"enabled": True}}})
        with pytest.raises(ConfigError, match=r"worker\.pool.*coroutine functions only"):
            start(run_config(square, [1], coroutines))


def test_what_cannot_be_sent_is_refused_before_anything_starts() -> None:
    lock = threading.Lock()
    with WorkerPool(1, kind="process") as pool, pytest.raises(ConfigError, match=r"task\.config"):
        start(run_config(plain, [1], pool, config={"lock": lock}))


def test_the_banner_names_the_pool(capsys: pytest.CaptureFixture[str]) -> None:
    with WorkerPool(3, name="crawlers") as pool:
        start({**run_config(square, [1, 2], pool), "verbose": True, "progress": False})
    assert "Worker Pool: crawlers" in capsys.readouterr().out


INTERRUPTED = """
import os, signal, sys, threading, time
import worker_dispatcher as wd

def nap(task):
    if task > 2:
        open(sys.argv[2], "w").close()
    time.sleep(task)
    return task

def press():
    while not os.path.exists(sys.argv[2]):
        time.sleep(0.01)
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)

if __name__ == "__main__":
    with wd.WorkerPool(2, kind=sys.argv[1]) as pool:
        other = pool.submit(nap, 1.0)
        threading.Thread(target=press).start()
        task = {"function": nap, "list": [0.0, 60.0, 60.0, 60.0]}
        try:
            wd.start({"task": task, "worker": {"pool": pool}, "verbose": False})
        except KeyboardInterrupt:
            print("interrupted", wd.get_logs()[0]["status"], other.result(), pool.submit(nap, 0.0).result())
    os._exit(0)  # what was left behind in threads sleeps on
"""


@pytest.mark.parametrize("kind", ["thread", "process", "grid"])
def test_ctrl_c_ends_the_run_and_leaves_the_pool_to_others(kind: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    done = subprocess.run(
        [sys.executable, "-u", script, kind, tmp_path / "begun"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert done.stdout.split() == ["interrupted", "ok", "1.0", "0.0"], done
    assert done.returncode == 0
