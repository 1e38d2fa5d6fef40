"""What jobs print goes to their files and to the streams, and a job may have a folder to itself."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from worker_dispatcher import ConfigError
from worker_dispatcher.engine import Engine, EngineSetting, Job, LocalJob, ProcessJob, ThreadJob

KINDS = [LocalJob, ThreadJob, ProcessJob]
each_kind = pytest.mark.parametrize("kind", KINDS)
QUIET = EngineSetting(print_traceback=False)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*jobs: Job) -> None:
    with Engine(QUIET) as engine:
        engine.submit(*jobs)
        engine.wait()


def read(job: Job, name: str) -> str:
    assert job.cache_dir is not None
    return (job.cache_dir / name).read_text()


def talk(text: str) -> str:
    print("out", text, end="", flush=True)
    print("err", text, file=sys.stderr)
    return text


async def talk_softly(text: str) -> str:
    await asyncio.sleep(0)
    return talk(text)


def hand_on(text: str) -> Any:
    return talk_softly(text)


def fail(text: str) -> None:
    talk(text)
    raise ValueError("no \udcff")


@each_kind
@pytest.mark.parametrize("function", [talk, talk_softly, hand_on])
def test_files_hold_exactly_what_was_printed_and_the_streams_get_it_too(
    kind: type[Job], function: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    job, plain = kind(function, ("é",), redirect_out_err=True), kind(function, ("plain",))
    run(job)
    run(plain)  # by itself: what two print at a time may stand in one line
    assert job.result() == "é"
    assert (read(job, "stdout.txt"), read(job, "stderr.txt")) == ("out é", "err é\n")
    assert plain.engine is not None
    assert not (plain.engine.cache_dir / plain.id).exists()
    printed = capfd.readouterr()
    assert "out é" in printed.out
    assert "err é\n" in printed.err


@each_kind
def test_a_failure_leaves_its_traceback_among_the_errors_and_each_attempt_adds_to_the_files(kind: type[Job]) -> None:
    job = kind(fail, ("x",), redirect_out_err=True, retries=1)
    run(job)
    errors = read(job, "stderr.txt")
    assert read(job, "stdout.txt") == "out xout x"
    assert errors.startswith("err x\nTraceback (most recent call last):\n")
    assert errors.count("ValueError: no ") == 2
    assert ", in fail\n" in errors
    assert "surroundings.py" not in errors


@each_kind
def test_a_path_is_where_the_caller_of_submit_is_and_its_folders_are_made(
    kind: type[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = kind(talk, ("x",), redirect_out_err="logs/today/all.txt")
    with Engine() as engine:
        engine.submit(ThreadJob(len, ("a",)))
        engine.submit(job)
        monkeypatch.chdir("/")
        engine.wait()
        monkeypatch.chdir(tmp_path)
    assert (tmp_path / "logs/today/all.txt").read_text() == "out xerr x\n"


def test_what_threads_print_at_the_same_time_does_not_mix() -> None:
    both = threading.Barrier(2)

    def talk_together(text: str) -> None:
        for number in range(20):
            both.wait(10)
            print(text, number)

    jobs = [ThreadJob(talk_together, (text,), redirect_out_err=True) for text in "ab"]
    before = sys.stdout
    run(*jobs)
    assert [read(job, "stdout.txt") for job in jobs] == [
        "".join(f"{text} {number}\n" for number in range(20)) for text in "ab"
    ]
    assert sys.stdout is before


def test_in_a_process_children_and_code_in_c_and_older_log_handlers_are_heard(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def prepare() -> None:
        logger = logging.getLogger("older")
        logger.addHandler(logging.StreamHandler())
        logger.error("before")

    def many() -> None:
        logging.getLogger("older").error("logged")
        subprocess.run(["sh", "-c", "echo child"], check=True)
        ctypes.CDLL(None).puts(b"in C")
        os.write(1, b"raw\n")

    first, job = ProcessJob(prepare), ProcessJob(many, redirect_out_err=True)
    with Engine(EngineSetting(max_process_jobs=1)) as engine:
        engine.submit(first, job, ProcessJob(print, ("later",)))
        engine.wait()
    assert read(job, "stderr.txt") == "logged\n"
    assert sorted(read(job, "stdout.txt").splitlines()) == ["child", "in C", "raw"]
    printed = capfd.readouterr()
    assert sorted(printed.out.splitlines()) == ["child", "in C", "later", "raw"]
    assert printed.err == "before\nlogged\n"


def test_what_a_process_printed_before_it_died_is_there() -> None:
    def die() -> None:
        print("last words", flush=True)
        os.kill(os.getpid(), 9)

    job = ProcessJob(die, redirect_out_err=True)
    run(job)
    assert (job.status, read(job, "stdout.txt")) == ("failed", "last words\n")


def test_a_process_may_print_more_than_a_pipe_holds_while_it_keeps_the_lock_of_the_interpreter(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def much() -> None:
        libc = ctypes.PyDLL(None)  # it does not let go of the lock
        for _ in range(40):
            libc.puts(b"x" * 9999)

    job = ProcessJob(much, redirect_out_err=True)
    run(job)
    assert read(job, "stdout.txt") == ("x" * 9999 + "\n") * 40
    assert len(capfd.readouterr().out) == 400_000


@each_kind
def test_what_generators_print_is_heard_too(kind: type[Job]) -> None:
    def steps() -> Iterator[int]:
        for number in range(3):
            print(number)
            yield number
        raise ValueError("end")

    async def soft_steps() -> AsyncIterator[int]:
        for number in steps():
            yield number

    async def main(job: Job) -> None:
        with contextlib.suppress(ValueError):
            async for number in job.result():
                print("the consumer's own", number)

    with Engine(QUIET) as engine:
        job, soft = kind(steps, redirect_out_err=True), kind(soft_steps, redirect_out_err=True)
        engine.submit(job, soft)
        with contextlib.suppress(ValueError):
            for number in job.result():
                print("the consumer's own", number)
        asyncio.run(main(soft))
        engine.wait()
    for each in (job, soft):
        assert read(each, "stdout.txt") == "0\n1\n2\n"
        assert "ValueError: end" in read(each, "stderr.txt")


@pytest.mark.parametrize("kind", [LocalJob, ProcessJob])
def test_a_job_may_be_in_a_folder_of_its_own(kind: type[Job]) -> None:
    def leave(name: str) -> str:
        Path(name).touch()
        if name == "b":
            raise ValueError
        return os.getcwd()

    before = os.getcwd()
    jobs = [kind(leave, (name,), change_dir=True) for name in "ab"]
    where = kind(os.getcwd)
    with Engine(EngineSetting(max_process_jobs=1, print_traceback=False)) as engine:
        engine.submit(*jobs, where)
        engine.wait()
    assert os.getcwd() == before == where.result()
    for job, name in zip(jobs, "ab", strict=True):
        assert job.cache_dir is not None
        assert os.listdir(job.cache_dir) == [name]
    assert jobs[0].result() == str(jobs[0].cache_dir and jobs[0].cache_dir.absolute())


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: ThreadJob(talk, change_dir=True), "threads share"),
        (lambda: LocalJob(talk_softly, change_dir=True), "coroutine"),
    ],
)
def test_a_job_that_cannot_have_a_folder_to_itself_is_refused(make: Callable[[], Job], why: str) -> None:
    with pytest.raises(ConfigError, match=f"change_dir .*{why}.*ProcessJob"):
        make()
