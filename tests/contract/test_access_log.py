"""A server's own log agrees with the report: how many requests came, what each was answered, and how many a second."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import worker_dispatcher as wd

STATUSES = {3: 503, 6: 404}  # by the last digit of a task's number
RATE, SECONDS = 50, 2


class Server(ThreadingHTTPServer):
    """log: (task, status, Unix time of the answer) of each request."""

    request_queue_size = 512
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.log: list[tuple[int, int, float]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        task = int(self.path[1:])
        status = STATUSES.get(task % 10, 200)
        self.server.log.append((task, status, time.time()))
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        serving = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        yield made
        made.shutdown()
        serving.join()


def ask(id: int, config: str) -> Any:
    import requests

    return requests.get(f"{config}{id}", timeout=30)


async def ask_meanwhile(id: int, config: str) -> Any:
    import httpx

    async with httpx.AsyncClient() as client:
        return await client.get(f"{config}{id}", timeout=30)


GRID = {"parallel_processing": {"enabled": True, "processes": 2}}
SHAPES = {
    "threads": (ask, {}),
    "processes": (ask, {"use_processing": True}),
    "grid": (ask, GRID),
    "coroutines": (ask_meanwhile, {}),
    "coroutines in a grid": (ask_meanwhile, GRID),
}


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(shape, id=name, marks=[pytest.mark.combination] if name in ("processes", "coroutines") else [])
        for name, shape in SHAPES.items()
    ],
)
def test_what_a_server_has_answered_is_what_the_report_says(server: Server, shape: Any, tmp_path: Path) -> None:
    function, worker = shape
    pytest.importorskip("requests" if function is ask else "httpx")
    mode = {"enabled": True, "rate": RATE, "duration": SECONDS, "max_workers": 20}
    task = {"list": None, "function": function, "config": server.url}
    journal = tmp_path / "run.db"
    config = {"task": task, "worker": {**worker, "frequency_mode": mode}, "verbose": False, "journal": journal}
    live = wd.report(wd.launch(config).wait())
    answered = Counter(status for _, status, _ in server.log)
    assert sorted(number for number, _, _ in server.log) == list(range(1, RATE * SECONDS + 1))
    for made in (live, wd.report(live.to_jsonl(tmp_path / "run.jsonl")), wd.report(journal)):
        assert made.tps["count"]["total"] == len(server.log)
        assert made.run.outcomes == {"succeeded": answered[200], "no success": answered[503] + answered[404]}
        assert {group.type: group.count for group in made.run.failures} == {
            f"HTTP {status}": count for status, count in answered.items() if status != 200
        }
        planned = made.run.rows.planned
        assert planned is not None
        assert planned[1] - planned[0] == pytest.approx(SECONDS)
        ended = max(planned[1], *(at for _, status, at in server.log if status == 200))
        assert made.tps["tps"] == pytest.approx(answered[200] / (ended - planned[0]), rel=0.05)
        assert planned[0] <= min(at for _, _, at in server.log)
