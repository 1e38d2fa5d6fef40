"""What runs in the host program's thread lets through what a handler of signals raises there: `except own(OSError)`.

Most that set an alarm have it raise a TimeoutError, which is an OSError. A guard without `own` takes it for an error of
what it guards: the alarm is lost, or becomes another error. What this reads is no proof; tests/contract/test_presses.py
tries it, moment by moment.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import worker_dispatcher

ROOT = Path(worker_dispatcher.__file__).parent
BROAD = {"OSError", "Exception"}
# What runs in processes and threads of ours only, or outside of any call of ours.
ELSEWHERE = ("cli/", "engine/", "workpool/", "pools/worker/", "pools/runners/", "pools/dask/")
# By file, why its guards need no `own`.
ALLOWED = {
    "config/parse.py": "Reading.refuse lets it through",
    "errors.py": "below `own`; asked by pickle, whose own guard has it",
    "osproc/child.py": "in a worker",
    "osproc/command.py": "of the engine, whose threads are its own",
    "osproc/server.py": "in the fork server",
    "osproc/templates.py": "in the fork server",
    "pools/protocol/log_forwarding.py": "in a worker",
    "tracebacks.py": "where a run has ended, and its own error is copied",
}


def guards(source: str) -> Iterator[tuple[int, set[str]]]:
    """(line, broad kinds) of each guard that keeps what it catches, and asks nobody whose it is."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ExceptHandler) or node.type is None:
            continue
        names = {one.id for one in ast.walk(node.type) if isinstance(one, ast.Name)}
        last = node.body[-1]
        goes_on = isinstance(last, ast.Raise) and last.exc is None
        if names & BROAD and "own" not in names and not goes_on:
            yield node.lineno, names & BROAD


def test_broad_guards_in_the_host_programs_thread_ask_whose_the_error_is():
    wrong, met = [], set()
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name.startswith(ELSEWHERE):
            continue
        found = list(guards(path.read_text(encoding="utf-8")))
        met |= {name} if found else set()
        if name not in ALLOWED:
            wrong += [f"{name}:{line}: except {', '.join(kinds)}: write own(...)" for line, kinds in found]
    assert not wrong, "\n".join(wrong)
    assert met == set(ALLOWED)


def test_the_rule_sees_what_it_looks_for():
    assert list(guards("try: pass\nexcept OSError: pass")) == [(2, {"OSError"})]
    assert list(guards("try: pass\nexcept (KeyError, Exception) as error:\n    raise Other from error")) == [
        (2, {"Exception"})
    ]
    for source in (
        "try: pass\nexcept own(OSError): pass",
        "try: pass\nexcept KeyError: pass",
        "try: pass\nexcept OSError:\n    raise",
    ):
        assert not list(guards(source))
