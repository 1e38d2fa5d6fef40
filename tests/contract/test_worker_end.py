"""A worker that ends in order ends as an interpreter does; one that is killed does not, none ends for its parent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SHAPES = {
    "processes": {"number": 2, "use_processing": True},
    "grid": {"number": 4, "parallel_processing": {"enabled": True, "processes": 2}},
}
METHODS = ["forkserver", "spawn", "fork"]
PROGRAM = """
import atexit, json, os, sys, threading, time
from pathlib import Path
import worker_dispatcher
FOLDER = Path(sys.argv[2])
PARENT = os.getpid()
def note(name, text=""):
    (FOLDER / f"{{name}}.{{os.getpid()}}").write_text(text)
atexit.register(note, "atexit of the parent")
inherited = open(FOLDER / "inherited", "w")
inherited.write("once\\n")
def run(function, count=12, worker=(), **task):
    section = json.loads(sys.argv[1]) | dict(worker)
    task = {{"list": count, "function": function, **task}}
    return worker_dispatcher.start({{"task": task, "worker": section, "verbose": False}})
{code}
"""


@pytest.fixture
def ended(tmp_path):
    """Run a program with `run` and `note` to its end: what it said, and the folder it wrote to."""

    def go(code: str, shape: str = "processes", method: str = "forkserver") -> tuple[str, Path]:
        worker = json.dumps(SHAPES[shape] | {"start_method": method})
        program = PROGRAM.format(code=code)
        command = [sys.executable, "-c", program, worker, str(tmp_path)]
        done = subprocess.run(command, check=False, capture_output=True, timeout=60, text=True)
        assert done.returncode == 0, done.stderr
        assert len(list(tmp_path.glob("atexit of the parent.*"))) == 1
        assert (tmp_path / "inherited").read_text() == "once\n"
        return done.stdout + done.stderr, tmp_path

    return go


ROWS = """
folder = str(FOLDER)
def open_all(at):
    import csv, gzip, shelve, tempfile, zipfile
    kept = {
        "text": open(at + ".text", "w"),
        "csv": csv.writer(open(at + ".csv", "w", newline="")),
        "binary": open(at + ".binary", "wb"),
        "gzip": gzip.open(at + ".gzip", "wt"),
        "zip": zipfile.ZipFile(at + ".zip", "w"),
        "temporary": tempfile.TemporaryDirectory(dir=folder, prefix="temporary"),
        "named": tempfile.NamedTemporaryFile(dir=folder, prefix="temporary"),
    }
    kept["zip"].writestr("name", "in the zip")
    return kept
def work(id):
    import builtins, os, threading
    with vars(builtins).setdefault("one_at_a_time", threading.Lock()):
        if not hasattr(builtins, "kept"):
            builtins.kept = open_all(f"{folder}/rows.{os.getpid()}")
        kept["text"].write(f"{id}\\n")
        kept["csv"].writerow([id])
        kept["binary"].write(b"%d\\n" % id)
        kept["gzip"].write(f"{id}\\n")
    return id
assert run(work) == list(range(1, 13))
import gzip, zipfile
for kind, load in {"text": open, "csv": open, "binary": open, "gzip": lambda path: gzip.open(path, "rt")}.items():
    rows = [int(row) for path in FOLDER.glob(f"rows.*.{kind}") for row in load(path)]
    print(kind, sorted(rows) == list(range(1, 13)))
print("zip", {zipfile.ZipFile(path).read("name") for path in FOLDER.glob("rows.*.zip")})
print("temporary", len(list(FOLDER.glob("temporary*"))))
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_worker_keeps_open_is_whole_when_the_call_returns_and_nothing_temporary_stays(shape, method, ended):
    said, _ = ended(ROWS, shape, method)
    assert said.splitlines() == [
        *(f"{kind} True" for kind in ("text", "csv", "binary", "gzip")),
        "zip {b'in the zip'}",
        "temporary 0",
    ]


ORDER = """
def end(state):
    note("exit", str(time.monotonic()))
def work(id):
    import atexit, logging, os
    def last():
        note("atexit", str(time.monotonic()))
        print("printed by atexit")
        logging.warning("logged by atexit")
    if not getattr(os, "registered", False):
        os.registered = True
        atexit.register(last)
    return id
import logging
logging.basicConfig(format="%(message)s")
run(work, worker={"exit": end})
print("returned")
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", SHAPES)
def test_functions_of_atexit_run_after_worker_exit_and_what_they_say_is_heard(shape, method, ended):
    said, folder = ended(ORDER, shape, method)
    before = {path.suffix: float(path.read_text()) for path in folder.glob("exit.*")}
    after = {path.suffix: float(path.read_text()) for path in folder.glob("atexit.*")}
    assert after
    assert all(before[pid] < at for pid, at in after.items())
    assert said.count("printed by atexit") == said.count("logged by atexit") == len(after)
    assert "returned" in said


@pytest.mark.parametrize("method", METHODS)
def test_workers_that_are_replaced_end_in_order_too(method, ended):
    code = """
