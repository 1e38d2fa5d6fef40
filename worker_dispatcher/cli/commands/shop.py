"""A web server on this machine for the demo: quick, but for a moment in which it stands still."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from worker_dispatcher.clock import now, sleep

STANDS_STILL = (2.0, 2.5)  # seconds after the first request, as a server does that collects garbage


class _Shop(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True
    block_on_close = False  # a request that is still being answered holds up nobody

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.dice, self.gate = random.Random(7), threading.Lock()
        self.began: float | None = None

    def wait(self) -> float:
        """Seconds until a request that comes now is answered."""
        with self.gate:
            at = now()
            self.began = at if self.began is None else self.began
            work = self.dice.lognormvariate(-4, 0.4)  # about 20 ms
            since = at - self.began
        begin, end = STANDS_STILL
        return work + (end - since if begin <= since < end else 0)


class _Answer(BaseHTTPRequestHandler):
    server: _Shop

    def do_GET(self) -> None:
        sleep(self.server.wait())
        body = f"order {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def open_shop() -> Iterator[str]:
    """The address of a server that answers every path, until the end."""
    with _Shop() as shop:
        serving = threading.Thread(target=shop.serve_forever, kwargs={"poll_interval": 0.05}, name="shop", daemon=True)
        serving.start()
        try:
            yield f"http://127.0.0.1:{shop.server_port}/"
        finally:
            shop.shutdown()
            serving.join()
