"""Where what a job prints goes, and the folder it is in: redirect_out_err and change_dir."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker_dispatcher.config.signature import generator_word, is_coroutine_function
from worker_dispatcher.errors import ConfigError
from worker_dispatcher.pools.worker.surroundings import Surroundings, run_in, run_softly_in

if TYPE_CHECKING:
    from worker_dispatcher.engine.job import Job


def surrounded(job: Job, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function as a worker is to call it, for a job that has surroundings."""
    run = run_softly_in if is_coroutine_function(function) else run_in
    return partial(run, surroundings_of(job), function)


def surroundings_of(job: Job) -> Surroundings:
    out, err = (None if path is None else str(path) for path in paths_of(job))
    folder = str(own_folder(job)) if job.change_dir else None
    return Surroundings(out, err, folder, alone=job.where == "process")


def paths_of(job: Job) -> tuple[Path | None, Path | None]:
    """Of the files that get what it prints; a relative one was made absolute by the submit."""
    where = job.redirect_out_err
    if where is True:
        folder = own_folder(job)
        return folder / "stdout.txt", folder / "stderr.txt"
    return (Path(where), Path(where)) if where else (None, None)


def own_folder(job: Job) -> Path:
    """Its cache_dir, absolute."""
    cache_dir = job.cache_dir
    assert cache_dir is not None
    return cache_dir.absolute()


def check_change_dir(job: Job) -> None:
    """Raises ConfigError where a job cannot have the folder to itself."""
    text = "a process has one current folder, which all its threads share"
    if job.where == "local" and not (is_coroutine_function(job.func) or generator_word(job.func)):
        return
    if job.where == "local":
        text = "a coroutine, or a generator, would leave the folder changed for others each time that it waits"
    elif job.where in ("process", "command"):
        return
    problem = ("change_dir", f"{text}: use ProcessJob, or open files by their path in job.cache_dir")
    raise ConfigError([problem], f"{type(job).__name__}()")
