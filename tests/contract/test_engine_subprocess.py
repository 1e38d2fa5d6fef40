"""Commands as jobs: what they print, how they end, and that none is left behind."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from living import any_alive

from worker_dispatcher import ConfigError, TaskTimeout
from worker_dispatcher.engine import (
    CommandFailed,
    Engine,
    EngineSetting,
    Job,
    LocalJob,
    ProcessJob,
    SubprocessJob,
    ThreadJob,
)
from worker_dispatcher.engine.conditions import AfterAnother
from worker_dispatcher.osproc import command

QUIET = EngineSetting(print_traceback=False)
POLITE = "trap 'echo bye; exit' TERM; echo ready; sleep 100 & wait"
STUBBORN = "trap '' TERM; echo ready; sleep 100 & wait; sleep 100"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*jobs: Job) -> None:
    with Engine(QUIET) as engine:
        engine.submit(*jobs)
        engine.wait()


def folder_of(job: Job) -> Path:
    assert job.cache_dir is not None
    return job.cache_dir


@pytest.mark.parametrize("base_class", [LocalJob, ThreadJob, ProcessJob])
def test_a_command_is_run_and_written_down_whosever_slots_it_takes(
    base_class: type[Job], capfd: pytest.CaptureFixture[str]
) -> None:
    job = SubprocessJob(f"{sys.executable} -c 'print(1 + 2)'", base_class=base_class)
    assert job.entry.uses == base_class.uses
    run(job)
    assert (job.status, job.result(), job.name) == ("done", 0, sys.executable)
    assert capfd.readouterr().out == "3\n"
    assert (folder_of(job) / "command.sh").read_text() == job.cmd + "\n"


def test_a_command_that_is_not_to_be_written_down_makes_no_folder() -> None:
    run(SubprocessJob("true", record_cmd=False))
    assert os.listdir() == []


def test_no_shell_reads_a_command_unless_it_is_asked_for() -> None:
    plain = SubprocessJob("echo $HOME;", redirect_out_err=True)
    listed = SubprocessJob(["echo", "a  b", "$HOME"], redirect_out_err=True)
    shell = SubprocessJob("echo one && echo two", popen_kwargs={"shell": True}, redirect_out_err=True)
    run(plain, listed, shell)
    said = [(folder_of(job) / "stdout.txt").read_text() for job in (plain, listed, shell)]
    assert said == ["$HOME;\n", "a  b $HOME\n", "one\ntwo\n"]


@pytest.mark.parametrize(("script", "code"), [("echo no >&2; exit 3", 3), ("echo no >&2; kill -9 $$", -9)])
def test_another_code_than_0_is_a_failure_that_tells_what_the_command_has_said(script: str, code: int) -> None:
    job = SubprocessJob(["sh", "-c", script])
    run(job)
    error: Any = job.exception()
    assert job.status == "failed"
    assert isinstance(error, subprocess.SubprocessError)
    assert (error.returncode, error.cmd, error.stderr) == (code, job.cmd, "no\n")
    assert str(code) in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(error).endswith("\nno")


def test_a_command_that_is_not_there_is_a_failure() -> None:
    job = SubprocessJob("/there/is/no/such/command")
    run(job)
    assert isinstance(job.exception(), FileNotFoundError)


def test_a_command_is_tried_again_and_its_output_is_added() -> None:
    text, shell = "echo again; mkdir it && exit 1; exit 0", {"shell": True}
    job = SubprocessJob(text, retries=2, redirect_out_err="logs/all.txt", popen_kwargs=shell)
    run(job)
    assert (job.status, job.attempts) == ("done", 2)
    assert Path("logs/all.txt").read_text().count("again\n") == 2


def test_output_goes_to_its_files_and_to_the_streams(capfd: pytest.CaptureFixture[str]) -> None:
    job = SubprocessJob(["sh", "-c", "echo out; echo err >&2"], redirect_out_err=True)
    run(job)
    assert sorted(os.listdir(folder_of(job))) == ["command.sh", "stderr.txt", "stdout.txt"]
    assert (folder_of(job) / "stdout.txt").read_text() == "out\n"
    assert (folder_of(job) / "stderr.txt").read_text() == "err\n"
    assert capfd.readouterr() == ("out\n", "err\n")


def test_a_file_keeps_only_so_much_of_the_output() -> None:
    job = SubprocessJob(["sh", "-c", "head -c 300000 /dev/zero"], redirect_out_err="all", max_output=1000)
    with open(os.devnull, "w") as null:
        kept = os.dup(1)
        os.dup2(null.fileno(), 1)
        try:
            run(job)
        finally:
            os.dup2(kept, 1)
            os.close(kept)
    text = Path("all").read_text()
    assert (job.status, text) == ("done", "\0" * 1000 + "\n[the rest of the output was cut]\n")


def test_a_command_runs_where_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    where = ["$current_dir", "$cache_dir", "there"]
    jobs = [SubprocessJob("pwd", target_dir=target, redirect_out_err=True) for target in where]
    run(*jobs)
    said = [(folder_of(job) / "stdout.txt").read_text().strip() for job in jobs]
    assert said == [str(tmp_path), str(folder_of(jobs[1]).absolute()), str(tmp_path / "there")]
    assert [job.target_dir for job in jobs] == said


def test_what_is_shown_of_a_command_has_it_and_its_condition() -> None:
    job = SubprocessJob("sleep 0", condition=AfterAnother("x"))
    assert "sleep 0" in repr(job)
    assert "AfterAnother" in repr(job)


@pytest.mark.parametrize(
    ("cmd", "more", "name"),
    [("", {}, "cmd"), ("echo 'a", {}, "cmd"), ("  ", {"popen_kwargs": {"shell": True}}, "cmd")]
    + [("true", {"base_class": int}, "base_class"), ("true", {"base_class": Job}, "base_class")],
)
def test_what_is_wrong_with_a_command_is_told_at_once(cmd: str, more: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        SubprocessJob(cmd, **more)


def children_of(job: SubprocessJob, wait_until: Callable[..., None]) -> list[psutil.Process]:
    wait_until(lambda: job.runner is not None and job.runner.proc is not None)
    assert job.runner is not None
    assert job.runner.proc is not None
    process = psutil.Process(job.runner.proc.pid)
    wait_until(process.children)
    return [process, *process.children(recursive=True)]


def all_ended(processes: list[psutil.Process]) -> bool:
    return not any_alive(processes)


def test_a_cancelled_command_ends_with_all_it_has_started_and_its_slot_is_free_at_once(
    wait_until: Callable[..., None],
) -> None:
    with Engine(EngineSetting(max_jobs=1)) as engine:
        job, later = SubprocessJob(["sh", "-c", "sleep 100 & wait"]), SubprocessJob("sleep 0.5")
        engine.submit(job, later)
        processes = children_of(job, wait_until)
        engine.cancel(job)
        assert (job.status, later.status) == ("cancelled", "running")
        wait_until(lambda: all_ended(processes))
        engine.wait()
        assert later.result() == 0


def test_a_command_may_clean_up_and_is_killed_if_that_takes_long(
    monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    monkeypatch.setattr(command.Command.end, "__defaults__", (0.2,))
    with Engine() as engine:
        kind = SubprocessJob(
            ["sh", "-c", "trap 'echo bye; exit' TERM; echo ready; sleep 100 & wait"], redirect_out_err="a"
        )
        deaf = SubprocessJob(["sh", "-c", STUBBORN], redirect_out_err="b")
        engine.submit(kind, deaf)
        processes = [*children_of(kind, wait_until), *children_of(deaf, wait_until)]
        wait_until(lambda: Path("a").read_text() == Path("b").read_text() == "ready\n")
        engine.cancel(kind, deaf)
        wait_until(lambda: all_ended(processes))
        wait_until(lambda: Path("a").read_text() == "ready\nbye\n")


def test_a_command_over_its_time_is_a_failure_at_once_and_ends(wait_until: Callable[..., None]) -> None:
    job = SubprocessJob(["sh", "-c", STUBBORN], timeout=0.2)
    with Engine(QUIET) as engine:
        engine.submit(job)
        processes = children_of(job, wait_until)
        began = time.monotonic()
        engine.wait()
        assert time.monotonic() - began < 1.5
        assert isinstance(job.exception(), TaskTimeout)
        ending = time.monotonic()
    wait_until(lambda: all_ended(processes))  # what is killed takes a moment to end
    assert time.monotonic() - ending < 1.5, "the end of the block does not wait for its two seconds"


def test_a_command_that_is_cancelled_before_it_began_never_does() -> None:
    job = SubprocessJob("touch it")
    one = command.Command(job.cmd, [command.Output(1), command.Output(2)], {})
    one.end()
    with pytest.raises(BaseException, match="cancelled"):
        one.run()
    assert not Path("it").exists()
    assert one.gone.is_set()


def test_a_group_of_its_own_keeps_ctrl_c_from_a_command(wait_until: Callable[..., None]) -> None:
    with Engine() as engine:
        job = SubprocessJob(["sh", "-c", "sleep 100 & wait"])
        engine.submit(job)
        processes = children_of(job, wait_until)
        assert os.getpgid(processes[0].pid) == processes[0].pid == os.getpgid(processes[1].pid)
        engine.cancel_all()


PARENT = """
import sys, time
from worker_dispatcher.engine import Engine, SubprocessJob
engine = Engine()
engine.start()
job = SubprocessJob(["sh", "-c", "trap '' TERM; sleep 100 & echo $$ $!; wait"], record_cmd=False)
engine.submit(job)
time.sleep(100)
"""


def test_a_command_does_not_outlive_a_program_that_is_killed(wait_until: Callable[..., None]) -> None:
    program = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    with program.stdout:
        processes = [psutil.Process(int(pid)) for pid in program.stdout.readline().split()]
        wait_until(lambda: len(psutil.Process(program.pid).children()) == 2)  # the guard
        program.send_signal(signal.SIGKILL)
        program.wait()
        wait_until(lambda: all_ended(processes))


def test_a_code_that_the_host_program_has_taken_is_no_success() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        job = SubprocessJob("true")
        run(job)
    finally:
        signal.signal(signal.SIGCHLD, before)
    error = job.exception()
    assert isinstance(error, CommandFailed)
    assert error.returncode is None
