"""Web servers as jobs: ready once they listen, failed if they never do, gone with the engine."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import CancelledError
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from worker_dispatcher import ConfigError
from worker_dispatcher.engine import Engine, EngineSetting, InvalidStateError, Job, ProcessJob, ThreadJob, WebappJob

SERVER = f"{sys.executable} -m http.server -b {{ip}} {{port}}"
IDLE = f"{sys.executable} -c 'import time; time.sleep(60)' {{ip}} {{port}}"
QUIET = EngineSetting(print_traceback=False)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Pid(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(os.getpid()).encode())

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def serve(ip: str, port: int) -> None:
    HTTPServer((ip, port), Pid).serve_forever()


def get(job: WebappJob) -> str:
    with urllib.request.urlopen(f"http://{job.attrs['address']}/", timeout=10) as answer:
        return str(answer.read().decode())


def nobody_listens(job: WebappJob) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((job.ip, job.port or 0)) != 0


def test_a_function_serves_in_a_process_until_the_engine_is_left(wait_until: Callable[..., None]) -> None:
    with Engine() as engine:
        job = WebappJob(serve)
        assert job.port is None
        engine.submit(job)
        assert job.status == "running"
        job.wait_ready(20)
        assert job.is_ready
        assert get(job) != str(os.getpid())
        assert job.attrs["address"] == f"{job.ip}:{job.port}"
    assert job.status == "cancelled"
    wait_until(lambda: nobody_listens(job))


def test_a_command_serves_until_it_is_cancelled(wait_until: Callable[..., None]) -> None:
    Path("page.txt").write_text("hello")
    with Engine() as engine:
        job = WebappJob(SERVER, base_class=ThreadJob, redirect_out_err="log.txt")
        engine.submit(job)
        job.wait_ready(20)
        assert "page.txt" in get(job)
        waiting = threading.Thread(target=engine.wait)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive(), "who waits for all jobs waits for this one"
        engine.cancel(job)
        waiting.join()
    wait_until(lambda: nobody_listens(job))
    assert "GET /" in Path("log.txt").read_text()
    assert job.attrs["cmd"] == SERVER


@pytest.mark.parametrize("base_class", [ProcessJob, ThreadJob])
def test_what_never_listens_fails(base_class: type[Job]) -> None:
    job = WebappJob(
        f"{sys.executable} -c 'import time; time.sleep(60)' {{ip}} {{port}}", check_times=2, check_delta=0.1
    )
    function = WebappJob(lambda ip, port: time.sleep(2), base_class=base_class, check_times=2, check_delta=0.1)
    with Engine(QUIET) as engine:
        engine.submit(job, function)
        engine.wait()
        with pytest.raises(OSError, match="nothing listens on"):
            job.wait_ready()
    for failed in (job, function):
        assert failed.status == "failed"
        assert isinstance(failed.exception(), OSError)
        assert str(failed.port) in str(failed.exception())


@pytest.mark.parametrize(
    "launcher",
    [f"{sys.executable} -c '1' {{ip}} {{port}}", "sh -c 'echo no >&2; exit 3' {ip} {port}", lambda ip, port: None],
)
def test_what_ends_before_it_listens_fails_at_once(launcher: Any) -> None:
    job = WebappJob(launcher, base_class=ThreadJob)
    with Engine(QUIET) as engine:
        engine.submit(job)
        began = time.monotonic()
        engine.wait()
        assert time.monotonic() - began < 4
    assert isinstance(job.exception(), OSError)


def test_what_listens_is_tried_again_like_any_job() -> None:
    job = WebappJob("sh -c 'test -d it || { mkdir it; exit 1; }; exec " + SERVER + "'", retries=1)
    with Engine(QUIET) as engine:
        engine.submit(job)
        job.wait_ready(20)
        assert job.attempts == 2


def test_a_port_that_another_program_has_is_not_taken_for_ones_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, Engine(QUIET) as engine:
        job = WebappJob(SERVER, port=other.getsockname()[1])
        engine.submit(job)
        engine.wait()
        assert isinstance(job.exception(), OSError)
        assert "in use" in str(job.exception())


def test_who_waits_until_it_is_ready_hears_of_a_cancel_and_of_the_time() -> None:
    job = WebappJob(IDLE)
    with pytest.raises(InvalidStateError):
        job.wait_ready()
    with Engine() as engine:
        engine.submit(job)
        with pytest.raises(TimeoutError, match=r"0\.05 s"):
            job.wait_ready(0.05)
        engine.cancel(job)
        with pytest.raises(CancelledError):
            job.wait_ready(10)


def test_what_cannot_be_a_web_app_is_refused() -> None:
    with pytest.raises(NotImplementedError, match=r"2\.2\.2\.2"):
        WebappJob(serve, ip="2.2.2.2")
    with pytest.raises(ValueError, match=r"\{port\}"):
        WebappJob("python -m http.server -b {ip}")
    with pytest.raises(TypeError, match="function"):
        WebappJob(1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"port(.|\n)*check_times"):
        WebappJob(serve, port=0, check_times=0)


def test_further_braces_of_a_command_are_its_own() -> None:
    job = WebappJob("sh -c 'a={ip}:{port}; echo ${a}; exit 1'", redirect_out_err="said.txt")
    with Engine(QUIET) as engine:
        engine.submit(job)
        engine.wait()
    assert Path("said.txt").read_text() == f"127.0.0.1:{job.port}\n"
