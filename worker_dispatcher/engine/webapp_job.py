"""WebappJob: a web server as a job, which is ready once it listens."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any

from worker_dispatcher.clock import now
from worker_dispatcher.engine.conditions import Condition
from worker_dispatcher.engine.errors import InvalidStateError
from worker_dispatcher.engine.job import Job, ResultOf
from worker_dispatcher.engine.kinds import ProcessJob
from worker_dispatcher.engine.naming import name_of
from worker_dispatcher.engine.output import own_folder
from worker_dispatcher.engine.status import CANCELLED, CREATED, FAILED, RUNNING, STATUSES
from worker_dispatcher.engine.subprocess_job import outputs_of
from worker_dispatcher.errors import ConfigError
from worker_dispatcher.osproc.command import Command, CommandFailed
from worker_dispatcher.osproc.system import start_thread

_HERE = ("127.0.0.1", "localhost", "0.0.0.0")
_FIRST_LOOK, _LONGEST_PAUSE = 0.01, 0.2  # seconds


class WebappJob(Job):
    """Runs a web server: web_launcher(ip, port) in a process, or a command: "python -m http.server -b {ip} {port}".

    port: None: a free one. It is ready once something listens there, which `wait_ready` waits for; if nothing does
    after check_times * check_delta seconds, or before it ends, it fails with an OSError. base_class: where a function
    runs; whose slots a command takes. The others: see Job. attrs["address"]: "ip:port".

    It runs until it ends by itself or is cancelled: `engine.wait()` waits for that, the end of a `with` block cancels
    it.
    Raises NotImplementedError for an ip that is not of this machine, ValueError for a command without {ip} and {port}.
    """

    endless, unkept = True, ("runner", "_news", "_over")

    def __init__(
        self,
        web_launcher: Callable[[str, int], Any] | str,
        ip: str = "127.0.0.1",
        port: int | None = None,
        base_class: type[Job] = ProcessJob,
        check_times: int = 6,
        check_delta: float = 1.0,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[Any], Any] | None = None,
        retries: int = 0,
        retry_time_delta: float = 0.0,
        name: str | None = None,
        condition: Condition | None = None,
        wait_time_delta: float = 0.01,
        redirect_out_err: bool | str | os.PathLike[str] = False,
        **attrs: Any,
    ) -> None:
        if ip not in _HERE:
            raise NotImplementedError(
                f"a WebappJob runs on this machine only, ip is one of {', '.join(_HERE)}; got {ip!r}"
            )
        _check(web_launcher, port, base_class, check_times, check_delta)
        self.web_launcher, self.ip, self.port, self._wanted_port = web_launcher, ip, port, port
        self.base_class, self.check_times, self.check_delta = base_class, check_times, check_delta
        self.runner: Command | None = None
        self.where = "command" if isinstance(web_launcher, str) else base_class.where  # type: ignore[misc]
        super().__init__(
            _no_function if isinstance(web_launcher, str) else web_launcher,
            callback=callback,
            error_callback=error_callback,
            retries=retries,
            retry_time_delta=retry_time_delta,
            name=name or (web_launcher.split()[0] if isinstance(web_launcher, str) else name_of(web_launcher)),
            condition=condition,
            wait_time_delta=wait_time_delta,
            redirect_out_err=redirect_out_err,
            **attrs,
        )
        self.entry.uses = base_class.uses
        if isinstance(web_launcher, str):
            self.attrs["cmd"] = web_launcher

    def _begin_life(self, priority: int, uses: tuple[str, ...]) -> None:
        super()._begin_life(priority, uses)
        self.is_ready = False
        self._news = threading.Event()  # it is ready, or has ended
        self._over = threading.Event()  # the attempt is

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until it listens. Raises TimeoutError, or what it failed with; CancelledError if it was cancelled."""
        if self.status == CREATED:
            raise InvalidStateError(self, STATUSES[1:])
        until = None if timeout is None else now() + timeout
        while not self._news.wait(1.0 if until is None else min(1.0, max(0.0, until - now()))):
            if until is not None and now() >= until:
                raise TimeoutError(f"{self} was not ready within {timeout:g} s")
        if self.status == CANCELLED:
            raise CancelledError(f"{self} was cancelled")
        if self.status == FAILED and (error := self.exception()) is not None:
            raise error

    # What the engine asks

    def note_submit(self, old: str) -> None:
        super().note_submit(old)
        self.is_ready = False
        self._news.clear()

    def note_end(self) -> None:
        super().note_end()
        self._news.set()

    def call(self, result_of: ResultOf) -> tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]:
        self.port = port = _port(self.ip, self._wanted_port)
        self.attrs["address"] = f"{self.ip}:{port}"
        self.is_ready, self._over = False, threading.Event()
        probe = threading.Thread(target=self._probe, args=(self.attempts, self._over), name="webapp-probe", daemon=True)
        start_thread(probe)
        if not isinstance(self.web_launcher, str):
            return self.web_launcher, (self.ip, port), {}
        kwargs = {"cwd": own_folder(self)} if self.change_dir else {}
        command = _filled(self.web_launcher, self.ip, port)
        self.runner = Command(command, outputs_of(self), kwargs)
        return self.runner.run, (self.timeout, self.name), {}

    def _probe(self, attempt: int, over: threading.Event) -> None:
        """Look whether it listens, until it does, or the time is over, or the attempt."""
        assert self.port is not None
        assert self.engine is not None
        until, pause = now() + self.check_times * self.check_delta, _FIRST_LOOK
        while not over.wait(pause) and self.status == RUNNING and self.attempts == attempt:
            if _listens(self.ip, self.port):
                self.is_ready = True
                self._news.set()
                return
            if now() >= until:
                text = f"nothing listens on {self.ip}:{self.port} after {self.check_times * self.check_delta:g} s"
                self.engine.end_attempt(self, attempt, OSError(text))
                return
            pause = min(1.5 * pause, _LONGEST_PAUSE, max(0.0, until - now()))

    def judge(self, value: Any, error: BaseException | None) -> BaseException | None:
        if self.is_ready or not (error is None or isinstance(error, CommandFailed)):
            return error
        found = OSError(f"it ended before it listened on {self.ip}:{self.port}" + (f": {error}" if error else ""))
        found.__cause__ = error
        return found

    def give_up(self) -> None:
        self._over.set()
        if self.runner is not None:
            self.runner.end()

    def _shown(self) -> dict[str, Any]:
        return {"address": f"{self.ip}:{self.port}", "base_class": self.base_class.__name__}


