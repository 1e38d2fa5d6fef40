"""Load by the clock, in every shape: what is due when, what is on record, and what becomes of tasks out of turn."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from staging import GRACE, Notes, Shape, runtimes

import worker_dispatcher
from worker_dispatcher.errors import ConfigError

pytestmark = [
    pytest.mark.above_the_pools,
    pytest.mark.differs_on_a_cluster("what is due on a cluster is tested in test_dask_runs.py"),
]

Run = Callable[..., list[Any]]


def load(**options: Any) -> dict[str, Any]:
    return {"number": None, "frequency_mode": {"enabled": True, **options}}


def ones(task):
    return 1
    yield


def test_counts_are_exact_and_nothing_starts_before_its_time(shape: Shape, run: Run) -> None:
    results = run(shape, ones, None, load(rate=100, duration=0.55))
    logs = worker_dispatcher.get_logs()
    assert len(results) == len(logs) == 55
    assert worker_dispatcher.get_result_info()["counts"]["ok"] == 55
    first = logs[0]["scheduled_at"]
    for nth, log in enumerate(logs):
        assert log["scheduled_at"] - first == pytest.approx(nth / 100, abs=2e-6)
        assert log["queue_delay"] >= 0
        assert log["queue_delay"] == pytest.approx(log["started_at"] - log["scheduled_at"], abs=2e-6)
        assert log["response_time"] == pytest.approx(log["queue_delay"] + log["duration"], abs=1e-9)
        assert (log["interval"], log["phase"]) == (0, "main")
        assert log["in_flight"] >= 1


def test_logs_of_fixed_workers_have_no_due_times(shape: Shape, run: Run) -> None:
    run(shape, ones, [1, 2])
    assert not {"scheduled_at", "queue_delay", "interval", "phase", "in_flight"} & set(worker_dispatcher.get_logs()[0])


@pytest.mark.parametrize("pacing", ["burst", "even", "random", "poisson"])
def test_each_pacing_numbers_its_intervals(plain_shape: Shape, run: Run, pacing: str) -> None:
    options = {"frequency_mode": {"enabled": True, "interval": 0.1, "pacing": pacing, "seed": 3}}
    run(plain_shape, ones, 24, {"number": 8, **options})
    logs = worker_dispatcher.get_logs()
    began = logs[0]["scheduled_at"] if pacing in {"burst", "even"} else None
    if pacing != "poisson":
        assert Counter(log["interval"] for log in logs) == {0: 8, 1: 8, 2: 8}
    if pacing == "burst":
        assert began is not None
        for log in logs:
            assert log["scheduled_at"] - began == pytest.approx(0.1 * log["interval"], abs=2e-6)
    assert [log["scheduled_at"] for log in logs] == sorted(log["scheduled_at"] for log in logs)


def test_a_trace_is_replayed(plain_shape: Shape, run: Run) -> None:
    offsets = [0, 0, 0.05, 0.2]
    results = run(plain_shape, ones, 6, load(pacing=offsets))
    logs = worker_dispatcher.get_logs()
    seen = [log["scheduled_at"] - logs[0]["scheduled_at"] for log in logs]
    assert seen == pytest.approx(offsets, abs=2e-6)
    assert len(results) == 4
    assert worker_dispatcher.get_result_info()["not_run"] == [5, 6]


def test_stages_end_the_run_and_begin_the_list_again(shape: Shape, run: Run) -> None:
    seen = run(shape, echo, ["a", "b", "c"], load(stages=[(0.2, 100), {"duration": 0.2, "rate": 50, "step": True}]))
    assert seen == ["abc"[nth % 3] for nth in range(20)]
    assert worker_dispatcher.get_result_info()["not_run"] == []


def echo(task):
    return task
    yield


def test_a_generator_that_ends_first_ends_the_run(plain_shape: Shape, run: Run) -> None:
    began = time.monotonic()
    assert run(plain_shape, echo, (n for n in range(5)), load(rate=50, duration=30)) == [0, 1, 2, 3, 4]
    assert time.monotonic() - began < 10


def test_tasks_without_end_are_made_until_the_duration_is_over(plain_shape: Shape, run: Run) -> None:
    assert run(plain_shape, echo, None, load(rate=50, duration=0.2)) == [{}] * 10


def test_warm_up_and_cool_down_are_on_record_and_not_in_the_numbers(plain_shape: Shape, run: Run) -> None:
    run(plain_shape, ones, None, load(rate=50, duration=0.4, warmup=0.1, cooldown=0.1))
    logs = worker_dispatcher.get_logs()
    assert [log["phase"] for log in logs] == ["warmup"] * 5 + ["main"] * 10 + ["cooldown"] * 5
    assert worker_dispatcher.get_tps()["count"]["total"] == 10
    run(plain_shape, ones, 10, load(rate=50, cooldown=0.05))  # counts back from the last due time
    assert Counter(log["phase"] for log in worker_dispatcher.get_logs()) == {"main": 7, "cooldown": 3}


def test_what_finds_all_workers_busy_is_dropped_and_counted(shape: Shape, run: Run, notes: Notes) -> None:
    # Two workers are held until the last task has come due; a coroutine process runs one at a time as well.
    options = load(pacing=[0, 0, 0.1, 0.2, 1.2], max_workers=2, on_saturation="drop")
    results = run(shape, hold_until_late, 5, options, config=notes)
    info = worker_dispatcher.get_result_info()
    assert info["counts"]["dropped"] == 2
    assert info["dropped"] == [3, 4]
    assert [log["task_id"] for log in worker_dispatcher.get_logs()] == [1, 2, 5]
    assert [one["task_id"] for one in worker_dispatcher.get_dropped()] == [3, 4]
    assert {one["interval"] for one in worker_dispatcher.get_dropped()} == {0}
    assert [bool(result) for result in results] == [True, True, False, False, True]
    assert (results[2].status, results[2].error, results[2].attempts) == ("dropped", None, 0)


def hold_until_late(id, config):
    config.add(id)
    until = time.monotonic() + 0.6
    if id <= 2:
        yield lambda: time.monotonic() > until
    return True


def test_what_finds_all_workers_busy_is_started_late_otherwise(shape: Shape, run: Run, notes: Notes) -> None:
    run(shape, hold_until_late, 4, load(pacing=[0, 0, 0.1, 0.2], max_workers=2), config=notes)
    logs = worker_dispatcher.get_logs()
    assert len(logs) == 4
    assert worker_dispatcher.get_dropped() == []
    assert all(log["queue_delay"] > 0.3 for log in logs[2:])
    assert all(log["duration"] < 0.3 for log in logs[2:])


def test_workers_grow_when_tasks_take_longer_than_their_distance(shape: Shape, run: Run, notes: Notes) -> None:
    run(shape, all_at_once, 6, load(pacing=[0, 0.02, 0.04, 0.06, 0.08, 0.1]), config=notes)
    assert worker_dispatcher.get_result_info()["counts"]["ok"] == 6


def all_at_once(id, config):
    """Ends only when all six have begun."""
    config.add(id)
    yield config.count(6)
    return True


def test_workers_are_reused_when_they_are_free_in_time(plain_shape: Shape, run: Run) -> None:
    run(plain_shape, ones, 60, {"number": 4, "frequency_mode": {"enabled": True, "interval": 0.05}})
    logs = worker_dispatcher.get_logs()
    assert len(logs) == 60
    assert len({log["worker"] for log in logs}) <= 20
    assert len({log["pid"] for log in logs}) <= 20


def test_the_runtime_ends_a_load(shape: Shape, run: Run) -> None:
    for runtime in runtimes(0.5):
        began = time.monotonic()
        run(shape, ones, None, load(rate=50, duration=60), top={"runtime": runtime})
        assert time.monotonic() - began < runtime + GRACE
        info = worker_dispatcher.get_result_info()
        assert info["stopped"] == "runtime"
        if info["counts"]["ok"]:
            break
    assert 1 <= info["counts"]["ok"] <= 50 * runtime


@pytest.mark.leaves_threads(1)
def test_a_late_task_times_out_by_its_own_time(plain_shape: Shape, run: Run, notes: Notes) -> None:
    run(plain_shape, stay_if_first, 3, load(pacing=[0, 0.05, 0.1]), timeout=0.3, config=notes)
    notes.add("the end")
    assert [log["status"] for log in worker_dispatcher.get_logs()] == ["timeout", "ok", "ok"]
    assert worker_dispatcher.get_logs()[0]["response_time"] < 0.3 + GRACE


def stay_if_first(id, config):
    if id == 1:
        yield config.has("the end")
    return True


def test_a_failed_attempt_is_tried_again_out_of_turn(
    shape: Shape, make_config: Callable[..., Any], notes: Notes, wait_until: Callable[..., None]
) -> None:
    # The fourth is not due before the others have been tried again, however long that takes.
    options = load(pacing=[0, 0.05, 0.1, 600])
    handle = worker_dispatcher.launch(make_config(shape, fail_first, 4, options, config=notes, retries=1))
    wait_until(notes.has("again 1", "again 2", "again 3"), within=20)
    wait_until(lambda: handle.info["counts"]["ok"] == 3)
    handle.cancel()
    handle.wait(20)
    assert [(log["status"], log["attempts"]) for log in handle.logs] == [("ok", 2), ("ok", 2), ("ok", 2)]
    assert handle.info["not_run"] == [4]


def fail_first(id, config):
    if f"tried {id}" not in config.all():
        config.add(f"tried {id}")
        raise OSError("not yet")
    config.add(f"again {id}")
    return True
    yield


def test_a_dead_worker_costs_the_load_one_task(process_shape: Shape, run: Run) -> None:
    run(process_shape, die_if_fifth, 20, load(rate=100))
    assert Counter(log["status"] for log in worker_dispatcher.get_logs()) == {"ok": 19, "crashed": 1}
    assert worker_dispatcher.get_logs()[4]["status"] == "crashed"


def die_if_fifth(id):
    if id == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return True
    yield


def test_a_check_that_comes_true_ends_the_run(shape: Shape, run: Run) -> None:
    run(shape, fail, None, load(rate=50, duration=60, abort_on=["error_rate>50% for 0.6s"]))
    info = worker_dispatcher.get_result_info()
    assert info["stopped"].startswith("error_rate>50% for 0.6s")
    lasted = info["ended_at"] - worker_dispatcher.get_logs()[0]["scheduled_at"]
    assert 0.6 <= lasted < 10  # on an idle machine 1.0: it looks twice a second
    assert info["counts"]["error"] >= 1
    assert info["counts"]["ok"] == 0


def fail(task):
    raise ValueError("always")
    yield


def test_a_check_that_stays_false_does_nothing(plain_shape: Shape, run: Run) -> None:
    run(plain_shape, ones, None, load(rate=50, duration=1.2, abort_on=["error_rate>0%", "p99>5s for 0.5s"]))
    assert worker_dispatcher.get_result_info()["stopped"] is None
    assert worker_dispatcher.get_result_info()["counts"]["ok"] == 60


def test_what_is_no_check_is_refused_before_anything_starts(plain_shape: Shape, run: Run) -> None:
    with pytest.raises(ConfigError, match=r"abort_on\[1\]") as caught:
        run(plain_shape, ones, 3, load(rate=5, abort_on=["error_rate>1%", "oranges>3", "error>5% for 3s"]))
    assert "there is no metric 'oranges'" in str(caught.value)
    assert "check 'error>5%': error is not measured in %; did you mean error_rate?" in str(caught.value)


def test_a_check_whose_window_is_empty_does_nothing(plain_shape: Shape, run: Run) -> None:
    # Nothing ends before the first look: a service that hangs.
    run(plain_shape, nap, 3, load(pacing=[0, 0.1, 0.2], abort_on=["error_rate>50%", "p99>9s for 0.2s"]))
    assert worker_dispatcher.get_result_info()["stopped"] is None
    assert worker_dispatcher.get_result_info()["counts"]["ok"] == 3


def nap(task):
    until = time.monotonic() + 0.9
    yield lambda: time.monotonic() > until
    return True


def test_what_knows_its_length_but_is_there_only_once_is_not_begun_again(plain_shape: Shape, run: Run) -> None:
    class Once:
        def __init__(self) -> None:
            self.left = iter(range(5))

        def __len__(self) -> int:
            return 5

        def __iter__(self) -> Any:
            return self.left

    assert run(plain_shape, echo, Once(), load(rate=100, duration=20), top={"runtime": 10}) == [0, 1, 2, 3, 4]
    assert worker_dispatcher.get_result_info()["stopped"] is None
