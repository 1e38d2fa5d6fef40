"""How tasks are drawn from the user's iterable: lazily, with back-pressure, and with every error coming out."""

from __future__ import annotations

import itertools
import threading

import pytest
from staging import GRACE, runtimes

import worker_dispatcher as wd

pytestmark = pytest.mark.above_the_pools

quiet_failures = pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")


def logs_and_not_run_are_all(drawn):
    info = wd.get_result_info()
    counts = info["counts"]
    assert sum(counts.values()) == drawn
    assert len(info["not_run"]) == counts["not_run"]
    ids = [log["task_id"] for log in wd.get_logs()]
    assert sorted(ids + info["not_run"]) == list(range(1, drawn + 1))


@quiet_failures
def test_an_endless_generator_stops_after_max_failures(shape, run):
    drawn = 0

    def endless():
        nonlocal drawn
        for n in itertools.count():
            drawn += 1
            yield n

    def fail_later(task):
        if task >= 20:
            raise ValueError(task)
        return task

    results = run(shape, fail_later, endless(), max_failures=3)

    assert all(result == at for at, result in enumerate(results) if not isinstance(result, wd.TaskFailure))
    assert wd.get_result_info()["counts"]["error"] >= 3
    logs_and_not_run_are_all(drawn)


def test_an_endless_count_stops_at_the_runtime(shape, run):
    for runtime in runtimes(0.3):
        results = run(shape, lambda task: task, itertools.count(), top={"runtime": runtime})

        done = [at for at, value in enumerate(results) if not isinstance(value, wd.TaskFailure)]
        assert [results[at] for at in done] == done
        assert {log["status"] for log in wd.get_logs()} <= {"ok", "cancelled"}
        assert wd.get_duration() < runtime + GRACE
        if len(done) > 3:
            return
    raise AssertionError("no worker came")


@pytest.mark.leaves_threads(4)
def test_an_endless_generator_stops_when_the_run_is_cancelled(shape, make_config, notes, wait_until):
    drawn = 0

    def endless():
        nonlocal drawn
        for n in itertools.count():
            drawn += 1
            yield n

    def stay(id):
        notes.add(id)
        yield notes.has("the end")

    handle = wd.launch(make_config(shape, stay, endless()))
    wait_until(notes.count(4))
    handle.cancel()
    handle.wait(5)
    notes.add("the end")

    assert sum(handle.info["counts"].values()) == drawn
    assert handle.info["counts"]["cancelled"] >= 4
    assert {log["error"]["type"] for log in handle.logs} == {"RunStopped"}


def test_a_lazy_iterable_is_drawn_only_as_far_as_workers_need(shape, make_config, notes, wait_until, tmp_path):
    drawn = 0
    go = tmp_path / "go"

    def lazy():
        nonlocal drawn
        for n in range(2000):
            drawn += 1
            yield n

    def slow(id):
        notes.add(id)
        yield go.exists
        return id

    handle = wd.launch(make_config(shape, slow, lazy()))
    wait_until(notes.count(4))
    seen = -1
    while seen != drawn:  # until the drawing has come to rest
        seen = drawn
        threading.Event().wait(0.05)
    go.touch()

    assert 4 <= seen <= 100
    assert handle.wait(20).results == list(range(1, 2001))
    assert drawn == 2000


def test_an_iterable_without_a_length_is_advanced_in_the_callers_thread(shape, run):
    threads = set()

    def lazy():
        for n in range(50):
            threads.add(threading.current_thread())
            yield n

    run(shape, lambda task: task, lazy())

    assert threads == {threading.current_thread()}


def test_a_failing_iterators_error_comes_out_and_everything_is_kept(shape, run):
    class Broken(Exception):
        pass

    def breaks():
        yield from range(5)
        raise Broken("no more")

    with pytest.raises(Broken, match="no more"):
        run(shape, lambda task: task * 10, breaks())

    assert wd.get_results() == [0, 10, 20, 30, 40]
    assert len(wd.get_logs()) == 5
    assert wd.get_result_info()["counts"]["ok"] == 5


def test_a_failing_iterable_of_known_length_keeps_what_it_gave(shape, run):
    class Broken:
        def __len__(self):
            return 10

        def __iter__(self):
            yield 1
            yield 2
            raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        run(shape, lambda task: task, Broken())

    assert wd.get_results() == [1, 2]


def test_an_iter_that_raises_comes_out(shape, run):
    class Broken:
        def __iter__(self):
            raise LookupError("nothing here")

    with pytest.raises(LookupError, match="nothing here"):
        run(shape, lambda task: task, Broken())


def test_an_iterable_longer_or_shorter_than_it_says_is_drawn_to_its_end(shape, run):
    class Shorter:
        def __len__(self):
            return 10

        def __iter__(self):
            return iter([1, 2, 3])

    class Longer(Shorter):
        def __iter__(self):
            return iter(range(25))

    assert run(shape, lambda task: task, Shorter()) == [1, 2, 3]
    assert run(shape, lambda task: task, Longer()) == list(range(25))
    assert wd.get_result_info()["counts"]["not_run"] == 0


def test_a_range_longer_than_len_can_say_is_drawn_lazily(run, make_config):
    from staging import SHAPES

    for runtime in runtimes(0.2):
        if len(run(SHAPES["threads"], lambda task: task, range(10**30), top={"runtime": runtime})) > 10:
            return
    raise AssertionError("nothing was drawn")


@pytest.mark.leaves_threads(1)
def test_a_next_that_blocks_holds_up_no_timeout(shape, run, notes):
    def slow_to_come():
        yield 1
        notes.wait("timed out")
        yield 2

    def task(id):
        if id == 1:
            notes.add("begun")
            yield notes.has("timed out")
        return id

    def watch():
        while not (logs := [log for log in handles[0].logs if log["status"] == "timeout"]):
            threading.Event().wait(0.01)
        notes.add("timed out")
        return logs

    handles = []
    config = {
        "task": {"list": slow_to_come(), "function": shape.function(task), "timeout": 0.2},
        "worker": {"number": 2, **shape.worker},
        "verbose": True,
    }
    handles.append(wd.launch(config))
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    handles[0].wait(10)
    watcher.join(5)

    assert handles[0].results[1] == 2
    assert handles[0].results[0].status == "timeout"
