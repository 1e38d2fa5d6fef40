"""What the guide of executor-engine shows runs here: one test for each of its examples, in its order, with its names.

Only what is imported is another module. What is printed there is asserted here.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from worker_dispatcher.engine import Engine, EngineSetting, LocalJob, ProcessJob, SubprocessJob, ThreadJob, WebappJob
from worker_dispatcher.engine.conditions import (
    AfterAnother,
    AfterOthers,
    AfterTimepoint,
    AllSatisfied,
    AnySatisfied,
    Condition,
)
from worker_dispatcher.engine.launcher import get_default_engine, launcher, set_default_engine
from worker_dispatcher.engine.log import logger


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def plus(left: int, right: int) -> int:
    print(f"{left} and {right}")
    return left + right


def test_1_jobs_of_three_kinds_in_a_row() -> None:
    with Engine() as engine:
        one = LocalJob(plus, args=(1, 2))
        two = ThreadJob(plus, args=(one.future, 4))
        three = ProcessJob(plus, args=(two.future, 5))
        engine.submit(one, two, three)
        engine.wait()
        assert [one.result(), two.result(), three.result()] == [3, 7, 12]


def test_2_with_asyncio_and_an_engine_that_was_not_started() -> None:
    engine = Engine()

    async def main() -> list[int]:
        one = ProcessJob(plus, args=(1, 2))
        two = ProcessJob(plus, args=(one.future, 4))
        await engine.submit_async(one, two)
        await engine.join()
        return [one.result(), two.result()]

    assert asyncio.run(main()) == [3, 7]
    engine.start()
    engine.stop()


def test_3_a_command(capfd: pytest.CaptureFixture[str]) -> None:
    job = SubprocessJob("python3 -c 'print(1 + 2)'")
    with Engine() as engine:
        engine.submit(job)
        engine.wait_job(job)
    assert capfd.readouterr().out == "3\n"
    assert job.result() == 0


def serve(ip: str, port: int) -> None:
    HTTPServer((ip, port), SimpleHTTPRequestHandler).serve_forever()


@pytest.mark.parametrize("web", [serve, "python3 -m http.server -b {ip} {port}"], ids=["4_function", "5_command"])
def test_a_web_server(web: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Engine() as engine:
        job: Any = WebappJob(web, ip="127.0.0.1", port=port)
        engine.submit(job)
        job.wait_ready(20)
        with socket.create_connection(("127.0.0.1", port), 5):
            pass
        threading.Timer(0.1, engine.cancel_all).start()  # as Ctrl-C would
        engine.wait()


def test_6_after_another_job(capfd: pytest.CaptureFixture[str]) -> None:
    with Engine() as engine:
        one = ProcessJob(plus, args=(1, 2))
        two = ProcessJob(plus, args=(3, 4), condition=AfterAnother(job_id=one.id))
        engine.submit(one, two)
        engine.wait()
    assert capfd.readouterr().out == "1 and 2\n3 and 4\n"


def test_7_after_other_jobs(capfd: pytest.CaptureFixture[str]) -> None:
    with Engine() as engine:
        one, two = ProcessJob(plus, args=(1, 2)), ProcessJob(plus, args=(3, 4))
        three = ProcessJob(plus, args=(5, 6), condition=AfterOthers(job_ids=[one.id, two.id]))
        engine.submit(three, two, one)
        engine.wait()
    assert capfd.readouterr().out.splitlines()[2] == "5 and 6"


def test_8_after_a_point_in_time(capfd: pytest.CaptureFixture[str]) -> None:
    with Engine() as engine:
        began = datetime.now()
        job = ProcessJob(partial(print, "Hello"), condition=AfterTimepoint(timepoint=began + timedelta(seconds=0.5)))
        engine.submit(job)
        assert job.status == "pending"
        engine.wait()
        assert datetime.now() - began >= timedelta(seconds=0.5)
    assert capfd.readouterr().out == "Hello\n"


def test_9_after_all_of_some_conditions() -> None:
    found: set[int] = set()

    def check() -> None:
        assert len(found) == 2

    one, two = ThreadJob(lambda: found.add(1)), ThreadJob(lambda: found.add(2))
    both = AllSatisfied(conditions=[AfterAnother(job_id=one.id), AfterAnother(job_id=two.id)])
    three = ThreadJob(check, condition=both)
    with Engine() as engine:
        engine.submit(three, two, one)
        engine.wait()
    assert three.status == "done"


def test_10_after_any_of_some_conditions() -> None:
    found: set[int] = set()

    def later() -> None:
        time.sleep(0.5)
        found.add(2)

    def check() -> None:
        assert len(found) == 1

    one, two = ThreadJob(lambda: found.add(1)), ThreadJob(later)
    either = AnySatisfied(conditions=[AfterAnother(job_id=one.id), AfterAnother(job_id=two.id)])
    three = ThreadJob(check, condition=either)
    with Engine() as engine:
        engine.submit(three, two, one)
        engine.wait()
    assert three.status == "done"


@dataclass
class Chance(Condition):
    probability: float = 0.5
    asked: int = 0

    def satisfy(self, engine: Engine) -> bool:
        self.asked += 1
        return random.random() <= self.probability


def test_11_a_condition_of_ones_own() -> None:
    chance = Chance(0.2)
    with Engine() as engine:
        job = ThreadJob(lambda: "hi", condition=chance, wait_time_delta=0.01)
        engine.submit(job)
        engine.wait()
        assert job.result() == "hi"
    assert chance.asked >= 1


def test_12_start_and_stop_by_hand() -> None:
    engine = Engine()
    engine.start()
    job = ProcessJob(plus, args=(1, 2))
    engine.submit(job)
    engine.wait_job(job)
    assert job.result() == 3
    engine.stop()


def test_13_a_with_block_does_the_same() -> None:
    with Engine() as engine:
        job = ProcessJob(plus, args=(1, 2))
        engine.submit(job)
        engine.wait_job(job)
        assert job.result() == 3


def test_14_settings(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise Exception("error")

    with Engine(setting=EngineSetting(max_jobs=1, print_traceback=False)) as engine:
        one, two = ProcessJob(plus, args=(1, 2)), ProcessJob(fail)
        engine.submit(one, two)
        engine.wait()
        assert one.result() == 3
        assert repr(two.exception()) == "Exception('error')"
    assert capfd.readouterr().err == ""


def test_15_the_jobs_of_an_engine() -> None:
    with Engine() as engine:
        one = ProcessJob(plus, args=(1, 2))
        engine.submit(one)
        assert engine.jobs.get_job_by_id(one.id) is one
        assert len(engine.jobs.running) == 1
        two = ProcessJob(plus, args=(3, 4))
        engine.submit(two)
        engine.wait()
        assert len(engine.jobs.done) == 2
        assert sorted(job.result() for job in engine.jobs.done.values()) == [3, 7]


def test_16_a_launcher() -> None:
    @launcher(job_type="process")
    def slow(left: int, right: int) -> int:
        time.sleep(0.05)
        return left + right

    with Engine() as engine:
        job = slow.submit(1, 2)
        engine.wait_job(job)
        assert job.result() == 3


@pytest.fixture
def _default_engine() -> Iterator[None]:
    yield
    engine = get_default_engine()
    set_default_engine(None)
    engine.start()
    engine.stop()


@pytest.mark.usefixtures("_default_engine")
def test_17_a_launcher_in_async_mode() -> None:
    @launcher(async_mode=True)
    def slow(left: int, right: int) -> int:
        time.sleep(0.05)
        return left + right

    async def main() -> Any:
        job = await slow.submit(1, 2)
        await job.join()
        return job.result()

    assert asyncio.run(main()) == 3


def test_18_a_launcher_of_a_command(capfd: pytest.CaptureFixture[str]) -> None:
    cmd2func = pytest.importorskip("cmd2func").cmd2func

    @launcher
    @cmd2func
    def sum_of(left: int, right: int) -> str:
        return f"python3 -c 'print({left} + {right})'"

    with Engine() as engine:
        job = sum_of.submit(1, 2)
        engine.wait_job(job)
        assert job.result() == 0
    assert capfd.readouterr().out == "3\n"


def test_19_the_log_goes_where_one_likes() -> None:
    lines: list[str] = []
    number = logger.add(lines.append, colorize=True, format="<green>{time}</green> <level>{message}</level>")
    other = logger.add(lines.append, format="{time} {level} {message}", filter="my_module", level="INFO")
    try:
        with Engine() as engine:
            engine.submit(ThreadJob(plus, args=(1, 2)))
            engine.wait()
    finally:
        logger.remove(number)
        logger.remove(other)
    assert len(lines) == 1
    assert "submit" in lines[0]
    assert "<" not in lines[0].partition("<ThreadJob")[0]
