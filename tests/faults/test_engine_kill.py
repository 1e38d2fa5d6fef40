"""kill -9 in the middle of a graph of jobs that are kept on disk."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worker_dispatcher.engine.rows import Row, read_store

JOBS = 500
_PROGRAM = f"""
import os, random, sys, time
from worker_dispatcher.engine import Engine, EngineSetting, ProcessJob, ThreadJob

folder = sys.argv[1]
resumes = os.path.exists(f"{{folder}}/jobs")


def note(name, line):
    file = os.open(f"{{folder}}/{{name}}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{{line}}\\n".encode())
    os.close(file)


def work(number, needs):
    note("begun", number)
    time.sleep(0.002)
    return number + sum(needs)


def told(number):
    def tell(result):
        note("told", f"{{number}} {{result}}")
    return tell


def graph():
    chance, jobs = random.Random(5), []
    for number in range({JOBS}):
        needs = [one.future for one in chance.sample(jobs, min(len(jobs), chance.randrange(4)))]
        kind = ProcessJob if chance.random() < 0.1 else ThreadJob
        jobs.append(kind(work, (number, needs), id=f"job {{number}}", callback=told(number)))
    return jobs


if __name__ == "__main__":
    with Engine(EngineSetting(max_jobs=8), store=f"{{folder}}/jobs", resume=resumes) as engine:
        if not resumes:
            engine.submit(*graph())
        engine.wait()
"""


class Graph:
    """A graph in a program of its own. folder: where its store is, and notes of what was begun and told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "program.py").write_text(_PROGRAM)

    def run(self, *, kill_after: int | None = None) -> None:
        """Run it, to the end or until so many more jobs were told as done."""
        until = len(self.lines("told")) + (kill_after or 0)
        command = [sys.executable, str(self.folder / "program.py"), str(self.folder)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
            assert program.stderr is not None
            if kill_after is not None:
                while len(self.lines("told")) < until and program.poll() is None:
                    time.sleep(0.001)
                program.kill()
            _, errors = program.communicate()
        assert program.returncode == (0 if kill_after is None else -signal.SIGKILL), errors

    def lines(self, name: str) -> list[str]:
        """Those that are whole."""
        path = self.folder / name
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def rows(self) -> dict[str, Row]:
        return {row.id: row for row in read_store(self.folder / "jobs")[1]}

    def done(self) -> set[str]:
        return {row.id for row in self.rows().values() if row.status == "done"}


def _kill_and_resume(folder: Path, chance: random.Random) -> None:
    graph, before = Graph(folder), set[str]()
    for _ in range(chance.randint(1, 3)):
        begun = len(graph.lines("begun"))
        graph.run(kill_after=chance.randint(1, 150))
        _check_round(graph, before, begun)
        before = graph.done()
        assert {f"job {line.split()[0]}" for line in graph.lines("told")} <= before, "what was told is on disk"
    begun = len(graph.lines("begun"))
    ran = {row.id for row in graph.rows().values() if row.status == "running"}
    graph.run()
    _check_round(graph, before, begun)
    assert len(graph.done()) == JOBS
    assert {row.id for row in graph.rows().values() if row.interrupted} >= ran
    results = dict(line.split() for line in graph.lines("told"))
    assert len(set(graph.lines("told"))) == len(results), "a job told of one result"


def _check_round(graph: Graph, before: set[str], begun: int) -> None:
    """Nothing that was done is begun again."""
    again = {f"job {number}" for number in graph.lines("begun")[begun:]}
    assert not again & before


@pytest.mark.parametrize("seed", range(3))
def test_after_a_kill_all_jobs_are_done_and_none_that_was_done_ran_again(tmp_path: Path, seed: int) -> None:
    _kill_and_resume(tmp_path, random.Random(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 23))
def test_after_many_kills_all_jobs_are_done_and_none_that_was_done_ran_again(tmp_path: Path, seed: int) -> None:
    _kill_and_resume(tmp_path, random.Random(seed))
