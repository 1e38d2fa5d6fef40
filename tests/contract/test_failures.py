"""Retries, backoff, retry_on, on_error and max_failures."""

from __future__ import annotations

import os
import signal
import time

import pytest
from staging import GRACE

import worker_dispatcher as wd
from worker_dispatcher.errors import RemoteTraceback

pytestmark = pytest.mark.above_the_pools

quiet_failures = pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")


def test_a_task_is_tried_again_and_its_attempts_are_counted(shape, run, notes):
    def third_time_lucky(id):
        notes.add(id)
        if notes.all().count(str(id)) < id:
            raise ValueError(id)
        return id

    assert run(shape, third_time_lucky, 3, retries=2) == [1, 2, 3]
    assert [log["attempts"] for log in wd.get_logs()] == [1, 2, 3]
    assert sorted(notes.all()) == ["1", "2", "2", "3", "3", "3"]


@quiet_failures
def test_a_task_that_always_fails_has_one_more_attempt_than_retries(shape, run, notes):
    def fails(id):
        notes.add(id)
        raise ValueError("always")

    [result] = run(shape, fails, 1, retries=3)

    assert notes.all() == ["1"] * 4
    assert result.attempts == wd.get_logs()[0]["attempts"] == 4


@pytest.mark.differs_on_a_cluster("who comes first is a matter of what the way takes")
def test_waiting_for_the_next_attempt_blocks_nobody(shape, run, notes):
    def first_fails_once(id):
        notes.add(id)
        if id == 1 and notes.all().count("1") == 1:
            raise ValueError("once")
        return id

    results = run(shape, first_fails_once, 30, {"number": 1}, retries=1, backoff={"initial": 0.3, "jitter": 0})

    assert results == list(range(1, 31))
    assert notes.all()[-1] == "1"
    first, *others = wd.get_logs()
    assert max(log["ended_at"] for log in others) < first["started_at"]


@quiet_failures
@pytest.mark.parametrize("retry_on", [OSError, (KeyError, OSError), lambda error: isinstance(error, OSError)])
def test_only_what_retry_on_allows_is_tried_again(shape, run, notes, retry_on):
    def fails(id):
        notes.add(id)
        raise ConnectionError("again") if id == 1 else ValueError("never")

    run(shape, fails, 2, retries=2, retry_on=retry_on)

    assert notes.all().count("1") == 3
    assert notes.all().count("2") == 1


@quiet_failures
@pytest.mark.leaves_threads(4)
def test_retry_on_speaks_of_timeouts_too(shape, run, notes, tmp_path):
    late = tmp_path / "late"

    def stays(id):
        notes.add(id)
        yield late.exists

    # An attempt may be over its time before it has come to its first step.
    run(shape, stays, 1, retries=1, timeout=0.15, retry_on=ValueError)
    assert wd.get_logs()[0]["attempts"] == 1
    assert len(notes.all()) <= 1
    run(shape, stays, 1, retries=1, timeout=0.15, retry_on=wd.TaskTimeout)
    late.touch()
    assert wd.get_logs()[0]["attempts"] == 2
    assert len(notes.all()) <= 3


@quiet_failures
def test_retry_on_speaks_of_deaths_too(process_shape, run, notes):
    def dies(id):
        notes.add(id)
        os.kill(os.getpid(), signal.SIGKILL)

    [result] = run(process_shape, dies, 1, retries=2, retry_on=ValueError)
    assert (len(notes.all()), result.attempts, result.status) == (1, 1, "crashed")

    [result] = run(process_shape, dies, 1, retries=2, retry_on=wd.WorkerDied)
    assert (len(notes.all()), result.attempts) == (4, 3)


@quiet_failures
@pytest.mark.leaves_threads(1)
def test_a_task_that_was_tried_again_is_settled_once_when_the_run_is_stopped(shape, make_config, notes, wait_until):
    """A retried task that ended ok was booked a second time by an early stop."""

    def task(id):
        notes.add(id)
        if id == 1 and notes.all().count("1") == 1:
            raise ValueError("once")
        if id == 2:
            yield notes.has("never")
        return id

    handle = wd.launch(make_config(shape, task, 2, {"number": 2}, retries=1))
    wait_until(lambda: handle.info["counts"]["ok"] == 1 and "2" in notes.all())
    handle.cancel()
    handle.wait(10)
    notes.add("never")

    assert handle.results[0] == 1
    assert handle.results[1].status == "cancelled"
    assert handle.logs[0]["attempts"] == 2


