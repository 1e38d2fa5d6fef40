"""Thresholds on a run's numbers, for tests and CI: check(report, ["p99<300ms", "error_rate<1%"])."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np

from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.reports.rate import peak_rate
from worker_dispatcher.reports.rows import Rows
from worker_dispatcher.reports.tps import additions, get_tps
from worker_dispatcher.reports.window_numbers import percentile_name, summary_of_run
from worker_dispatcher.units import MICROSECONDS

__tracebackhide__ = True  # see tracebacks

_T = TypeVar("_T")

GRAMMAR = """a check is METRIC OPERATOR NUMBER[UNIT], for example p99<300ms
  seconds   p50, p99.9, ..., avg, max: of a load from the due time, else from the start; execution.p50, .avg, .max,
            .min: from the start; queue.p50: waited to start; task.p50: with retries   us, ms, s, min (m)
  rates     tps, steady_tps, peak (whole seconds), peak_rate, peak_rate(10s)          /s (without: /s), /min
  share     error_rate, success_rate                                                  % (without: below 1)
  counts    total, success, failed, invalid, in_flight, in_flight.mean; with counts=
            also ok, error, timeout, crashed, cancelled, not_run, dropped
  operators < <= > >= == !="""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and what came of it. observed: in `unit` ('s', '/s', '' for shares and counts); None: no data.

    asked: the unit that the check was written in; scale: what one of it is in `unit`.
    """

    expression: str
    observed: float | None
    limit: float
    unit: str
    holds: bool
    asked: str = ""
    scale: float = 1.0

    @property
    def seen(self) -> str:
        """What was observed, in the unit that was asked for: '32.3 ms', '100 %', with as many digits as it takes to
        tell it from the limit."""
        if self.observed is None:
            return "no data"
        value, limit = self.observed / self.scale, self.limit / self.scale
        texts = [f"{value:,.0f}" if digits <= 6 and abs(value) >= 1000 else f"{value:.{digits}g}" for digits in _DIGITS]
        text = next((one for one in texts if float(one.replace(",", "")) != limit), texts[0])
        unit = self.asked or self.unit
        return f"{text}{unit}" if unit.startswith("/") else f"{text} {unit}".rstrip()

    def __str__(self) -> str:
        return f"{'ok  ' if self.holds else 'FAIL'}  {self.expression}   observed {self.seen}"


