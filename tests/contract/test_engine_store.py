"""The store of an engine: what was told is on disk, and comes back."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worker_dispatcher import ConfigError, WorkerWarning
from worker_dispatcher.engine import (
    Engine,
    EngineSetting,
    JobNotFoundError,
    ProcessJob,
    StoreError,
    ThreadJob,
)
from worker_dispatcher.engine.conditions import AfterAnother
from worker_dispatcher.engine.rows import Row, read_store
from worker_dispatcher.engine.store import Store

QUIET = EngineSetting(print_traceback=False)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "nightly.jobs")


def add(a: int, b: int = 0) -> int:
    return a + b


def fail(text: str = "no") -> None:
    raise ValueError(text)


def rows(path: str) -> dict[str, Row]:
    return {row.id: row for row in read_store(path)[1]}


def unfinished(path: str, *jobs: ThreadJob) -> None:
    """A store in which jobs are pending."""
    engine = Engine(QUIET, store=path)
    engine._dispatcher.pause()
    engine.take(jobs)
    engine._dispatcher.close(kill=True)


_gate, _begun = threading.Event(), threading.Event()


def test_results_exceptions_and_cancellations_come_back(path: str) -> None:
    with Engine(QUIET, store=path) as engine:
        first = ThreadJob(add, (1, 2), id="first", name="the first")
        wrong = ThreadJob(fail, ("wrong",), id="wrong", retries=1)
        array = ProcessJob(np.ones, (300_000,), id="array")
        off = ThreadJob(add, (1,), condition=AfterAnother("never"), id="off")
        engine.submit(first, ThreadJob(add, ([first.future][0], 4), id="second"), wrong, array, off)
        engine.cancel(off)
        engine.wait()
    back = Engine(QUIET, store=path, resume=True)
    jobs = {job.id: job for job in back.jobs}
    assert {job.id: job.status for job in back.jobs} == {
        **{"first": "done", "second": "done", "wrong": "failed", "array": "done", "off": "cancelled"}
    }
    assert (jobs["first"].result(), jobs["second"].result(), jobs["first"].name) == (3, 7, "the first")
    assert isinstance(jobs["array"], ProcessJob)
    assert jobs["array"].result().sum() == 300_000
    assert isinstance(jobs["wrong"].exception(), ValueError)
    assert "fail" in str(jobs["wrong"].exception().__cause__)
    assert jobs["wrong"].attempts == 2
    assert jobs["first"].stoped_time == first.stoped_time or abs(jobs["first"].ended_at - first.ended_at) < 1
    with pytest.raises(ValueError, match="wrong"):
        jobs["wrong"].future.result(0)
    with pytest.raises(CancelledError):
        jobs["off"].future.result(0)
    assert rows(path)["second"].needs == ["first"]


def test_nobody_hears_of_an_end_that_is_not_on_disk_yet(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, may, write, told = threading.Event(), threading.Event(), Store.write, list[str]()

    def held(store: Store, commands: Iterable[Any]) -> None:
        commands = list(commands)
        if any(getattr(one, "new", "") == "done" for one in commands):
            asked.set()
            assert may.wait(30)
        write(store, commands)

    monkeypatch.setattr(Store, "write", held)
    _gate.clear()
    _begun.clear()
    with Engine(EngineSetting(max_jobs=1), store=path) as engine:
        first = ThreadJob(wait_for_gate, id="first", callback=told.append)
        first.future.add_done_callback(told.append)
        engine.submit(first, ThreadJob(begin, id="next"))
        _gate.set()
        assert asked.wait(30)
        assert first.status == "done"
        assert (first.future.done(), told, _begun.is_set(), rows(path)["first"].status) == (False, [], False, "running")
        may.set()
        engine.wait()
        assert (first.future.done(), len(told), _begun.is_set(), rows(path)["next"].status) == (True, 2, True, "done")


def test_what_is_told_is_on_disk_by_then(path: str) -> None:
    seen: dict[str, str] = {}

    def look(name: str) -> Any:
        return lambda _: seen.update({name: rows(path)["job"].status})

    with Engine(QUIET, store=path) as engine:
        ran = ThreadJob(lambda: seen.update(run=rows(path)["job"].status), id="job", callback=look("callback"))
        ran.future.add_done_callback(look("future"))
        engine.submit(ran)
        after = ThreadJob(lambda _: rows(path)["job"].status, (ran.future,))
        engine.submit(after)
    assert seen == {"run": "running", "callback": "done", "future": "done"}
    assert after.result() == "done"


def test_pending_jobs_are_pending_again_until_the_start(path: str) -> None:
    first = ThreadJob(add, (1, 2), id="first", priority=3, attrs_of_mine="x")
    unfinished(path, first, ThreadJob(add, (first.future, 4), id="second", retries=2))
    engine = Engine(QUIET, store=path, resume=True)
    back = engine.jobs.get_job_by_id("first")
    assert [job.status for job in engine.jobs] == ["pending", "pending"]
    assert (back.priority, back.attrs, back.interrupted) == (3, {"attrs_of_mine": "x"}, 0)
    assert engine.jobs.get_job_by_id("second").retries == 2
    with engine:
        engine.wait()
    assert engine.jobs.get_job_by_id("second").result() == 7


def test_a_store_with_unfinished_jobs_is_refused_without_resume_and_both_ways_out_are_named(path: str) -> None:
    unfinished(path, ThreadJob(add, (1,), id="one"), ThreadJob(add, (1,)))
    before = Path(path).read_bytes()
    with pytest.raises(StoreError, match=r"2 jobs that have not ended, such as add \(one\).*resume=True") as caught:
        Engine(store=path)
    assert "remove the file or give this engine a path of its own" in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert path in str(caught.value)
    assert Path(path).read_bytes() == before
    Engine(store=path, resume=True)


def test_a_store_in_which_all_has_ended_goes_on(path: str) -> None:
    for number in (1, 2):
        with Engine(store=path) as engine:
            engine.submit(ThreadJob(add, (number,), id=f"job {number}"))
        assert len(rows(path)) == number


def test_a_job_that_the_store_knows_as_done_is_not_run_again(path: str) -> None:
    calls: list[int] = []
    with Engine(QUIET, store=path) as engine:
        engine.submit(ThreadJob(add, (1, 2), id="sum"), ThreadJob(fail, id="wrong"))
    with Engine(QUIET, store=path, resume=True) as engine:
        again = ThreadJob(calls.append, (1,), id="sum")
        after = ThreadJob(add, (again.future, 10))
        right = ThreadJob(add, (5,), id="wrong")
        engine.submit(again, after, right)
        assert again.status == "done"
        engine.wait()
        assert (again.result(), after.result(), right.result(), calls) == (3, 13, 5, [])
        assert engine.jobs.get_job_by_id("sum") is again
        engine.submit(again)  # a job that is done is run again
        engine.wait()
        assert calls == [1]
    assert rows(path)["wrong"].status == "done"


def test_a_job_takes_the_place_of_the_pending_one_that_has_its_id(path: str) -> None:
    old = ThreadJob(add, (1,), id="old", condition=AfterAnother("go"))
    unfinished(path, old, ThreadJob(add, (old.future, 1), id="after"))
    with Engine(QUIET, store=path, resume=True) as engine:
        was = engine.jobs.get_job_by_id("old")
        new = ThreadJob(add, (100,), id="old")
        engine.submit(new)
        engine.wait()
        assert (new.result(), engine.jobs.get_job_by_id("after").result()) == (100, 101)
        assert was.future.cancelled()
        assert engine.jobs.get_job_by_id("old") is new
    assert len(rows(path)) == 2


def begin() -> None:
    _begun.set()


def wait_for_gate() -> str:
    _gate.wait(30)
    return "once"


def test_a_job_with_the_id_of_one_that_runs_again_has_its_result(path: str) -> None:
    _gate.clear()
    unfinished(path, ThreadJob(wait_for_gate, id="long"))
    with Engine(QUIET, store=path, resume=True) as engine:
        same = ThreadJob(fail, id="long")
        engine.submit(same)
        assert same.status == "running"
        _gate.set()
        assert engine.wait_job(same, 30) == "once"


def test_results_that_were_not_asked_for_are_not_loaded(path: str) -> None:
    with Engine(store=path) as engine:
        engine.submit(ThreadJob(Loud, ("x",), id="loud"))
    Loud.loaded = 0
    back = Engine(store=path, resume=True)
    job = back.jobs.get_job_by_id("loud")
    assert job.status == "done"
    assert job.future.done()
    assert Loud.loaded == 0
    assert job.result().text == "x"
    assert job.result() is job.future.result()
    assert Loud.loaded == 1


class Loud:
    loaded = 0

    def __init__(self, text: str) -> None:
        self.text = text

    def __setstate__(self, state: dict[str, Any]) -> None:
        Loud.loaded += 1
        self.__dict__.update(state)


class Fickle:
    """Can be loaded as long as nobody says no."""

    forbidden = False

    def __call__(self) -> Fickle:
        return self

    def __reduce__(self) -> Any:
        return make_fickle, ()


def make_fickle() -> Fickle:
    if Fickle.forbidden:
        raise RuntimeError("not here")
    return Fickle()


@pytest.fixture
def _fickle() -> Any:
    yield
    Fickle.forbidden = False


@pytest.mark.usefixtures("_fickle")
def test_a_result_that_cannot_be_loaded_says_so_and_who_needs_it_fails(path: str) -> None:
    with Engine(QUIET, store=path) as engine:
        first = ThreadJob(make_fickle, id="first")
        engine.submit(first)
    Fickle.forbidden = True
    with Engine(QUIET, store=path, resume=True) as engine:
        back = engine.jobs.get_job_by_id("first")
        assert back.status == "done"
        after = ThreadJob(add, (back.future,))
        engine.submit(after)
        engine.wait()
    with pytest.raises(
        StoreError, match=r"the result of job make_fickle \(first\) cannot be loaded here: RuntimeError"
    ):
        back.result()
    assert isinstance(after.exception(), StoreError)


@pytest.mark.usefixtures("_fickle")
def test_a_job_whose_function_cannot_be_loaded_has_failed_and_says_why(path: str) -> None:
    lost = ThreadJob(Fickle(), id="lost", name="fickle")
    unfinished(path, lost, ThreadJob(add, (lost.future,), id="after"))
    Fickle.forbidden = True
    engine = Engine(QUIET, store=path, resume=True)
    back = engine.jobs.get_job_by_id("lost")
    assert (back.status, back.name, rows(path)["lost"].kind) == ("failed", "fickle", "ThreadJob")
    with pytest.raises(StoreError, match=r"the function, or an argument, of job fickle \(lost\) cannot be loaded here"):
        back.future.result(0)
    assert engine.jobs.get_job_by_id("after").status == "cancelled"


def test_a_job_that_cannot_be_pickled_runs_and_is_listed_as_failed_on_resume(path: str) -> None:
    lock = threading.Lock()
    with pytest.warns(WorkerWarning, match=r"job with lock \(locked\) cannot be resumed .*cannot pickle"):
        unfinished(path, ThreadJob(lambda lock: None, (lock,), id="locked", name="with lock"))
    engine = Engine(QUIET, store=path, resume=True)
    assert "could not be pickled" in str(engine.jobs.get_job_by_id("locked").exception())
    with Engine(QUIET, store=f"{path}2") as engine, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        job = ThreadJob(lambda lock: 5, (lock,))
        engine.submit(job)
        assert engine.wait_job(job) == 5


def test_callbacks_that_cannot_be_pickled_are_called_but_not_kept(path: str) -> None:
    heard, lock = [], threading.Lock()

    def hear(value: int) -> None:
        with lock:
            heard.append(value)

    with pytest.warns(WorkerWarning, match=r"the callbacks of job add \(one\) cannot be pickled") as told:
        unfinished(path, ThreadJob(add, (1,), id="one", callback=hear))
    assert len(told) == 1
    with Engine(QUIET, store=path, resume=True) as engine:
        assert engine.jobs.get_job_by_id("one").callback is None
    assert engine.jobs.get_job_by_id("one").result() == 1
    with Engine(QUIET, store=f"{path}2") as engine, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine.submit(ThreadJob(add, (1,), callback=hear))
    assert heard == [1]


def test_results_and_exceptions_that_cannot_be_pickled_are_told_all_the_same(path: str) -> None:
    class Odd(Exception):
        def __init__(self) -> None:
            super().__init__("odd")
            self.lock = threading.Lock()

    def raises() -> None:
        raise Odd

    with Engine(QUIET, store=path) as engine:
        engine.submit(ThreadJob(threading.Lock, id="lock"), ThreadJob(raises, id="odd"))
    engine = Engine(QUIET, store=path, resume=True)
    with pytest.raises(StoreError, match=r"the result of job .* \(lock\) is not there: it could not be pickled"):
        engine.jobs.get_job_by_id("lock").result()
    assert "Odd: odd" in str(engine.jobs.get_job_by_id("odd").exception())
    assert "in raises" in rows(path)["odd"].why


def test_functions_of_a_script_and_closures_come_back(path: str) -> None:
    number = 5
    unfinished(path, ThreadJob(lambda a: a + number, (1,), id="closure", callback=print))
    with Engine(QUIET, store=path, resume=True) as engine:
        engine.wait()
        assert engine.jobs.get_job_by_id("closure").result() == 6


def test_removed_jobs_are_gone_and_nothing_else_ever_is(path: str) -> None:
    with Engine(QUIET, store=path) as engine:
        jobs = [ThreadJob(np.zeros, (50_000,), id=f"job {number}") for number in range(5)]
        engine.submit(*jobs)
        engine.wait()
        engine.remove(jobs[1])
        engine.jobs.get_job_by_id("job 2")
        with pytest.raises(JobNotFoundError):
            engine.jobs.get_job_by_id("job 1")
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(*) FROM pieces").fetchone()[0] == 4
    db.close()
    assert sorted(rows(path)) == ["job 0", "job 2", "job 3", "job 4"]
    with Engine(QUIET, store=path, resume=True) as engine:
        engine.jobs.clear_non_active()
    assert rows(path) == {}


def test_the_file_is_where_the_setting_says(tmp_path: Path) -> None:
    for kind in ("disk", "diskcache"):
        setting = EngineSetting(cache_type=kind, cache_path=str(tmp_path / kind))
        with Engine(setting) as engine:
            engine.submit(ThreadJob(add, (1,), id="one"))
        assert list(rows(str(tmp_path / kind / "jobs.sqlite"))) == ["one"]
        assert Engine(setting, resume=True).jobs.get_job_by_id("one").result() == 1


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is nothing to resume"):
        Engine(resume=True)
    with pytest.raises(ConfigError, match="give either this or cache_type"):
        Engine(EngineSetting(cache_type="disk"), store="x")


def test_only_one_engine_at_a_time_has_a_store(path: str) -> None:
    with Engine(store=path) as engine:
        engine.submit(ThreadJob(add, (1,)))
        with pytest.raises(StoreError, match="is in use by another engine; wait for its end"):
            Engine(store=path)
        code = f"from worker_dispatcher.engine import Engine; Engine(store={path!r}, resume=True)"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert f"store of jobs {path}: is in use by another engine" in other.stderr
    Engine(store=path)


def test_an_engine_that_was_stopped_goes_on_unless_another_one_was_there(path: str) -> None:
    first = Engine(store=path)
    for number in (1, 2):
        first.start()
        first.submit(ThreadJob(add, (number,)))
        first.wait()
        first.stop()
    assert len(rows(path)) == 2
    with Engine(store=path) as second:
        second.submit(ThreadJob(add, (3,)))
    with pytest.raises(StoreError, match="was changed since this engine was stopped"):
        first.start()


def test_a_copy_can_be_opened_while_the_first_is_in_use(path: str) -> None:
    with Engine(store=path) as engine:
        engine.submit(ThreadJob(add, (1,), id="one"))
        engine.wait()
    shutil.copy(path, f"{path}.copy")
    with Engine(store=path, resume=True), Engine(store=f"{path}.copy", resume=True) as copy:
        assert copy.jobs.get_job_by_id("one").result() == 1
        copy.submit(ThreadJob(add, (2,), id="two"))
    assert (len(rows(path)), len(rows(f"{path}.copy"))) == (1, 2)


def test_without_a_store_nothing_of_it_is_loaded() -> None:
    code = """
import sys
from worker_dispatcher.engine import Engine, ThreadJob
with Engine() as engine:
    engine.submit(ThreadJob(int))
print([name for name in sys.modules if "sqlite" in name or "journal" in name or name.endswith(("store", "rows"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