def _no_function() -> None:
    """In the place of a function where there is a command."""


def _check(web_launcher: Any, port: Any, base_class: Any, check_times: Any, check_delta: Any) -> None:
    if isinstance(web_launcher, str):
        if "{ip}" not in web_launcher or "{port}" not in web_launcher:
            raise ValueError(f"web_launcher: expected a command with {{ip}} and {{port}} in it, got {web_launcher!r}")
    elif not callable(web_launcher):
        raise TypeError(f"web_launcher: expected a function of (ip, port), or a command, got {web_launcher!r}")
    problems: list[tuple[str, str]] = []
    if port is not None and not (isinstance(port, int) and 0 < port < 65536):
        problems.append(("port", f"expected a number from 1 to 65535, or None, got {port!r}"))
    if not (isinstance(base_class, type) and issubclass(base_class, Job) and base_class.where):
        problems.append(("base_class", f"expected ProcessJob, ThreadJob or LocalJob, got {base_class!r}"))
    for name, value in (("check_times", check_times), ("check_delta", check_delta)):
        if not isinstance(value, (int, float)) or value <= 0:
            problems.append((name, f"expected a number above 0, got {value!r}"))
    if problems:
        raise ConfigError(problems, "WebappJob()")


def _port(ip: str, wanted: int | None) -> int:
    """A free port, or the one that is wanted. Raises OSError if that is taken: another program would answer there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ip, wanted or 0))
        except OSError as error:
            raise OSError(error.errno, f"{ip}:{wanted} cannot be listened on: {error.strerror}") from error
        return int(probe.getsockname()[1])


def _listens(ip: str, port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1" if ip == "0.0.0.0" else ip, port), 1.0):
            return True
    except OSError:
        return False


def _filled(command: str, ip: str, port: int) -> str:
    try:
        return command.format(ip=ip, port=port)
    except (KeyError, IndexError, ValueError, AttributeError):  # further braces, which are its own
        return command.replace("{ip}", ip).replace("{port}", str(port))
