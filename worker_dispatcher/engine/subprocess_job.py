"""SubprocessJob: a command as a job."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from worker_dispatcher.engine.conditions import Condition
from worker_dispatcher.engine.job import Job, ResultOf
from worker_dispatcher.engine.kinds import ThreadJob
from worker_dispatcher.engine.output import own_folder, paths_of
from worker_dispatcher.engine.slips import tell_of_shell_words
from worker_dispatcher.errors import ConfigError
from worker_dispatcher.osproc.command import Command, Output

_MOST_OUTPUT = 100_000_000  # bytes


class SubprocessJob(Job):
    """Runs a command; its result is the return code, which is 0: any other is a failure, with a
    subprocess.SubprocessError that has cmd, returncode and the end of stderr.

    cmd: split as a shell would, but not run by one, unless popen_kwargs={"shell": True}; or a list of arguments.
    record_cmd: write it to command.sh in `cache_dir`. base_class: whose slots it takes: LocalJob, ThreadJob or
    ProcessJob. target_dir: where it runs: "$current_dir", "$cache_dir" or a path. popen_kwargs: for subprocess.Popen.
    redirect_out_err: as for any job; max_output: bytes of each stream that are kept in its file.
    Its standard input is empty. The others: see Job.

    A cancel, and a timeout, send SIGTERM to it and all that it has started, and SIGKILL two seconds later; its slot is
    free at once. They are killed, too, if this program dies. runner: of the last attempt, with its `proc`.
    """

    where, unkept = "command", ("runner",)

    def __init__(
        self,
        cmd: str | Sequence[str | os.PathLike[str]],
        record_cmd: bool = True,
        base_class: type[Job] = ThreadJob,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[Any], Any] | None = None,
        retries: int = 0,
        retry_time_delta: float = 0.0,
        name: str | None = None,
        condition: Condition | None = None,
        wait_time_delta: float = 0.01,
        redirect_out_err: bool | str | os.PathLike[str] = False,
        target_dir: str | os.PathLike[str] = "$current_dir",
        popen_kwargs: Mapping[str, Any] | None = None,
        max_output: int = _MOST_OUTPUT,
        **attrs: Any,
    ) -> None:
        self.cmd = cmd if isinstance(cmd, str) else _joined(cmd)
        self.record_cmd, self.base_class, self.max_output = record_cmd, base_class, max_output
        self.target_dir = "$cache_dir" if attrs.pop("change_dir", False) else os.fspath(target_dir)
        self.popen_kwargs = dict(popen_kwargs or {})
        self.runner: Command | None = None
        _check(self.cmd, not isinstance(cmd, str), base_class, self.popen_kwargs)
        super().__init__(
            self._run,
            callback=callback,
            error_callback=error_callback,
            retries=retries,
            retry_time_delta=retry_time_delta,
            name=name or self.cmd.split()[0],
            condition=condition,
            wait_time_delta=wait_time_delta,
            redirect_out_err=redirect_out_err,
            **attrs,
        )
        self.entry.uses = base_class.uses
        self.attrs |= {"cmd": self.cmd, "target_dir": self.target_dir}

    def call(self, result_of: ResultOf) -> tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]:
        self.target_dir = self.attrs["target_dir"] = self._folder()
        kwargs = {"cwd": self.target_dir, **self.popen_kwargs}
        self.runner = Command(self.cmd, outputs_of(self, self.max_output), kwargs)
        return self._run, (self.runner,), {}

    def _run(self, runner: Command) -> int:
        if self.record_cmd and (cache_dir := self.cache_dir) is not None:
            (cache_dir / "command.sh").write_text(self.cmd + "\n")
        return runner.run(self.timeout, self.name)

    def _folder(self) -> str:
        if self.target_dir == "$cache_dir":
            return str(own_folder(self))
        return os.getcwd() if self.target_dir == "$current_dir" else os.path.abspath(self.target_dir)

    def give_up(self) -> None:
        if self.runner is not None:
            self.runner.end()

    def _shown(self) -> dict[str, Any]:
        return {"cmd": self.cmd, "target_dir": self.target_dir, "base_class": self.base_class.__name__}


def outputs_of(job: Job, most: int = _MOST_OUTPUT) -> list[Output]:
    """Where stdout and stderr of the command of a job go."""
    return [Output(fd, path, most) for fd, path in zip((1, 2), paths_of(job), strict=True)]


def _joined(cmd: Any) -> str:
    """A list of arguments as one command. Raises ConfigError."""
    wrong = [cmd] if isinstance(cmd, bytes) or not isinstance(cmd, Iterable) else []
    arguments = [] if wrong else [os.fspath(part) if isinstance(part, os.PathLike) else part for part in cmd]
    wrong += [part for part in arguments if not isinstance(part, str)]
    if wrong:
        text = f"expected a command, or a list of its arguments as texts, got {wrong[0]!r}"
        raise ConfigError([("cmd", text)], "SubprocessJob()")
    return shlex.join(arguments)


def _check(cmd: str, is_list: bool, base_class: Any, popen_kwargs: Mapping[str, Any]) -> None:
    """Raises ConfigError, with all that is wrong."""
    problems: list[tuple[str, str]] = []
    if not popen_kwargs.get("shell"):
        try:
            words = shlex.split(cmd)
            if not is_list:
                tell_of_shell_words(cmd, words)
            if not words:
                problems.append(("cmd", "expected a command, got nothing"))
        except ValueError as error:
            problems.append(("cmd", f"{error} in {cmd!r}"))
    elif not cmd.strip():
        problems.append(("cmd", "expected a command, got nothing"))
    if not (isinstance(base_class, type) and issubclass(base_class, Job) and base_class.where):
        problems.append(("base_class", f"expected LocalJob, ThreadJob or ProcessJob, got {base_class!r}"))
    if problems:
        raise ConfigError(problems, "SubprocessJob()")
