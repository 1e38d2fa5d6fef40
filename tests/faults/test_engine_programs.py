"""Programs with engines: how they end, fork, and are told to stop."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

HEAD = """
import os, signal, sys, threading, time
from worker_dispatcher.engine import Engine, EngineSetting, LocalJob, ProcessJob, ThreadJob
from worker_dispatcher.engine.conditions import AfterAnother, Condition

KINDS = (LocalJob, ThreadJob, ProcessJob)

class Never(Condition):
    def satisfy(self, engine):
        return False

def later():
    return ThreadJob(abs, (-1,), condition=AfterAnother("nobody"))
"""


def program(folder: Path, text: str) -> tuple[str, str, int, float]:
    """Runs a script: what it printed, its errors, its exit code, how long it took."""
    script = folder / "program.py"
    script.write_text(HEAD + text)
    began = time.monotonic()
    quiet = "ignore:This process:DeprecationWarning"  # of a fork beside threads, which is what is tried
    done = subprocess.run(
        [sys.executable, "-W", quiet, str(script)], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout, done.stderr, done.returncode, time.monotonic() - began


STATES = {
    "never started": "engine = Engine()",
    "idle": "engine = Engine(); engine.start()",
    "used": "engine = Engine(); engine.start(); engine.submit(*(kind(abs, (-1,)) for kind in KINDS)); engine.wait()",
    "stopped": "engine = Engine(); engine.start(); engine.submit(ThreadJob(time.sleep, (60,))); engine.stop()",
    "running": "engine = Engine(); engine.start(); engine.submit(*(kind(time.sleep, (60,)) for kind in KINDS))",
    "waiting": "engine = Engine(); engine.start(); engine.submit(later())",
    "asking": "engine = Engine(); engine.start(); engine.submit(ThreadJob(abs, (-1,), condition=Never()))",
    "retrying": "engine = Engine(EngineSetting(print_traceback=False)); engine.start();"
    " engine.submit(ThreadJob(int, ('x',), retries=9, retry_time_delta=60)); time.sleep(0.1)",
    "calling back": "engine = Engine(); engine.start();"
    " engine.submit(ThreadJob(abs, (-1,), callback=lambda value: time.sleep(60))); time.sleep(0.1)",
    "dropped": "engine = Engine(); engine.start(); engine.submit(ThreadJob(time.sleep, (60,))); del engine",
}


@pytest.mark.parametrize("state", STATES)
def test_a_program_ends_soon_whatever_its_engine_does(state: str, tmp_path: Path) -> None:
    out, errors, code, took = program(tmp_path, STATES[state] + "\nprint('bye')\n")
    assert (out, code) == ("bye\n", 0), errors
    assert took < 20
    assert "Traceback" not in errors
    unfinished = state in ("stopped", "running", "waiting", "asking", "retrying", "dropped")
    assert ("the program has ended" in errors) == unfinished, errors


def test_in_a_fork_an_engine_is_refused_and_another_one_works(tmp_path: Path) -> None:
    out, errors, code, _ = program(
        tmp_path,
        """
engine = Engine()
engine.start()
job = ThreadJob(time.sleep, (0.5,))
engine.submit(job)
child = os.fork()
if not child:
    for call in (engine.wait, engine.cancel_all, lambda: engine.submit(ThreadJob(abs, (-1,)))):
        try:
            call()
        except Exception as error:
            print(error, flush=True)
    with Engine() as own:
        jobs = [kind(abs, (-1,)) for kind in KINDS]
        own.submit(*jobs)
        own.wait()
        print([one.result() for one in jobs], flush=True)
    sys.exit(7)
print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
engine.wait()
print(job.status)
engine.stop()
""",
    )
    refused = "this engine belongs to the process that has made it; make one here\n"
    assert out == 3 * refused + "[1, 1, 1]\nchild 7\ndone\n", errors
    assert (errors, code) == ("", 0)


@pytest.mark.parametrize("wait", ["engine.wait()", "engine.wait_job(job)", "job.future.result()", "time.sleep(60)"])
def test_ctrl_c_leaves_the_block_at_once_and_cancels_what_has_not_ended(wait: str, tmp_path: Path) -> None:
    out, errors, code, took = program(
        tmp_path,
        f"""
try:
    with Engine() as engine:
        jobs = [kind(time.sleep, (60,)) for kind in KINDS]
        job = jobs[1]
        engine.submit(*jobs, later())
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        began = time.monotonic()
        {wait}
except KeyboardInterrupt:
    print(time.monotonic() - began < 10, [job.status for job in engine.jobs])
""",
    )
    assert out == "True ['cancelled', 'cancelled', 'cancelled', 'cancelled']\n", errors
    assert (errors, code) == ("", 0)
    assert took < 20
