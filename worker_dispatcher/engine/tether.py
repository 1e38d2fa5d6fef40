"""The parent's end of what ties a generator in a worker process to its consumer."""

from __future__ import annotations

import hmac
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from worker_dispatcher.osproc.channel import Channel, Gone
from worker_dispatcher.osproc.system import start_thread
from worker_dispatcher.pools.worker.steps import receive, send
from worker_dispatcher.script.main_module import FRESH

_TOKEN = 32  # bytes


class Tether:
    """Passes on what `take` gives to the worker that connects, and what comes to `answer`, in a thread, until
    `take` gives None, the worker is gone or it is closed. ends: what the worker is to be given."""

    def __init__(self, take: Callable[[], Any], answer: Callable[[Any], None]) -> None:
        self._take, self._answer = take, answer
        self._token = os.urandom(_TOKEN)
        self._mutex = threading.Lock()
        self._closed = False
        self._sock = socket.socket(socket.AF_UNIX)
        self._worker: socket.socket | None = None
        self._sock.bind(b"")  # an abstract name that the system chooses: no file is left
        self._sock.listen()
        self.ends = (self._sock.getsockname(), self._token)
        try:
            start_thread(threading.Thread(target=self._run, name="generator-tether", daemon=True))
        except BaseException:
            self._sock.close()
            raise

    def _run(self) -> None:
        try:
            with suppress(OSError, Gone):
                channel = Channel(self._accepted(), blocking=True)
                try:
                    while (asked := self._take()) is not None:
                        send(channel, asked, FRESH)
                        self._answer(receive(channel))
                finally:
                    self._worker = None
                    channel.close()
        finally:
            with self._mutex:
                self._closed = True
                self._sock.close()

    def _accepted(self) -> socket.socket:
        """The connection of the worker; others know no token."""
        while True:
            sock, _ = self._sock.accept()
            with self._mutex:
                if self._closed:
                    sock.close()
                    raise Gone
                self._worker = sock
            if hmac.compare_digest(sock.recv(_TOKEN, socket.MSG_WAITALL), self._token):
                return sock
            sock.close()

    def close(self) -> None:
        """Wake the thread, which closes all. Idempotent."""
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            for sock in (self._sock, self._worker):
                if sock is not None:
                    with suppress(OSError):
                        sock.shutdown(socket.SHUT_RDWR)
