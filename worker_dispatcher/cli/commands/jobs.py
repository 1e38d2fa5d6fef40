"""`jobs`: the jobs of an engine that a store has."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from worker_dispatcher.cli.ending import OK, CannotRun
from worker_dispatcher.cli.help_text import EXIT_CODES_OF_STORES, add_command
from worker_dispatcher.clock import wall
from worker_dispatcher.dispatch.banner import print as say
from worker_dispatcher.reports.safe_text import printable
from worker_dispatcher.units import counted, seconds_text

if TYPE_CHECKING:
    from worker_dispatcher.engine.rows import Row

_ABOUT = """
    Show the jobs that an engine keeps in a file, and have some of them run again.
    Nothing is loaded that could run code; an engine may be at work meanwhile.
"""
_MORE = """
    actions
      list            the jobs by status, with how long they took (without an
                      action, too)
      show ID         all that is known of one job
      rerun ID...     have jobs run again, and what waits for them, once
                      Engine(store=..., resume=True) is started; no engine may
                      have the file
      graph           the jobs and what they wait for, as text for mermaid;
                      --dot: for graphviz

    examples
      worker-dispatcher jobs nightly.jobs
      worker-dispatcher jobs nightly.jobs list --status failed
      worker-dispatcher jobs nightly.jobs show deploy
      worker-dispatcher jobs nightly.jobs rerun deploy
      worker-dispatcher jobs nightly.jobs graph --dot | dot -Tsvg > nightly.svg
