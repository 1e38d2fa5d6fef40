"""What a cluster of this machine is, in a process of its own: a scheduler, and the nannies of workers."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
from typing import Any

import distributed

__all__ = ["QuietScheduler", "QuietWorker", "main"]


class QuietScheduler(distributed.Scheduler):
    """One without a web server: nobody has asked for it."""

    def start_http_server(self, *args: Any, **kwargs: Any) -> None:
        pass


class QuietWorker(distributed.Worker):
    """As QuietScheduler."""

    def start_http_server(self, *args: Any, **kwargs: Any) -> None:
        pass


def main(said: dict[str, Any]) -> None:
    """Run a cluster until the end of the standard input. said: see LocalCluster."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program decides what Ctrl-C means
    told = os.dup(1)
    os.dup2(2, 1)  # what tasks print goes where it is seen; and the address alone to who waits for it
    make: Any = distributed.Security.temporary
    security = make()
    common = {"host": "127.0.0.1", "protocol": "tls", "security": security, "dashboard": False}
    nanny = common | {"nthreads": said["threads"], "worker_class": QuietWorker, "silence_logs": logging.ERROR}
    nanny["memory_limit"] = said["memory_limit"] or "auto"
    folder = tempfile.TemporaryDirectory(prefix="worker_dispatcher-")
    nanny["local_directory"] = folder.name
    cluster: Any = distributed.SpecCluster(  # type: ignore[no-untyped-call]
        workers={number: {"cls": distributed.Nanny, "options": nanny} for number in range(said["workers"])},
        scheduler={"cls": QuietScheduler, "options": {**common, "port": 0}},
        security=security,
        silence_logs=logging.ERROR,
    )
    try:
        files = {name: getattr(security, name) for name in ("tls_ca_file", "tls_client_cert", "tls_client_key")}
        os.write(told, json.dumps([cluster.scheduler_address, files]).encode() + b"\n")
        while sys.stdin.buffer.read(1 << 16):
            pass
    finally:
        cluster.close(timeout=3)
        folder.cleanup()
        os._exit(0)  # its threads may take their time
