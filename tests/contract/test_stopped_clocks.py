"""Tests that stop or set the clock of a program stop none of its runs: our deadlines come, and durations are real."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import textwrap
import threading
from unittest import mock

import pytest
from freezegun import freeze_time

import worker_dispatcher as wd

pytestmark = [
    pytest.mark.above_the_pools,
    pytest.mark.differs_on_a_cluster("Dask itself goes by the clock that was stopped"),
]

MORNING = datetime.datetime(2020, 2, 29, 8, tzinfo=datetime.UTC)
quiet_failures = pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")

OF_THE_MODULE = ("monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep", "thread_time", "time")


@contextlib.contextmanager
def replaced_functions():
    with contextlib.ExitStack() as stack:
        for name in OF_THE_MODULE:
            stack.enter_context(mock.patch(f"time.{name}", return_value=1.0))
        yield


STOPPERS = {
    "frozen": lambda: freeze_time(MORNING),
    "ticking": lambda: freeze_time(MORNING, tick=True),
    "stepping": lambda: freeze_time(MORNING, auto_tick_seconds=3600),
    "replaced": replaced_functions,
}
FORKED = {"use_processing": True, "start_method": "fork"}


def give(id):
    return id


async def doze(id):
    await asyncio.sleep(0.02)
    return id


def stay(id):
    threading.Event().wait(0.02)  # which asks no function that could be replaced
    return id


class Failing:
    """Fails so many times at each task, with a note of each; then gives the id."""

    def __init__(self, notes, times):
        self.notes, self.times = notes, times
        self.__name__ = "failing"

    def __call__(self, id):
        self.notes.add(id)
        if self.notes.all().count(str(id)) <= self.times:
            raise OSError("not yet")
        return id


def test_due_times_come_though_the_clock_stands(shape, run):
    load = {"number": None, "frequency_mode": {"enabled": True, "rate": 50, "duration": 0.2}}
    with freeze_time(MORNING):
        assert run(shape, give, None, load) == list(range(1, 11))

    logs = wd.get_logs()
    assert max(log["started_at"] for log in logs) - min(log["scheduled_at"] for log in logs) > 0.15
    assert all(log["queue_delay"] >= 0 for log in logs)


@quiet_failures
def test_waits_for_another_attempt_end_though_the_clock_stands(shape, run, notes):
    with freeze_time(MORNING):
        results = run(shape, Failing(notes, 2), 3, retries=2, backoff={"initial": 0.03, "jitter": 0})

    assert results == [1, 2, 3]
    assert wd.get_duration() >= 0.09


@quiet_failures
@pytest.mark.leaves_threads
def test_a_timeout_comes_though_the_clock_stands(shape, run, notes):
    def second_stays(id):
        if id == 2:
            yield notes.has("the end")
        return id

    with freeze_time(MORNING):
        results = run(shape, second_stays, 4, {"number": 2}, timeout=0.3)
    notes.add("the end")

    assert results[:1] + results[2:] == [1, 3, 4]
    assert results[1].status == "timeout"
    assert wd.get_logs()[1]["duration"] >= 0.3


@quiet_failures
def test_the_runtime_is_over_though_the_clock_stands(shape, run):
    with freeze_time(MORNING):
        results = run(shape, stay, 5000, {"number": 2}, top={"runtime": 0.3})

    assert len(results) < 5000
    assert wd.get_result_info()["stopped"] == "runtime"
    assert wd.get_duration() >= 0.3


@pytest.mark.parametrize("function", [stay, doze])
@pytest.mark.parametrize("options", [{}, FORKED], ids=["threads", "forked"])
@pytest.mark.parametrize("stopper", STOPPERS)
def test_no_way_to_stop_or_set_a_clock_reaches_a_run(stopper, options, function):
    load = {"number": 2, **options, "frequency_mode": {"enabled": True, "interval": 0.1}}
    with STOPPERS[stopper]():
        results = wd.start({"task": {"list": 4, "function": function}, "worker": load, "verbose": False})

    assert results == [1, 2, 3, 4]
    assert 0.1 < wd.get_duration() < 20
    assert all(0.019 <= log["duration"] < 10 for log in wd.get_logs())


def test_a_clock_that_stops_while_a_run_goes_on_does_not_stop_it():
    runs, stands = threading.Event(), threading.Event()

    def meet(id):
        runs.set()
        stands.wait(30)
        return id

    run = wd.launch({"task": {"list": 3, "function": meet, "timeout": 30}, "worker": {"number": 1}, "verbose": False})
    runs.wait(30)
    with freeze_time(MORNING):
        with pytest.raises(TimeoutError):
            run.wait(0.05)
        stands.set()
        assert run.wait(30).results == [1, 2, 3]
    assert run.info["duration"] < 30


BEFORE, AFTER = "frozen.start(); import worker_dispatcher as wd", "import worker_dispatcher as wd; frozen.start()"


@pytest.mark.parametrize("order", [BEFORE, AFTER], ids=["before", "after"])
@pytest.mark.parametrize("processes", [False, True])
def test_the_clock_may_be_stopped_before_and_after_the_import(order, processes, script, tmp_path):
    (tmp_path / "job.py").write_text("def give(id): return id\n")
    text = f"""
        import threading
        from freezegun import freeze_time
        import job

        frozen = freeze_time("2020-02-29")
        {order}
        load = {{"use_processing": {processes}, "frequency_mode": {{"enabled": True, "rate": 20, "duration": 0.2}}}}
        print(wd.start({{"task": {{"list": None, "function": job.give}}, "worker": load, "verbose": False}}))
    """
    done = script("-c", textwrap.dedent(text))
    assert done.stdout.strip() == "[1, 2, 3, 4]", done.stderr


def test_logs_tell_the_time_that_the_program_has_set_and_real_durations(run, shape):
    with freeze_time(MORNING):
        run(shape, stay, 2)

    info = wd.get_result_info()
    assert info["started_at"] == MORNING.timestamp()
    assert info["ended_at"] - info["started_at"] == pytest.approx(info["duration"], abs=1e-6)
    for log in wd.get_logs():
        assert info["started_at"] <= log["started_at"] <= log["ended_at"] <= info["ended_at"]
        assert log["ended_at"] - log["started_at"] == pytest.approx(log["duration"], abs=1e-6)
        assert log["duration"] >= 0.019
