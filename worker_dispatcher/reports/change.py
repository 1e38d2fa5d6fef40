"""Limits on what may change from one run to another, for CI: 'p95>+10%' is a change that fails."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.reports.check import Finding, Verdict
from worker_dispatcher.reports.compare import Comparison, Difference

__all__ = ["GRAMMAR", "Changes", "read_changes"]

__tracebackhide__ = True  # see tracebacks

GRAMMAR = """a change is NAME OPERATOR CHANGE[UNIT], for example p95>+10%; new - base is held against it
  names     p50, p90, p95, p99, execution.p50, ...   % of the base, or us, ms, s, min
            tps, steady_tps                          % of the base, or /s
            success                                  % of the base
            error_rate                               % of the base, or a plain number: +0.01 is one in a hundred
  operators < <= > >="""

_CHANGE = re.compile(
    r"\s*(?P<name>[a-z][\w.]*)\s*(?P<compare>[<>]=?)\s*(?P<limit>[-+]?(?:\d+\.?\d*|\.\d+))\s*(?P<unit>[a-z/%]*)\s*"
)
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}


class _Change(NamedTuple):
    """unit: '%' for a share of the base; else that of the name: 's', '/s' or ''. limit: in percent, or in that unit;
    asked, scale: the unit that it is written in, and what one of it is in `unit`."""

    text: str
    name: str
    compare: Callable[[float, float], bool]
    limit: float
    unit: str
    asked: str = ""
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Changes:
    """What makes a comparison fail, checked."""

    asked: tuple[_Change, ...]

    def of(self, comparison: Comparison) -> Verdict:
        """What became of each. One that cannot be told, for want of data, fails: silence is no proof."""
        return Verdict(tuple(_judge(change, comparison) for change in self.asked))


def read_changes(expressions: str | Iterable[str]) -> Changes:
    """GRAMMAR says how they are written. ValueError, with the grammar, for what is none."""
    return Changes(tuple(map(_parse, [expressions] if isinstance(expressions, str) else expressions)))


def _parse(text: str) -> _Change:
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
        return _Change(text, name, _COMPARE[found["compare"]], limit, unit)
    if own != "s" or unit not in _SECONDS:
        raise _refusal(text, f"{name} does not change by {unit!r}" if unit else "it has no unit")
    return _Change(text, name, _COMPARE[found["compare"]], limit * _SECONDS[unit], "s", unit, _SECONDS[unit])


def _unit_of(name: str) -> str | None:
    if re.fullmatch(r"((response|execution)\.)?p(50|90|95|99)", name):
        return "s"
    return {"tps": "/s", "steady_tps": "/s", "error_rate": "", "success": "tasks"}.get(name)


def _refusal(text: str, why: str) -> ValueError:
    return ValueError(f"change {text!r}: {why}\n{GRAMMAR}")


def _judge(asked: _Change, comparison: Comparison) -> Finding:
    try:
        observed = _observed(asked, comparison[asked.name])
    except KeyError:  # response times of runs that have none
        observed = None
    holds = observed is not None and not asked.compare(observed, asked.limit)
    return Finding(asked.text, observed, asked.limit, asked.unit, holds, asked.asked, asked.scale)


def _observed(asked: _Change, difference: Difference) -> float | None:
    if asked.unit != "%" or difference.change is None:
        return difference.change
    if not difference.a:  # of nothing, anything is infinitely more
        return 0.0 if not difference.change else float("inf") if difference.change > 0 else float("-inf")
    return 100 * difference.change / difference.a
