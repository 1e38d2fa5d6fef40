"""`jobs`: the jobs that an engine keeps in a file."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker_dispatcher.engine import Engine, EngineSetting, ThreadJob
from worker_dispatcher.engine.rows import read_store

Call = Callable[..., Any]
QUIET = EngineSetting(print_traceback=False)
STORE = "nightly.jobs"
_given: dict[str, int] = {}
_may_end = threading.Event()


def wait_for_the_test() -> None:
    _may_end.wait(60)


def fetch() -> int:
    return 5


def build(number: int) -> int:
    return _given["answer"] + number


def deploy(built: int) -> str:
    return f"deployed {built}"


@pytest.fixture
def store(folder: Path) -> str:
    """A pipeline of which the second job has failed."""
    _given.clear()
    with Engine(QUIET, store=STORE) as engine:
        fetched = ThreadJob(fetch, id="fetch-1")
        built = ThreadJob(build, (fetched.future,), id="build-1", name="build it")
        engine.submit(fetched, built, ThreadJob(deploy, (built.future,), id="deploy-1"), ThreadJob(fetch, id="other"))
    return STORE


def statuses() -> dict[str, str]:
    return {row.id: row.status for row in read_store(STORE)[1]}


def test_jobs_are_listed_by_status_with_how_long_they_took(call: Call, store: str) -> None:
    said = call("jobs", store)
    assert (said.code, said.err) == (0, "")
    head, *lines, total = said.out.splitlines()
    assert head.split() == ["id", "job", "kind", "status", "attempts", "took"]
    assert [line.split()[0] for line in lines] == ["build-1", "deploy-1", "fetch-1", "other"]
    assert lines[0].split()[1:6] == ["build", "it", "Thread", "failed", "1"]
    assert lines[0].endswith("s")
    assert total == "4 jobs: 1 failed, 1 cancelled, 2 done"
    assert call("jobs", store, "list").out == said.out
    only = call("jobs", store, "list", "--status", "failed")
    assert [line.split()[0] for line in only.out.splitlines()[1:-1]] == ["build-1"]


def test_a_job_is_shown_with_what_it_waits_for_and_what_it_raised(call: Call, store: str) -> None:
    said = call("jobs", store, "show", "build-1")
    assert said.code == 0
    facts = dict(line.strip().split(maxsplit=1) for line in said.out.splitlines()[1:9])
    assert said.out.startswith("build it\n")
    assert (facts["id"], facts["kind"], facts["status"], facts["attempts"]) == ("build-1", "ThreadJob", "failed", "1")
    assert "waits for      fetch-1 (done)" in said.out
    assert "waited for by  deploy-1 (cancelled)" in said.out
    assert said.out.rstrip().endswith("KeyError: 'answer'")
    assert "its upstream job build it failed" in call("jobs", store, "show", "deploy-1").out


def test_jobs_that_are_run_again_run_with_what_waits_for_them(call: Call, store: str) -> None:
    said = call("jobs", store, "rerun", "build-1")
    assert said.code == 0
    assert said.out.splitlines()[0] == "2 jobs pending again:"
    assert "Engine(store='nightly.jobs', resume=True) runs them" in said.out
    assert statuses() == {"fetch-1": "done", "build-1": "pending", "deploy-1": "pending", "other": "done"}
    assert call("jobs", store, "rerun", "build-1").out == "nothing to mark: none of them has ended\n"
    _given["answer"] = 37
    with Engine(QUIET, store=STORE, resume=True) as engine:
        engine.wait()
        assert engine.jobs.get_job_by_id("deploy-1").result() == "deployed 42"
    assert set(statuses().values()) == {"done"}
    assert call("jobs", store, "rerun", "fetch-1").out.startswith("3 jobs pending again:")


def test_a_job_that_could_not_be_pickled_cannot_run_again(call: Call, folder: Path) -> None:
    with Engine(QUIET, store=STORE) as engine, pytest.warns(UserWarning, match="cannot be resumed"):
        engine.submit(ThreadJob(str, (sys.stdout.buffer,), id="odd"), ThreadJob(fetch, id="even"))
    said = call("jobs", STORE, "rerun", "even", "odd")
    assert said.code == 2
    assert "job str (odd) cannot be run again: it could not be pickled; submit it anew" in said.err
    assert statuses() == {"odd": "done", "even": "done"}


def test_the_graph_is_text_for_mermaid_or_graphviz(call: Call, store: str) -> None:
    said = call("jobs", store, "graph")
    assert said.code == 0
    assert said.out.startswith("graph LR\n")
    assert "j1 --> j2" in said.out
    assert "build it<br/>failed" in said.out
    assert call("jobs", store, "graph", "--dot").out.startswith("digraph jobs {\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none.jobs"], "none.jobs: does not exist"),
        (["text"], "text: is not a store of jobs of worker_dispatcher; it is left as it is"),
        ([STORE, "show"], "show: expected the id of one job, got none; `list` shows the ids"),
        ([STORE, "rerun"], "rerun: expected ids of jobs, got none; `list` shows them"),
        ([STORE, "graph", "x"], "graph: expected no id, got x; `show` takes one"),
        ([STORE, "show", "build"], "show build: nightly.jobs has no job of this id; did you mean build-1?"),
        ([STORE, "rerun", "fetch-1", "zzz"], "rerun zzz: nightly.jobs has no job of this id; `list` shows those"),
        ([STORE, "graph", "--status", "done"], "--status is an option of list, not of graph"),
        (
            ["show", STORE, "x"],
            "list, show, rerun, graph here; did you mean `worker-dispatcher jobs nightly.jobs show x`?",
        ),
        ([STORE, "shwo", "x"], "did you mean `worker-dispatcher jobs nightly.jobs show x`?"),
        ([STORE, "build-1"], "did you mean `worker-dispatcher jobs nightly.jobs show build-1`?"),
        ([STORE, "list", "--dot"], "--dot is an option of graph, not of list"),
    ],
)
def test_what_cannot_be_done_is_told_with_what_to_do(
    call: Call, folder: Path, store: str, arguments: list[str], told: str
) -> None:
    (folder / "text").write_text("jobs")
    before = statuses()
    said = call("jobs", *arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("worker-dispatcher jobs: ")
    assert told in said.err
    assert statuses() == before


def test_jobs_are_listed_while_an_engine_has_them_and_none_can_be_marked(call: Call, store: str) -> None:
    with Engine(QUIET, store=STORE, resume=True):
        assert "4 jobs" in call("jobs", store).out
        code = f"from worker_dispatcher.cli import main; raise SystemExit(main(['jobs', {store!r}, 'rerun', 'other']))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "is in use by another engine; wait for its end" in done.stderr


def test_nothing_of_a_store_is_loaded_by_the_command(call: Call, folder: Path) -> None:
    (folder / "bomb.py").write_text("print('bang')\ndef go(): pass\n")
    code = f"""
