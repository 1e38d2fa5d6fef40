"""Runs that keep no records: what whoever iterates gets, and when."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import signal
import threading
import time

import psutil
import pytest
from streamed import streamed

import worker_dispatcher as wd

pytestmark = pytest.mark.above_the_pools

VARIES = {
    "started_at",
    "earlier_attempts",
    "ended_at",
    "duration",
    "worker",
    "pid",
    "address",
}  # from one run to another


# Of tiny tasks: 4096 that are drawn ahead, 4096 that are open, and the records of as many before it is known that there
# are too many; where all of these end at once there are so many records and a few.
MOST_AT_REST = 3 * 4096 + 200


class Counted:
    """An endless generator that knows how far it was drawn."""

    def __init__(self):
        self.drawn = 0

    def __iter__(self):
        for n in itertools.count(1):
            self.drawn = n
            yield n


def at_rest(number):
    """The value of a counter once it has stopped growing, or after ten seconds."""
    seen, since, began = number(), 0, time.monotonic()
    while since < 10 and time.monotonic() < began + 10:
        threading.Event().wait(0.02)
        seen, since = number(), since + 1 if number() == seen else 0
    return seen


def take_all(run, use):
    for log in run:
        use(log)


def ended(run):
    return sum(run.info_without_ids()["counts"].values())


# What is handed over


@pytest.mark.leaves_threads(16)
@pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")
def test_the_records_are_those_of_a_run_that_keeps_them(shape, make_config, notes):
    may_die = shape.dies_alone

    def fate(id, task, metadata):
        metadata["n"] = task
        kind = task % 7
        if kind == 1:
            raise ValueError(f"no {task}")
        if kind == 2 and may_die:
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == 3:
            yield notes.has("the end")
        if kind == 4:
            raise KeyboardInterrupt
        return [task] * 3

    config = make_config(shape, fate, range(14), {"number": 2}, timeout=0.2, retries=1)
    handed = sorted(streamed(config), key=lambda log: log["task_id"])
    run = wd.launch(config)
    kept = run.wait(60).logs
    notes.add("the end")

    assert len(handed) == 14
    statuses = {"ok", "error", "timeout", *(["crashed"] if may_die else [])}
    assert {log["status"] for log in handed} == statuses
    for one, other in zip(handed, kept, strict=True):
        assert list(one) == list(other)
        assert one["pid"] is not None
        assert one["worker"] >= 1
        assert one["duration"] == pytest.approx(one["ended_at"] - one["started_at"], abs=1e-5)
        assert {k: v for k, v in one.items() if k not in VARIES} == {k: v for k, v in other.items() if k not in VARIES}


def test_counts_and_times_stay_right(shape, make_config):
    def some_fail(id):
        if id % 4 == 0:
            raise ValueError(id)

    run = streamed(make_config(shape, some_fail, (n for n in range(400))))
    statuses = [log["status"] for log in run]

    counts = run.info["counts"]
    assert (counts["ok"], counts["error"], sum(counts.values())) == (300, 100, 400)
    assert (statuses.count("ok"), statuses.count("error")) == (300, 100)
    assert run.info["not_run"] == run.info["dropped"] == run.dropped == []
    assert run.done
    assert run.info["duration"] > 0
    with pytest.warns(wd.TaskFailuresWarning, match=r"100 of 400 tasks failed; the first: #4 \(input 3\) Value"):
        run.wait()


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_memory_does_not_grow_over_an_endless_generator(name, make_config):
    from staging import SHAPES

    count, tasks = 300_000, Counted()
    me = psutil.Process()

    def memory():
        gc.collect()
        return sum(process.memory_info().rss for process in (me, *me.children(recursive=True)))

    for log in (run := streamed(make_config(SHAPES[name], lambda task: f"{task:0100}", tasks))):
        if log["task_id"] == count // 5:
            before = memory()
        if log["task_id"] >= count:
            grown = memory() - before
            break
    run.wait(10)

    # Kept, these results alone would take 36 MB, and their records 10 MB.
    assert grown < 8e6
    assert tasks.drawn < count + MOST_AT_REST


def test_a_task_that_stays_does_not_make_the_others_stay_in_memory(make_config, monkeypatch):
    from staging import SHAPES

    from worker_dispatcher.dispatch import record_stream

    go = threading.Event()

    def first_stays(id):
        if id == 1:
            go.wait(100)

    monkeypatch.setattr(record_stream, "_MOST", 256)  # else what waits for us may be as large as what is looked for
    count = 50_000
    run = streamed(make_config(SHAPES["threads"], first_stays, itertools.count(1)))
    for log in run:
        if log["task_id"] == count // 5:
            before = psutil.Process().memory_info().rss
        if log["task_id"] >= count:
            grown = psutil.Process().memory_info().rss - before
            go.set()
        if log["task_id"] == 1:
            break
    run.wait(10)

    assert grown < 7e5  # in columns that begin with the first open task: 1.5 MB


def test_a_consumer_that_stops_holds_up_the_run_and_loses_nothing(shape, make_config):
    tasks = Counted()
    run = streamed(make_config(shape, lambda task: task, tasks))
    records = iter(run)
    seen = [next(records)["task_id"] for _ in range(2000)]
    rest = at_rest(lambda: tasks.drawn)

    assert rest <= 2000 + MOST_AT_REST
    assert at_rest(lambda: ended(run)) <= rest
    while len(seen) < rest + 1000:  # it goes on as soon as somebody takes
        seen.append(next(records)["task_id"])
    assert len(set(seen)) == len(seen)
    assert set(range(1, len(seen) // 2)) <= set(seen)
    records.close()
    run.wait(10)


@pytest.mark.differs_on_a_cluster("tiny tasks go there by the hundred, since the way is far")
def test_little_waits_for_a_consumer_that_never_keeps_up(shape, make_config, wait_until):
    tasks = Counted()
    run = streamed(make_config(shape, lambda task: task, tasks))

    wait_until(lambda: ended(run))
    assert at_rest(lambda: ended(run)) <= 100
    assert tasks.drawn <= 200
    run.cancel()
    run.wait(10)


@pytest.mark.leaves_threads(4)
def test_timeouts_hold_while_nobody_takes(shape, make_config, notes, wait_until):
    def second_hangs(id):
        notes.add(id)
        if id == 2:
            yield notes.has("the end")

    run = streamed(make_config(shape, second_hangs, Counted(), {"number": 2}, timeout=0.3))
    wait_until(lambda: {"ok", "timeout"} <= {name for name, count in run.info["counts"].items() if count})
    run.cancel()
    records = {log["task_id"]: log["status"] for log in run}
    notes.add("the end")

    assert records[1] == "ok"
    assert records[2] == "timeout"


def test_leaving_the_loop_ends_the_run_and_its_workers(shape, make_config):
    run = streamed(make_config(shape, lambda id: id, Counted()))
    for log in run:
        assert log["status"] == "ok"
        break
    run.wait(10)

    assert run.info["stopped"] == "cancel"
    assert run.info["counts"]["ok"] >= 1
    with pytest.raises(wd.RunError, match=r"given up.*loop over it was left early"):
        list(run)


def test_an_error_in_the_loop_ends_the_run(shape, make_config):
    run = streamed(make_config(shape, lambda id: id, Counted()))
    with pytest.raises(ZeroDivisionError):
        take_all(run, lambda log: log["result"] // 0)
    run.wait(10)

    assert run.info["stopped"] == "cancel"


def test_an_iterator_that_is_dropped_ends_the_run(shape, make_config):
    run = streamed(make_config(shape, lambda id: id, Counted()))
    assert next(iter(run))["task_id"] >= 1
    run.wait(10)

    assert run.info["stopped"] == "cancel"


def test_a_run_that_is_dropped_ends(shape, make_config, wait_until):
    # Nothing is left, as conftest sees to; before that, the thread that drives.
    before, tasks = set(threading.enumerate()), Counted()
    run = streamed(make_config(shape, lambda id: id, tasks))
    wait_until(lambda: tasks.drawn)
    del run
    wait_until(lambda: gc.collect() >= 0 and not set(threading.enumerate()) - before)


@pytest.mark.leaves_threads(2)
def test_cancel_ends_the_loop_with_what_was_running(shape, make_config, notes, wait_until):
    def stays(id):
        notes.add(id)
        if id > 1:
            yield notes.has("the end")

    run = streamed(make_config(shape, stays, Counted(), {"number": 2}))
    records = []
    for log in run:
        records.append(log["status"])
        if len(records) == 1:
            wait_until(notes.count(3))
            run.cancel()
    notes.add("the end")

    assert records == ["ok", "cancelled", "cancelled"]
    assert run.info["counts"]["cancelled"] == 2


def test_waiting_gives_the_records_up(shape, make_config):
    run = streamed(make_config(shape, lambda id: "x" * 100, 20_000))

    assert run.wait(60) is run
    assert run.info["counts"]["ok"] == 20_000
    with pytest.raises(wd.RunError, match=r"given up: wait\(\) came before"):
        next(iter(run))
    assert run.wait(1) is run


def test_awaiting_gives_the_records_up(shape, make_config):
    async def main():
        return await streamed(make_config(shape, lambda id: id, 10_000))

    assert asyncio.run(main()).info["counts"]["ok"] == 10_000


def test_one_thread_may_wait_while_another_takes(shape, make_config):
    run = streamed(make_config(shape, lambda id: id, 10_000))
    seen, begun = [], threading.Event()

    def take():
        for log in run:
            seen.append(log["task_id"])
            begun.set()

    taking = threading.Thread(target=take)
    taking.start()
    assert begun.wait(20)
    run.wait(60)
    taking.join(20)

    assert sorted(seen) == list(range(1, 10_001))


def test_two_threads_may_share_the_records(shape, make_config):
    run = streamed(make_config(shape, lambda id: id, 10_000))
    seen = [[], []]
    # Both have begun before either can come to the end.
    meeting = threading.Barrier(2)

    def take(mine):
        for log in run:
            if not mine:
                meeting.wait(20)
            mine.append(log["task_id"])

    takers = [threading.Thread(target=take, args=(mine,)) for mine in seen]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join(60)

    assert all(seen)
    assert sorted(seen[0] + seen[1]) == list(range(1, 10_001))


def test_waiting_inside_the_loop_is_refused_instead_of_standing_still(shape, make_config):
    run = streamed(make_config(shape, lambda id: id, Counted()))
    with pytest.raises(wd.RunError, match="inside the loop"):
        take_all(run, lambda log: run.wait())
    run.wait(10)


def test_what_a_generator_raises_comes_out_of_the_loop_after_its_records(shape, make_config):
    class Broken(Exception):
        pass

    def breaks():
        yield from range(5)
        raise Broken("no more")

    run = streamed(make_config(shape, lambda task: task, breaks()))
    seen = []
    with pytest.raises(Broken, match="no more"):
        take_all(run, lambda log: seen.append(log["result"]))

    assert sorted(seen) == [0, 1, 2, 3, 4]
    with pytest.raises(Broken, match="no more"):
        run.wait()


@pytest.mark.leaves_threads(4)
def test_a_failure_that_ends_the_run_comes_out_of_the_loop(shape, make_config):
    def fails_late(id):
        if id == 50:
            raise ZeroDivisionError("the fiftieth")
        return id

    run = streamed(make_config(shape, fails_late, Counted(), on_error="raise"))
    seen = {}
    with pytest.raises(ZeroDivisionError, match="the fiftieth") as caught:
        take_all(run, lambda log: seen.update({log["task_id"]: log["status"]}))

    assert seen[50] == "error"
    assert set(seen.values()) <= {"ok", "error", "cancelled"}
    notes = "\n".join(caught.value.__notes__)
    assert "task #50, attempt 1" in notes
    assert "keeps no records" in notes


@pytest.mark.leaves_threads(4)
def test_max_failures_ends_the_run(shape, make_config):
    def fails(id):
        raise ValueError(id)

    run = streamed(make_config(shape, fails, Counted(), max_failures=10))
    statuses = [log["status"] for log in run]

    assert statuses.count("error") >= 10
    assert run.info["stopped"] == "failures"
    assert run.info["counts"]["error"] == statuses.count("error")


def test_load_by_the_clock_has_its_times_in_the_records(shape, make_config):
    frequency = {"enabled": True, "interval": 0.05, "duration": 0.4, "warmup": 0.1}
    config = make_config(shape, lambda id: id, None, {"number": 2, "frequency_mode": frequency})
    handed = sorted(streamed(config), key=lambda log: log["task_id"])
    kept = wd.launch(config).wait(20).logs

    assert len(handed) == len(kept) == 16
    for one, other in zip(handed, kept, strict=True):
        assert set(one) == set(other) - {"in_flight"}
        assert one["interval"] == other["interval"]
        assert one["phase"] == other["phase"]
        assert one["queue_delay"] == pytest.approx(one["started_at"] - one["scheduled_at"], abs=1e-5)


def test_a_slow_consumer_makes_tasks_late_under_load_and_loses_none(shape, make_config):
    frequency = {"enabled": True, "rate": 2000, "duration": 0.5, "max_workers": 4}
    config = make_config(shape, lambda id: id, None, {"frequency_mode": frequency, "number": None})
    run = streamed(config)
    records = iter(run)
    first = next(records)
    at_rest(lambda: ended(run))
    delays = [first["queue_delay"], *(log["queue_delay"] for log in records)]

    assert len(delays) == 1000
    assert max(delays) > 0.1