def work(id):
    import atexit
    atexit.register(note, "atexit")
    return id
run(work, 6, worker={"max_tasks_per_worker": 2, "number": 1})
"""
    assert len(list(ended(code, method=method)[1].glob("atexit.*"))) == 3


@pytest.mark.parametrize("deed", ["os.kill(os.getpid(), 9)", "os._exit(3)", "time.sleep(60)"])
def test_a_worker_that_is_killed_does_nothing_at_its_end(deed, ended):
    code = f"""
def work(id):
    import atexit, os, time
    atexit.register(note, "atexit")
    {deed}
run(work, 1, worker={{"number": 1}}, timeout=0.2)
"""
    assert not list(ended(code)[1].glob("atexit.*"))


BAD = {
    "raises": "1 / 0",
    "exits": "sys.exit(3)",
    "is interrupted": "raise KeyboardInterrupt",
    "ends the process": "os._exit(5)",
    "kills": "os.kill(os.getpid(), 9)",
    "hangs": "time.sleep(60)",
    "closes all": "os.closerange(0, 4096)",
    "starts a thread": "threading.Thread(target=note, args=('thread',)).start(); time.sleep(0.05)",
}


@pytest.mark.each_value
@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("shape", SHAPES)
def test_whatever_a_function_of_atexit_does_is_bounded_and_spoils_nothing(shape, what, ended):
    code = f"""
def last():
    import os, sys, threading, time
    {BAD[what]}
def work(id):
    import atexit
    atexit.register(note, "registered before")
    atexit.register(last)
    return id
began = time.monotonic()
print(run(work) == list(range(1, 13)), [log["status"] for log in worker_dispatcher.get_logs()] == ["ok"] * 12)
print(time.monotonic() - began < 40, run(work, 3))  # it would be 60, whatever else the machine does
"""
    said, folder = ended(code, shape)
    assert said.splitlines()[0] == "True True"
    assert "True [1, 2, 3]" in said
    ends_early = what in ("ends the process", "kills", "hangs")
    assert bool(list(folder.glob("registered before.*"))) is not ends_early
    assert "WorkerWarning" not in said


def test_worker_exit_is_not_blamed_for_what_atexit_does(ended):
    code = """
def end(state):
    pass
def work(id):
    import atexit, os
    atexit.register(os._exit, 5)
    return id
run(work, worker={"exit": end})
"""
    assert "worker.exit" not in ended(code)[0]


def test_executors_end_their_threads_and_other_threads_are_waited_for_a_moment(ended):
    code = """
def work(id):
    import builtins, concurrent.futures, threading, time
    if not hasattr(builtins, "pool"):
        builtins.pool = concurrent.futures.ThreadPoolExecutor(2)
        def slow():
            time.sleep(0.1)
            note("thread")
        threading.Thread(target=slow).start()
    pool.submit(note, f"submitted {id}")
    return id
run(work)
"""
    folder = ended(code)[1]
    assert len(list(folder.glob("submitted*"))) == 12
    assert list(folder.glob("thread.*"))


@pytest.mark.parametrize("method", METHODS)
def test_a_thread_that_does_not_end_holds_up_neither_atexit_nor_the_run_for_long(method, ended):
    code = """
def work(id):
    import atexit, threading, time
    atexit.register(note, "atexit")
    threading.Thread(target=time.sleep, args=(60,)).start()
    return id
began = time.monotonic()
run(work, 2)
print(time.monotonic() - began < 40)  # and not 60, whatever else the machine does
"""
    said, folder = ended(code, method=method)
    assert "True" in said
    assert list(folder.glob("atexit.*"))


def test_what_multiprocessing_has_to_finish_in_a_fork_is_finished_there_and_only_there(ended):
    code = """
import multiprocessing, multiprocessing.util
child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True)
child.start()
multiprocessing.util.Finalize(None, note, ("finalized for the parent",), exitpriority=1)
def work(id):
    multiprocessing.util.Finalize(None, note, ("finalized",), exitpriority=1)
    return id
run(work, 6)
print(child.is_alive(), bool(list(FOLDER.glob("finalized.*"))), list(FOLDER.glob("finalized for the parent*")))
child.kill()
"""
    assert ended(code, method="fork")[0].split() == ["True", "True", "[]"]