_DIGITS = (3, 6, 12)  # of what was observed


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of each check, in the order given. True if all hold; as text, a line for each."""

    findings: tuple[Finding, ...]

    def __bool__(self) -> bool:
        return all(finding.holds for finding in self.findings)

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings))

    __repr__ = __str__  # so that a prompt and pytest show it


def check(
    source: Mapping[str, Any] | Rows, expressions: str | Iterable[str], *, counts: Mapping[str, int] | None = None
) -> Verdict:
    """Hold a run against thresholds (GRAMMAR says how they are written).

    source: what get_tps gave, or Rows. A report knows only the percentiles and the peak_rate window that it was made
    with; Rows answer any. counts: outcomes by name as in get_result_info()['counts'], for what is in no log.
    Without a single value (no task ran, or the logs have no such field) a check does not hold, unless it is one of
    `total` or of counts: silence is no proof. ValueError for expressions that are none, or else for those that ask for
    what `source` does not know; it names each. Without expressions the verdict is true.
    """
    asked = read_all(_parse, expressions, GRAMMAR)
    known = _Known(source, asked, counts or {})
    return Verdict(tuple(read_all(lambda one: judge(one, known.value(one)), asked, GRAMMAR)))


def expect_checks(expressions: str | Iterable[str]) -> tuple[str, ...]:
    """The same, as a tuple. ValueError, as of `check`, for what is none, whatever the run is like."""
    asked = (expressions,) if isinstance(expressions, str) else tuple(expressions)
    check(Rows.from_columns([], [], []), asked, counts=dict.fromkeys(_OUTCOMES, 0))
    return asked


class Refusal(ValueError):
    """What is wrong with one expression. says_all: it tells what to write, so that the grammar need not."""

    def __init__(self, text: str, says_all: bool) -> None:
        self.says_all = says_all
        super().__init__(text)


def read_all(read: Callable[[Any], _T], given: str | Iterable[Any], grammar: str) -> list[_T]:
    """What comes of each. A ValueError names all that are refused, and gives the grammar where that is needed."""
    found, refused = [], []
    for one in [given] if isinstance(given, str) else given:
        try:
            found.append(read(one))
        except Refusal as refusal:
            refused.append(refusal)
    if refused:
        unclear = not all(one.says_all for one in refused)
        raise ValueError("\n".join([*map(str, refused), *([grammar] if unclear else ())]))
    return found


class Asked(NamedTuple):
    """One expression, read. limit: in `unit`; asked: the unit that it is written in; scale: what one of that is in
    `unit`; argument: of peak_rate(10s), seconds."""

    text: str
    name: str
    compare: Callable[[float, float], bool]
    limit: float
    unit: str
    asked: str = ""
    scale: float = 1.0
    argument: float | None = None

    @property
    def percent(self) -> float | None:
        found = _PERCENTILE.fullmatch(self.name)
        return float(found["percent"]) if found else None


_PERCENTILE = re.compile(r"(?:(?P<of>execution|response|queue|task)\.)?p(?P<percent>\d+(?:\.\d+)?)")
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
_CHECK = re.compile(
    rf"\s*(?P<name>[a-z][\w.]*)\s*(?:\(\s*(?P<argument>{NUMBER})\s*(?P<of>us|ms|s|min|m)?\s*\))?"
    rf"\s*(?P<compare>[<>]=?|[=!]=)\s*(?P<limit>{NUMBER})\s*(?P<unit>us|ms|s|min|m|%|/s|/min|/m)?\s*"
)
COMPARE = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
# What a limit's unit makes of its number, by the unit that the metric is observed in.
# Fractions, so that 700ms is 0.7 and not 0.7000000000000001.
SECONDS: Mapping[str | None, Fraction] = {
    unit: Fraction(MICROSECONDS[unit], 10**6) for unit in ("us", "ms", "s", "min", "m")
}
_UNITS: Mapping[str, Mapping[str | None, Fraction]] = {
    "s": SECONDS,
    "/s": {None: Fraction(1), **{f"/{unit}": 1 / SECONDS[unit] for unit in ("s", "min", "m")}},
    "share": {"%": Fraction(1, 100), None: Fraction(1)},
    "": {None: Fraction(1)},
}
_FIELDS = {"execution": "execution_time", "response": "response_time", "queue": "queue_delay", "task": "task_time"}
_FROM_DUE = ("avg", "max")  # bare, of a load; else of the execution
_PATHS: Mapping[str, tuple[str, ...]] = {
    "tps": ("tps",),
    "steady_tps": ("steady_tps",),
    "peak_rate": ("peak_rate", "tps"),
    "execution.avg": ("metrics", "execution_time", "avg"),
    "execution.max": ("metrics", "execution_time", "max"),
    "execution.min": ("metrics", "execution_time", "min"),
    "total": ("count", "total"),
    "success": ("count", "success"),
    "invalid": ("count", "invalidity"),
    "in_flight": ("in_flight", "max"),
    "in_flight.mean": ("in_flight", "mean"),
}
_RATES = ("tps", "steady_tps", "peak", "peak_rate")
# What other tools call them, where the name is none of ours.
_ALSO_CALLED: Mapping[str, str] = {
    **dict.fromkeys(("rps", "rate", "throughput", "qps"), "tps"),
    **dict.fromkeys(("failures", "failure", "errors", "fails"), "failed"),
    **dict.fromkeys(("failure_rate", "fail_rate", "fail_ratio", "error_ratio"), "error_rate"),
    **dict.fromkeys(("requests", "tasks", "count"), "total"),
    **dict.fromkeys(("successes", "succeeded"), "success"),
    **{"mean": "avg", "min": "execution.min"},
    **{"median": "p50", "med": "p50"},
}
_SHARES: Mapping[str, str] = {
    **dict.fromkeys(("success", "ok"), "success_rate"),
    **dict.fromkeys(("error", "failed"), "error_rate"),
}
_OUTCOMES = ("ok", "error", "timeout", "crashed", "cancelled", "not_run", "dropped")


def _parse(text: str) -> Asked:
    found = _CHECK.fullmatch(_in_our_words(text)) if isinstance(text, str) else None
    if not found:
        raise _refusal(text, "it cannot be read", says_all=False)
    name, unit = _metric(text, found)
    factor = _UNITS[unit].get(found["unit"])
    if factor is None:
        raise _wrong_unit(text, name, unit, found)
    limit = float(Fraction(found["limit"]) * factor)
    if unit == "share" and (limit > 1 or (limit == 1 and not found["unit"])):
        raise _refusal(text, f"a share is below 1, or at most 100%; perhaps {found['limit']}% is meant")
    shown = "" if unit == "share" else unit
    asked = found["unit"] or shown
    parsed = Asked(text, name, COMPARE[found["compare"]], limit, shown, asked, float(factor), _window(text, found))
    if parsed.percent is not None and not 0 < parsed.percent <= 100:
        raise _refusal(text, "a percentile is over 0 and at most 100")
    return parsed


def _wrong_unit(text: str, name: str, unit: str, found: re.Match[str]) -> Refusal:
    if not found["unit"]:  # only seconds need one
        likely = "ms" if Fraction(found["limit"]) >= 1 else "s"
        return _refusal(text, f"it has no unit; perhaps {found['limit']}{likely} is meant")
    share = _SHARES.get(name) if found["unit"] == "%" else None
    why = f"{name} is not measured in {found['unit']}"
    return _refusal(text, f"{why}; did you mean {share}?" if share else why, says_all=share is not None)


def _in_our_words(text: str) -> str:
    """A check as people type it: capitals, p(99) for p99, one = for two."""
    plain = re.sub(r"\bp\(\s*([\d.]+)\s*\)", r"p\1", text.lower())
    return re.sub(r"(?<![<>=!])=(?!=)", "==", plain)


def _metric(text: str, found: re.Match[str]) -> tuple[str, str]:
    """The metric that a check is about, and the unit it is observed in."""
    name, unit = found["name"], _unit_of(found["name"])
    if unit is None:
        ours = _ALSO_CALLED.get(name, name)
        name = "error_rate" if ours == "failed" and found["unit"] == "%" else ours
        unit = _unit_of(name)
    if unit is None:
        import difflib  # only who is wrong needs it

        known = [*_PATHS, *_RATES, *_OUTCOMES, *_FROM_DUE, *_SHARES.values(), "failed", "p99"]
        near = difflib.get_close_matches(name, known, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise _refusal(text, f"there is no metric {name!r}{meant}", says_all=bool(near))
    return name, unit


def _window(text: str, found: re.Match[str]) -> float | None:
    if found["argument"] is None:
        return None
    if found["name"] != "peak_rate":
        raise _refusal(text, f"{found['name']} takes no argument")
    window = float(Fraction(found["argument"]) * _UNITS["s"][found["of"] or "s"])
    if not window > 0:
        raise _refusal(text, "a window must be longer than nothing")
    return window


def _unit_of(name: str) -> str | None:
    """The unit that a metric is observed in; None if there is no such metric."""
    if _PERCENTILE.fullmatch(name) or name in _FROM_DUE or (name.startswith("execution.") and name in _PATHS):
        return "s"
    if name in ("error_rate", "success_rate"):
        return "share"
    if name in _RATES:
        return "/s"
    return "" if name in _PATHS or name in _OUTCOMES or name == "failed" else None


def _refusal(text: object, why: str, *, says_all: bool = True) -> Refusal:
    return Refusal(f"check {text!r}: {why}", says_all)


def judge(asked: Asked, observed: float | None, *, fails: bool = False) -> Finding:
    """fails: the expression says what must not be. Without data it does not hold either."""
    holds = observed is not None and bool(asked.compare(observed, asked.limit)) is not fails
    return Finding(asked.text, observed, asked.limit, asked.unit, holds, asked.asked, asked.scale)


class _OfRows(dict[str, Any]):
    """What get_tps says of rows, made when it is asked for: a check of p99 need not wait for the peak to be found."""

    def __init__(self, rows: Rows, percents: Iterable[float]) -> None:
        super().__init__(summary_of_run(rows))
        self._parts = additions(rows, percents) | {"peak": lambda: get_tps(rows)["peak"]}

    def __missing__(self, key: str) -> Any:
        made = self[key] = self._parts[key]()
        return made


class _Known:
    """Where the observed values come from."""

    def __init__(self, source: Mapping[str, Any] | Rows, asked: list[Asked], counts: Mapping[str, int]) -> None:
        self.rows = source if isinstance(source, Rows) else None
        percents = {one.percent for one in asked if one.percent is not None}
        self.report = _OfRows(source, percents) if isinstance(source, Rows) else source
        self.counts = counts

    def value(self, asked: Asked) -> float | None:
        if asked.percent is not None:
            return self._percentile(asked)
        if asked.name in _OUTCOMES:
            if asked.name not in self.counts:
                raise _refusal(asked.text, f"{asked.name} is in no log: give counts=get_result_info()['counts']")
            return self.counts[asked.name]
        total = int(self.report["count"]["total"])
        failed = total - int(self.report["count"]["success"])
        if not total and asked.name not in ("total", "invalid"):
            return None
        if asked.argument is not None:
            return self._peak_rate(asked, asked.argument)
        if asked.name == "failed":
            return failed
        if asked.name == "error_rate":
            return failed / total
        if asked.name == "success_rate":
            return 1 - failed / total
        if asked.name == "peak":
            return float(self.report["peak"].get("tps", self.report["tps"]))  # {}: nothing beats the average
        if asked.name in _FROM_DUE:
            return self._from_due(asked)
        return self._at(_PATHS[asked.name])

    def _from_due(self, asked: Asked) -> float:
        if "response_time" not in self.report["percentiles"]:
            return self._at(_PATHS[f"execution.{asked.name}"])
        if self.rows is None or self.rows.response_times is None:
            raise _refusal(
                asked.text, f"get_tps does not say the {asked.name} from the due time: give the run, or logs"
            )
        known = self.rows.response_times[np.isfinite(self.rows.response_times)]
        return float(known.mean() if asked.name == "avg" else known.max())

    def _at(self, path: tuple[str, ...]) -> float:
        found: Any = self.report
        for key in path:
            found = found[key] if isinstance(found, _OfRows) else found.get(key, 0)  # the peak_rate of no success is {}
        return float(found)

    def _percentile(self, asked: Asked) -> float | None:
        match = _PERCENTILE.fullmatch(asked.name)
        tables = self.report["percentiles"]
        of = (match["of"] if match else None) or ("response" if "response_time" in tables else "execution")
        of = "execution" if of == "task" and "task_time" not in tables else of  # no task was retried
        table = tables.get(_FIELDS[of], {})
        name = percentile_name(asked.percent or 0)
        if table and name not in table:
            raise _refusal(asked.text, f"the report has only {', '.join(table)}: give Rows, or ask get_tps for more")
        return float(table[name]) if table else None

    def _peak_rate(self, asked: Asked, window: float) -> float:
        found = peak_rate(self.rows, window) if self.rows is not None else self.report["peak_rate"]
        if found.get("window", window) != window:
            raise _refusal(asked.text, f"the report has a window of {found['window']:g} s: give Rows instead")
        return float(found.get("tps", 0))
