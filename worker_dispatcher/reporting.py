"""report, check and compare as users call them: of the last run, where nothing else is named; floor 6."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from worker_dispatcher.dispatch.banner import print as say
from worker_dispatcher.errors import RunError
from worker_dispatcher.last_run import last_run

if TYPE_CHECKING:
    from worker_dispatcher.dispatch.run import Run
    from worker_dispatcher.reports.check import Verdict
    from worker_dispatcher.reports.compare import Comparison
    from worker_dispatcher.reports.report import Report

__tracebackhide__ = True  # see tracebacks


def report(
    source: object = None,
    *,
    title: str | None = None,
    checks: str | Iterable[str] = (),
    window: float = 1.0,
    interval: float = 0,
    verbose: bool = False,
) -> Report:
    """A Report of the last run, a Run, a list of logs, a .jsonl file of them, a journal, or a Report (comes back).

    checks: thresholds to show with it, such as "p99<300ms"; window: least seconds of the peak rate; interval: seconds
    of the intervals in tables, 0 to choose one. ValueError for what is no check, window or interval; RunError where
    the last run is meant and none has ended.
    verbose: print it as text, too. Otherwise nothing is printed.
    """
    from worker_dispatcher.reports.report import Report, make_report

    run = _last_run() if source is None else _journal_as_logs(source)
    if isinstance(run, Report) and (title, checks, window, interval) == (None, (), 1.0, 0):
        made = run
    else:
        made = make_report(run, title=title, checks=checks, window=window, interval=interval)
    if verbose:
        say(made.text(ascii_only=_knows_ascii_only()))
    return made


def check(source: object, expressions: str | Iterable[str] | None = None) -> Verdict:
    """Hold a run against thresholds: check(None, ["p99<300ms", "error_rate<1%"]) is true if all hold in the last run.

    source: as `report` takes it, or the dict that get_tps gave; a Report that was made with checks may do without
    expressions. ValueError, with the grammar, for what is no check.
    """
    if expressions is not None and isinstance(source, Mapping):
        from worker_dispatcher.reports.check import check as hold

        return hold(source, expressions)
    if expressions is None and _is_of_checks(source):
        raise ValueError(f"the run comes first: check(None, {source!r}) holds the last one against these")
    return report(source).check(expressions)


def compare(a: object, b: object = None) -> Comparison:
    """Two runs side by side, and which differences are clear. a, b: as `report` takes them; b None: the last run."""
    from worker_dispatcher.reports.compare import compare as side_by_side

    return side_by_side(report(a).rows, report(b).rows, names=(_called(a), _called(b)))


def _last_run() -> Run:
    if (run := last_run()) is None:
        raise RunError(
            "no run has ended yet, so there is nothing to report: call start(config) first, wait for a launched run "
            "or name what is meant: a Run, a list of logs, or the path of a log or a journal"
        )
    return run


def _is_of_checks(source: object) -> bool:
    texts = [source] if isinstance(source, str) else source
    if not isinstance(texts, list | tuple) or not texts:
        return False
    return all(isinstance(text, str) and any(sign in text for sign in "<>=") for text in texts)


def _called(source: object) -> str:
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    return "the last run" if source is None else ""


def _journal_as_logs(source: object) -> object:
    """The logs in a journal; anything else as it is. A journal is known by how it begins, not by its name."""
    if not isinstance(source, str | os.PathLike):
        return source
    from worker_dispatcher.journal.file import is_database
    from worker_dispatcher.journal.reading import read_run

    if not is_database(source):
        return source
    from worker_dispatcher.reports.run_data import RunData

    logs, info = read_run(source)
    return RunData(logs, info)


def _knows_ascii_only() -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        "▁█…".encode(encoding)
    except (LookupError, UnicodeEncodeError):
        return True
    return False
