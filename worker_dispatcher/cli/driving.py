"""A run that a command drives: whatever ends it, what is done is written."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from worker_dispatcher.cli.ending import BAD, CHECK_FAILED, FAILED, OK, CannotRun, held, tell
from worker_dispatcher.cli.outputs import Written
from worker_dispatcher.cli.shape import renamed
from worker_dispatcher.cli.tasks import BadLine
from worker_dispatcher.dispatch.banner import print as say
from worker_dispatcher.errors import ConfigError, TaskFailuresWarning, WorkerDispatcherError
from worker_dispatcher.units import counted

if TYPE_CHECKING:
    from worker_dispatcher.cli.spool import Spool
    from worker_dispatcher.dispatch.run import Run
    from worker_dispatcher.reports.report import Report


def drive(
    config: Mapping[str, Any],
    given: argparse.Namespace,
    reported: Callable[[Run], Report] | None,
    opening: Callable[[], object] = lambda: None,
) -> int:
    """Run the config to its end, in this thread, and write what was asked for; the exit code.

    reported: makes the report, None where none is needed; opening: called before the run. CannotRun for a config that
    is none. Raises KeyboardInterrupt, saying how far the run came, if it was interrupted.
    """
    written, report = Written(given), None
    spool, run = _light(config, given, written)
    opening()
    with held(
        run.interrupt, last=given.is_program
    ) as pressed:  # from before its start until all is written, so that no Ctrl-C is lost
        error = _error_of(run)
        written.log(run)
        spool.close()
        try:
            if reported is not None:
                report = reported(run)
                written.rest(report)
        except Exception:
            tell(given.command, _kept(given, written))
            raise
    if written.problems:
        tell(given.command, "; ".join(written.problems))
    if pressed() or isinstance(error, KeyboardInterrupt):
        raise KeyboardInterrupt(f"{_how_far(run)}; {_kept(given, written)}")
    if written.files and not given.quiet:
        say(f"written: {', '.join(written.files)}")
    if error is not None:
        if not isinstance(error, WorkerDispatcherError | OSError | BadLine):
            raise error  # an unforeseen error: its traceback is wanted
        tell(given.command, f"{error}; {_how_far(run)}")
    return BAD if error is not None or written.problems else _judged(run, given, report)


def _light(config: Mapping[str, Any], given: argparse.Namespace, written: Written) -> tuple[Spool, Run]:
    """A run that keeps of its results what the outputs need: what is short in memory, the rest in a file."""
    from worker_dispatcher.cli.spool import Spool
    from worker_dispatcher.reports.keeping import brief, for_json

    keep = brief if written.path_of_log is None else for_json
    has_journal = getattr(given, "journal", None) is not None  # it needs results as they are
    if not has_journal:
        config = {**config, "task": {**config["task"], "callback": {"on_done": keep}}}
    run = _made(config, given.command)
    spool = Spool(written.path_of_log)
    return spool, run.follow(partial(spool.take, keep if has_journal else None))


def _made(config: Mapping[str, Any], command: str) -> Run:
    from worker_dispatcher.dispatch.run import Run

    try:
        with warnings.catch_warnings(record=True) as warned:  # shown as they are, they would name a line of this file
            warnings.simplefilter("always")
            run = Run.of(config, keep_progress=False)  # a summary follows
    except ConfigError as error:
        raise CannotRun(renamed(error)) from None
    except WorkerDispatcherError as error:
        raise CannotRun(str(error)) from None
    for warning in warned:
        tell(command, str(warning.message))
    return run


def _error_of(run: Run) -> BaseException | None:
    """Drive the run; returns what that raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TaskFailuresWarning)  # a command says it in its own words
        try:
            run.drive()
        except (Exception, KeyboardInterrupt) as error:
            return error
    return None


def _counts(run: Run) -> dict[str, int]:
    counts: dict[str, int] = run.info_without_ids()["counts"]
    return counts


def _failed(run: Run) -> int:
    return sum(_counts(run)[name] for name in ("error", "timeout", "crashed"))


def _without_success(run: Run) -> int:
    """How many tasks failed, or returned what is no success: False, or an HTTP 503."""
    from worker_dispatcher.reports.verdict import successes

    return _failed(run) + successes(run.results).count(False)  # a TaskFailure is not among the latter


def _how_far(run: Run) -> str:
    ended, stopped = _counts(run)["ok"] + _failed(run), _counts(run)["cancelled"]
    return f"{counted(ended, 'task')} ended{f', {stopped:,} stopped' if stopped else ''}"


def _kept(given: argparse.Namespace, written: Written) -> str:
    journal = getattr(given, "journal", None)
    journal = f"{journal} has what was done: the same command again runs the rest" if journal else ""
    files = f"written: {', '.join(written.files)}" if written.files else ""
    return "; ".join(filter(None, (files, journal))) or "--log FILE would have kept their results"


def _judged(run: Run, given: argparse.Namespace, report: Report | None) -> int:
    """The exit code of a run that came to its end: where there are checks, they decide."""
    if report is not None and report.verdict is not None:
        for finding in report.verdict.findings:
            if given.quiet and not finding.holds:
                tell(given.command, str(finding))
        return OK if report.verdict else CHECK_FAILED
    failed = _without_success(run)
    if given.quiet and failed:
        tell(given.command, f"{counted(failed, 'task', sum(_counts(run).values()))} failed")
    return FAILED if failed else OK
