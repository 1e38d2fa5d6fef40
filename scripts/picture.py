"""The picture in the guide on reports: a load test of a server on this machine, photographed in a browser.

    python scripts/picture.py [OUT.png]        needs the extra [report] and chromium

The server answers in about 20 ms, refuses one request in sixty, and stands still for a second in the middle of the
run, as a server does that collects garbage or waits for its disk. It runs in a process of its own.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import worker_dispatcher

OUT = Path(__file__).resolve().parent.parent / "worker_dispatcher" / "reports" / "report.png"
SECONDS, RATE, STANDS_STILL_AT = 10, 150, 4.0
WIDTH, HEIGHT = 1280, 1220


class Shop(BaseHTTPRequestHandler):
    dice = random.Random(7)
    began = 0.0  # of the first request
    gate = threading.Lock()

    def do_GET(self) -> None:
        with self.gate:
            Shop.began = Shop.began or time.monotonic()
            wait, refused = self.dice.lognormvariate(-4, 0.4), self.dice.random() < 1 / 60
        since = time.monotonic() - Shop.began
        if STANDS_STILL_AT <= since < STANDS_STILL_AT + 1:
            wait += STANDS_STILL_AT + 1 - since
        time.sleep(wait)
        self.send_response(503 if refused else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


def serve() -> None:
    """Say the port, then answer until the process is ended."""
    with Server(("127.0.0.1", 0), Shop) as server:
        print(server.server_port, flush=True)
        server.serve_forever()


def visit(task: int, config: str) -> bytes:
    with urllib.request.urlopen(f"{config}{task}", timeout=5) as response:
        return response.read()


def main() -> int:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("no chromium here (Debian: apt install chromium)", file=sys.stderr)
        return 1
    server = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    try:
        port = server.stdout.readline().strip() if server.stdout else ""
        worker_dispatcher.start(
            {
                "task": {"function": visit, "config": f"http://127.0.0.1:{port}/orders/", "list": None},
                "worker": {"frequency_mode": {"enabled": True, "rate": RATE, "duration": SECONDS, "max_workers": 40}},
                "verbose": False,
            }
        )
    finally:
        server.kill()
        server.wait()
    with tempfile.TemporaryDirectory() as folder:
        report = worker_dispatcher.report(title="Orders, 150 requests a second", checks=["p99<300ms", "error_rate<5%"])
        page = report.to_html(Path(folder) / "run.html")
        options = ["--headless=new", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={folder}/profile"]
        size = [f"--window-size={WIDTH},{HEIGHT}", "--virtual-time-budget=8000", f"--screenshot={out}"]
        subprocess.run([browser, *options, *size, page.as_uri()], check=True, capture_output=True)
    print(report)
    return 0


if __name__ == "__main__":
    sys.exit(serve() if "serve" in sys.argv else main())
