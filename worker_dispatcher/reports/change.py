"""Limits on what may change from one run to another, for CI: 'p95>+10%' is a change that fails."""

from __future__ import annotations

import re
from collections.abc import Iterable

from worker_dispatcher.reports.check import COMPARE, NUMBER, SECONDS, Asked, Refusal, Verdict, judge, read_all
from worker_dispatcher.reports.compare import Comparison, Difference

__tracebackhide__ = True  # see tracebacks

GRAMMAR = """a change is NAME OPERATOR CHANGE[UNIT], for example p95>+10%; new - base is held against it
  names     p50, p90, p95, p99, execution.p50, ...   % of the base, or us, ms, s, min
            tps, steady_tps                          % of the base, or /s
            success                                  % of the base
            error_rate                               % of the base, or a plain number: +0.01 is one in a hundred
  operators < <= > >="""

_CHANGE = re.compile(rf"\s*(?P<name>[a-z][\w.]*)\s*(?P<compare>[<>]=?)\s*(?P<limit>{NUMBER})\s*(?P<unit>[a-z/%]*)\s*")


def read_changes(expressions: str | Iterable[str]) -> tuple[Asked, ...]:
    """GRAMMAR says how they are written. ValueError, with the grammar, that names all that are none."""
    return tuple(read_all(_parse, expressions, GRAMMAR))


def judge_changes(changes: Iterable[Asked], comparison: Comparison) -> Verdict:
    """What became of each. One that cannot be told, for want of data, fails: silence is no proof."""
    return Verdict(tuple(judge(one, _observed(one, comparison), fails=True) for one in changes))


def _parse(text: str) -> Asked:
    """unit: '%' for a share of the base; else that of the name: 's', '/s' or ''."""
    found = _CHANGE.fullmatch(text)
    if not found:
        raise _refusal(text, "it cannot be read")
    name, unit, limit = found["name"], found["unit"], float(found["limit"])
    own = _unit_of(name)
    if own is None:
        raise _refusal(text, f"there is no {name!r}")
    if name == "error_rate" and not unit and abs(limit) >= 1:
        raise _refusal(text, f"a share changes by less than 1; perhaps {found['limit']}% is meant")
    if unit == "%" or (own == unit and own not in ("s", "tasks")):
        return Asked(text, name, COMPARE[found["compare"]], limit, unit)
    if own != "s" or unit not in SECONDS:
        raise _refusal(text, f"{name} does not change by {unit!r}" if unit else "it has no unit")
    scale = float(SECONDS[unit])
    return Asked(text, name, COMPARE[found["compare"]], limit * scale, "s", unit, scale)


def _unit_of(name: str) -> str | None:
    if re.fullmatch(r"((response|execution)\.)?p(50|90|95|99)", name):
        return "s"
    return {"tps": "/s", "steady_tps": "/s", "error_rate": "", "success": "tasks"}.get(name)


def _refusal(text: str, why: str) -> Refusal:
    return Refusal(f"change {text!r}: {why}", says_all="perhaps" in why)


def _observed(asked: Asked, comparison: Comparison) -> float | None:
    try:
        difference: Difference = comparison[asked.name]
    except KeyError:  # response times of runs that have none
        return None
    if asked.unit != "%" or difference.change is None:
        return difference.change
    if not difference.a:  # of nothing, anything is infinitely more
        return 0.0 if not difference.change else float("inf") if difference.change > 0 else float("-inf")
    return 100 * difference.change / difference.a