import bomb
from worker_dispatcher.engine import Engine, ThreadJob
with Engine(store={STORE!r}) as engine:
    engine.submit(ThreadJob(bomb.go, id="go"))
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    for arguments in (["list"], ["show", "go"], ["graph"], ["rerun", "go"]):
        said = call("jobs", STORE, *arguments)
        assert said.code == 0
        assert "bang" not in said.out


def test_names_of_any_characters_are_shown_on_one_line(call: Call, folder: Path) -> None:
    with Engine(QUIET, store=STORE) as engine:
        engine.submit(ThreadJob(fetch, id="a", name="two\nlines \x1b[31m " + "x" * 100))
    assert len(call("jobs", STORE).out.splitlines()) == 3
    assert "\x1b" not in call("jobs", STORE).out + call("jobs", STORE, "show", "a").out


def test_what_ran_when_its_program_was_killed_is_not_shown_as_running(call: Call, folder: Path) -> None:
    code = f"""
import time
from worker_dispatcher.engine import Engine, ThreadJob
with Engine(store={STORE!r}) as engine:
    engine.submit(ThreadJob(time.sleep, (600,), id="long"))
    engine.submit(first := ThreadJob(abs, (-1,), id="first"))
    engine.wait_job(first)
    print("begun", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == b"begun\n"
            alive = call("jobs", STORE, "list", "--status", "running")
        finally:
            program.kill()
    assert alive.out.splitlines()[1].split()[:4] == ["long", "sleep", "Thread", "running"]
    said = call("jobs", STORE)
    assert said.out.splitlines()[1].split() == ["long", "sleep", "Thread", "interrupted", "1"]
    assert said.out.splitlines()[-1] == (
        f"no engine has the file: Engine(store={STORE!r}, resume=True) goes on with what was interrupted"
    )
    assert "1 interrupted, 1 done" in said.out
    assert len(call("jobs", STORE, "list", "--status", "interrupted").out.splitlines()) == 4
    shown = call("jobs", STORE, "show", "long").out
    assert "status         interrupted" in shown
    assert "took" not in shown
    assert "resume=True) goes on" in call("jobs", STORE, "rerun", "long").out
    assert "sleep<br/>interrupted" in call("jobs", STORE, "graph").out


def test_a_store_that_this_process_has_is_asked_for_without_dropping_its_lock(call: Call, folder: Path) -> None:
    _may_end.clear()
    with Engine(QUIET, store=STORE) as engine:
        engine.submit(ThreadJob(wait_for_the_test, id="runs"))
        assert call("jobs", STORE).out.splitlines()[1].split()[3] == "running"
        code = f"from worker_dispatcher.engine import Engine; Engine(store={STORE!r}, resume=True)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        _may_end.set()
    assert "is in use by another engine" in done.stderr