def test_raise_gives_the_original_exception_with_notes_and_its_remote_traceback(shape, run):
    def fails_at_three(id):
        if id == 3:
            raise ZeroDivisionError("by zero")
        return id

    with pytest.raises(ZeroDivisionError, match="by zero") as caught:
        run(shape, fails_at_three, 5, {"number": 1}, on_error="raise")

    notes = "\n".join(caught.value.__notes__)
    assert "task #3 of 5, attempt 1" in notes
    assert "get_results()" in notes
    if shape.in_processes:
        assert type(caught.value.__cause__) is RemoteTraceback
        assert "fails_at_three" in str(caught.value.__cause__)
    assert wd.get_results()[:2] == [1, 2]
    assert wd.get_results()[2].error["type"] == "ZeroDivisionError"


def test_raise_waits_for_the_last_attempt(shape, run, notes):
    def fails(id):
        notes.add(id)
        raise ValueError(len(notes.all()))

    with pytest.raises(ValueError, match="3") as caught:
        run(shape, fails, 1, on_error="raise", retries=2)

    assert "attempt 3" in "\n".join(caught.value.__notes__)


def test_raise_gives_a_task_error_where_the_exception_cannot_be_pickled(process_shape, run):
    class Stubborn(Exception):
        def __reduce__(self):
            raise TypeError("not me")

    def fails(id):
        raise Stubborn("cannot travel")

    with pytest.raises(wd.TaskError, match="Stubborn: cannot travel") as caught:
        run(process_shape, fails, 1, on_error="raise")

    assert caught.value.task_id == 1
    assert "Stubborn" in caught.value.type_name


@pytest.mark.leaves_threads(1)
def test_raise_gives_a_task_timeout(shape, run, tmp_path):
    late = tmp_path / "late"

    def stays():
        yield late.exists

    with pytest.raises(wd.TaskTimeout, match="task #1") as caught:
        run(shape, stays, 1, on_error="raise", timeout=0.15)
    late.touch()

    assert isinstance(caught.value, TimeoutError)
    assert caught.value.timeout == 0.15


def test_raise_gives_worker_died(process_shape, run):
    def dies(id):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(wd.WorkerDied, match="SIGKILL") as caught:
        run(process_shape, dies, 1, on_error="raise")

    assert caught.value.task_id == 1


@quiet_failures
def test_max_failures_stops_a_recording_run(shape, run):
    def fails(id):
        raise ValueError(id)

    results = run(shape, fails, 1000, {"number": 2}, max_failures=3)

    counts = wd.get_result_info()["counts"]
    assert 3 <= counts["error"] <= 200
    assert sum(counts.values()) == 1000
    assert len(results) == max(log["task_id"] for log in wd.get_logs())
    assert not any(results)


def test_max_failures_lets_a_raising_run_fail_so_often(shape, run):
    def fails(id):
        if id in (2, 4):
            raise ValueError(id)
        return id

    with pytest.raises(ValueError, match="4"):
        run(shape, fails, 10, {"number": 1}, on_error="raise", max_failures=2)

    assert wd.get_results()[2] == 3


def test_the_warning_counts_shows_the_first_and_points_at_the_users_line(shape, make_config):
    def fails(id):
        if id > 1:
            raise ValueError(f"number {id}")

    config = make_config(shape, fails, 3)
    with pytest.warns(wd.TaskFailuresWarning) as caught:
        wd.start(config)

    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert str(caught[0].message) == "2 of 3 tasks failed; the first: #2 ValueError: number 2"


def test_no_warning_where_all_is_well_or_told_on_the_terminal(shape, make_config, recwarn, capfd):
    def fails(id):
        raise ValueError(id)

    wd.start(make_config(shape, lambda id: id, 2))
    wd.start(make_config(shape, fails, 2, top={"verbose": True}))

    assert [w for w in recwarn if issubclass(w.category, wd.TaskFailuresWarning)] == []


@quiet_failures
def test_whatever_a_task_raises_is_its_own_error(shape, run):
    kinds = [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, StopAsyncIteration, MemoryError]

    def raises(task, id):
        if id <= 6:
            raise kinds[id - 1]
        return id

    results = run(shape, raises, 8, {"number": 2})

    assert results[6:] == [7, 8]
    found = [result.error["type"] for result in results[:6]]
    expected = [kind.__name__ for kind in kinds]
    if shape.coroutine:
        expected[3] = "RuntimeError"  # that is what Python makes of it in a coroutine
    assert found == expected


def test_backoff_is_waited_for(shape, run, notes):
    def fails_once(id):
        notes.add(time.monotonic())
        if len(notes.all()) == 1:
            raise ValueError("once")

    run(shape, fails_once, 1, retries=1, backoff={"initial": 0.2, "jitter": 0})

    first, second = map(float, notes.all())
    assert 0.2 <= second - first < 0.2 + GRACE