"""
_CUT = "interrupted"  # it ran when its program ended: what the file has as running though no engine has the file
_ORDER = ("running", _CUT, "pending", "failed", "cancelled", "done")
_LONGEST = 30  # characters of a cell


def add(commands: Any) -> None:
    usage = "STORE [list|show ID|rerun ID...|graph] [options]"
    about = "the jobs that an engine keeps in a file"
    parser = add_command(commands, "jobs", about, _ABOUT, _MORE, EXIT_CODES_OF_STORES, usage=usage)
    parser.add_argument("store", metavar="STORE", help="the file, such as Engine(store='nightly.jobs') keeps")
    parser.add_argument("action", nargs="?", default="list", metavar="ACTION", help="see below")
    parser.add_argument("ids", nargs="*", metavar="ID", help="of jobs, for show and rerun")
    parser.add_argument("--status", choices=_ORDER, help="list: those alone that have it", metavar="STATUS")
    parser.add_argument("--dot", action="store_true", help="graph: for graphviz")
    parser.set_defaults(function_of_command=_jobs)


def _jobs(given: argparse.Namespace) -> int:
    from worker_dispatcher.engine.errors import StoreError

    _refuse(given)
    try:
        say(_ACTIONS[given.action](given))
    except StoreError as error:
        raise CannotRun(str(error)) from None
    return OK


def _refuse(given: argparse.Namespace) -> None:
    """Raise CannotRun for what does not go with the action."""
    action, count = given.action, len(given.ids)
    if action not in _ACTIONS:
        raise CannotRun(f"{action}: expected one of {', '.join(_ACTIONS)} here; {_meant(given)}")
    if action == "show" and count != 1:
        raise CannotRun(f"show: expected the id of one job, got {count or 'none'}; `list` shows the ids")
    if action == "rerun" and not count:
        raise CannotRun("rerun: expected ids of jobs, got none; `list` shows them")
    if action in ("list", "graph") and count:
        raise CannotRun(f"{action}: expected no id, got {given.ids[0]}; `show` takes one")
    for option, of in (("status", "list"), ("dot", "graph")):
        if getattr(given, option) and action != of:
            raise CannotRun(f"--{option} is an option of {of}, not of {action}")


def _meant(given: argparse.Namespace) -> str:
    """What a command with another word than an action was likely to be."""
    import difflib  # only a wrong word needs it

    if given.store in _ACTIONS:
        words = [given.action, given.store, *given.ids]
    elif near := difflib.get_close_matches(given.action, _ACTIONS, 1):
        words = [given.store, near[0], *given.ids]
    else:
        words = [given.store, "show", given.action]
    return f"did you mean `worker-dispatcher jobs {' '.join(words)}`?"


def _rows(given: argparse.Namespace) -> list[Row]:
    from worker_dispatcher.engine.rows import read_store
    from worker_dispatcher.journal.file import is_held

    real, rows = read_store(given.store)
    if not any(row.status == "running" for row in rows) or is_held(real):
        return rows
    return [row._replace(status=_CUT) if row.status == "running" else row for row in rows]


def _list(given: argparse.Namespace) -> str:
    rows = _rows(given)
    shown = [row for status in _ORDER for row in rows if row.status == status and given.status in (None, status)]
    lines = [("id", "job", "kind", "status", "attempts", "took"), *map(_line, shown)]
    widths = [max(len(line[at]) for line in lines) for at in range(6)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    counts = [f"{count} {status}" for status in _ORDER if (count := sum(row.status == status for row in rows))]
    total = counted(len(rows), "job") + (f": {', '.join(counts)}" if counts else "")
    return "\n".join([*(table if shown else []), total, *_go_on(given, rows)])


def _go_on(given: argparse.Namespace, rows: Sequence[Row]) -> list[str]:
    """How what was interrupted goes on."""
    if not any(row.status == _CUT for row in rows):
        return []
    return [f"no engine has the file: Engine(store={given.store!r}, resume=True) goes on with what was interrupted"]


def _line(row: Row) -> tuple[str, ...]:
    kind = row.kind.removesuffix("Job")
    return printable(row.id), printable(row.name, _LONGEST), kind, row.status, str(row.attempts or ""), _took(row)


def _took(row: Row) -> str:
    """How long the last attempt took, or has run."""
    if not row.begun or row.status == _CUT:  # nobody knows how long that went on
        return ""
    return seconds_text(max(0.0, (row.ended or wall()) - row.begun))


def _show(given: argparse.Namespace) -> str:
    rows = {row.id: row for row in _rows(given)}
    row = rows.get(given.ids[0])
    if row is None:
        raise _unknown(given, given.ids[0], list(rows))
    facts = {
        "id": printable(row.id),
        "kind": row.kind,
        "status": row.status,
        "submitted": _moment(row.submitted),
        "begun": _moment(row.begun),
        "ended": _moment(row.ended),
        "took": _took(row),
        "attempts": str(row.attempts),
        "interrupted": f"{counted(row.interrupted, 'time')}, by the end of its program" if row.interrupted else "",
        "waits for": _jobs_in_words(row.needs, rows),
        "waited for by": _jobs_in_words([one.id for one in rows.values() if row.id in one.needs], rows),
    }
    lines = [printable(row.name), *(f"  {name:<15}{text}" for name, text in facts.items() if text)]
    if row.why:
        lines += ["", *map(printable, row.why.rstrip().split("\n"))]
    return "\n".join(lines)


def _jobs_in_words(ids: Sequence[str], rows: dict[str, Row]) -> str:
    told = [f"{printable(id)} ({rows[id].status if id in rows else 'not in this file'})" for id in ids]
    return f"\n  {'':<15}".join(told)


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at).isoformat(" ", "milliseconds") if at else ""


def _rerun(given: argparse.Namespace) -> str:
    from worker_dispatcher.engine.errors import JobNotFoundError
    from worker_dispatcher.engine.rerun import rerun

    try:
        marked = rerun(given.store, given.ids)
    except JobNotFoundError as error:
        raise _unknown(given, error.job_id, [row.id for row in _rows(given)]) from None
    if not marked:
        return "\n".join(["nothing to mark: none of them has ended", *_go_on(given, _rows(given))])
    lines = [f"{counted(len(marked), 'job')} pending again:", *(f"  {printable(row.id)}  {row.name}" for row in marked)]
    return "\n".join([*lines, f"Engine(store={given.store!r}, resume=True) runs them once it is started"])


def _unknown(given: argparse.Namespace, job_id: str, known: Sequence[str]) -> CannotRun:
    import difflib  # only a wrong id needs it

    near = difflib.get_close_matches(job_id, known, 1)
    fix = f"did you mean {near[0]}?" if near else "`list` shows those that it has"
    return CannotRun(f"{given.action} {job_id}: {given.store} has no job of this id; {fix}")


def _graph(given: argparse.Namespace) -> str:
    from worker_dispatcher.engine.pictures import Node, dot, mermaid

    nodes = [Node(row.id, row.name, row.status, row.needs) for row in _rows(given)]
    return (dot if given.dot else mermaid)(nodes).rstrip("\n")


_ACTIONS = {"list": _list, "show": _show, "rerun": _rerun, "graph": _graph}
