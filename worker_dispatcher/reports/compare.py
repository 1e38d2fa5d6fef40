"""Two runs side by side, which differences are more than chance, and limits on them for CI: 'p95>+10%' is a change that
fails."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from worker_dispatcher.reports.check import COMPARE, NUMBER, SECONDS, Asked, Refusal, Verdict, judge, read_all
from worker_dispatcher.reports.rate import steady_tps
from worker_dispatcher.reports.rows import Floats, Rows
from worker_dispatcher.reports.safe_text import printable, text_width, wrapped
from worker_dispatcher.reports.window_numbers import nearest_rank, percentile_name, summary_of_run
from worker_dispatcher.units import count_text, seconds_text

__tracebackhide__ = True  # see tracebacks

_QUANTILES = (50, 90, 95, 99)
_WIDE = 79  # characters of a line that has all of a difference
_Z = 1.96  # of the normal distribution: 95 % intervals


@dataclass(frozen=True, slots=True)
class Difference:
    """One number in both runs. unit: 's', '/s', 'tasks' or '' (a share of 1); a, b: None without data.

    clear: True if the 95 % intervals of both do not overlap, False if they do or there is too little data to tell;
    None for a rate, of which a run has one and no spread.
    """

    name: str
    unit: str
    a: float | None
    b: float | None
    clear: bool | None

    @property
    def change(self) -> float | None:
        """b - a."""
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def relative(self) -> float | None:
        """(b - a) / a, so 0.1 is 10 % more; None where a is 0."""
        return self.change / self.a if self.a and self.change is not None else None

    def __str__(self) -> str:
        return "\n".join(self.lines(_WIDE))

    def lines(self, width: int) -> list[str]:
        """One, or two where there is no room for that."""
        words = {True: "clear", False: "no clear difference", None: ""}[self.clear]
        share = "" if self.relative is None else f"{100 * self.relative:+,.1f} %"
        a, b = _text(self.a, self.unit), _text(self.b, self.unit)
        if width >= _WIDE:
            return [f"{self.name:<18}{a:>14}{b:>14}{share:>12}  {words}".rstrip()]
        more = f"{share:>17}  {words}".rstrip()
        return [f"{self.name:<13}{a:>13}{b:>13}", *([more] if more else [])]


@dataclass(frozen=True, slots=True)
class Comparison:
    """count_a, count_b: rows of each run; differences: successes and the error rate first, then quantiles and rates.

    Of a run without a success no time and no rate is given: what refuses everything is quick, and no better.
    invalid_a, invalid_b: malformed rows, which were left out; name_a, name_b: where the runs are from, "" for nobody
    knows; only_load: 'a' or 'b' where only that run is a load.
    """

    count_a: int
    count_b: int
    differences: tuple[Difference, ...]
    invalid_a: int = 0
    invalid_b: int = 0
    name_a: str = ""
    name_b: str = ""
    only_load: str = ""

    def __getitem__(self, name: str) -> Difference:
        """By name, as in 'p95', 'execution.p95', 'error_rate', 'success', 'tps', 'steady_tps'; KeyError if
        there is none. Of loads 'response.p95' is 'p95', of other runs 'execution.p95' is."""
        known = {difference.name: difference for difference in self.differences}
        alias = "response." if "execution.p50" in known else "execution."
        return known[name.removeprefix(alias)]

    def __str__(self) -> str:
        return self.text()

    def text(self, columns: int | None = None) -> str:
        """For a terminal of so many columns; None for those of the program's terminal, 80 and more are the same. The
        name of a file stays in one piece."""
        width = text_width(columns)
        a, b = f"a (n={self.count_a})", f"b (n={self.count_b})"
        head = f"{'':<18}{a:>14}{b:>14}{'change':>12}" if width >= _WIDE else f"{'':<12}{a:>13} {b:>13}"
        rows = [line for difference in self.differences for line in difference.lines(width)]
        told = [line for said in (*self._notes(), self._foot()) for line in wrapped(said, width, "  ")]
        return "\n".join([*self._names(), head, *rows, *told])

    __repr__ = __str__  # so that a prompt and pytest show it

    def _names(self) -> Iterator[str]:
        if self.name_a or self.name_b:
            for run, name in (("a", self.name_a), ("b", self.name_b)):
                yield f"{run}  {printable(name or 'the run given')}"
            yield ""

    def _notes(self) -> Iterator[str]:
        invalid = [f"{count:,} in {run}" for run, count in (("a", self.invalid_a), ("b", self.invalid_b)) if count]
        if invalid:
            yield f"malformed rows left out: {', '.join(invalid)}"
        if self.only_load:
            yield f"only {self.only_load} is a load, so the times of both are from the start"
        success = self["success"]
        for run, count, good in (("a", self.count_a, success.a), ("b", self.count_b, success.b)):
            if not good:
                yield f"{run} has no success, so its times and rates say nothing" if count else f"{run} has no tasks"

    def _foot(self) -> str:
        clear = [difference.name for difference in self.differences if difference.clear]
        if clear:
            return f"{len(clear)} clear difference{'' if len(clear) == 1 else 's'}: {', '.join(clear)}"
        return "no clear difference" if self["success"].a and self["success"].b else "nothing to compare"


def compare(rows_a: Rows, rows_b: Rows, *, names: tuple[str, str] = ("", "")) -> Comparison:
    """What changed from run a to run b: successes, error rate, p50, p90, p95, p99 of the times, rates.

    Times are from the due time where both runs are loads, those from the start are `execution.` then. names: of a and
    b, shown above.

    Whether a quantile differs clearly is told from order statistics: of n values, those at the ranks
    n p -+ 1.96 sqrt(n p (1 - p)) enclose the p-quantile with 95 %, whatever the distribution (David and Nagaraja,
    Order Statistics, 7.1). A clear difference is one where the two intervals do not overlap, which is stricter than
    a 95 % test. It takes tasks that do not wait for each other; many drops, or a machine that was busy in one of the
    runs, are no chance. Cost: a sort of each column.
    """
    good = [int(np.count_nonzero(rows.ok)) for rows in (rows_a, rows_b)]
    none = Rows.from_columns([], [], [])
    told = [rows if count else none for rows, count in zip((rows_a, rows_b), good, strict=True)]
    of_loads = rows_a.response_times is not None and rows_b.response_times is not None
    quantiles = _quantiles("execution." if of_loads else "", *(rows.times for rows in told))
    if of_loads:
        due = (np.empty(0) if rows.response_times is None else rows.response_times for rows in told)
        quantiles = _quantiles("", *due) + quantiles
    found = [(summary_of_run(rows)["tps"], steady_tps(rows)) if len(rows) else (None, None) for rows in told]
    rates = [Difference(name, "/s", a, b, None) for name, a, b in zip(("tps", "steady_tps"), *found, strict=True)]
    first = [Difference("success", "tasks", good[0], good[1], None), _error_rates(rows_a, rows_b)]
    invalid = rows_a.invalidity, rows_b.invalidity
    loads = [run for run, rows in (("a", rows_a), ("b", rows_b)) if rows.response_times is not None]
    return Comparison(
        len(rows_a), len(rows_b), (*first, *quantiles, *rates), *invalid, *names, loads[0] if len(loads) == 1 else ""
    )


Interval = tuple[float, float] | None
"""A 95 % interval, or None where there are too few values for one."""


def _quantiles(prefix: str, a: Floats, b: Floats) -> list[Difference]:
    a, b = np.sort(a[np.isfinite(a)]), np.sort(b[np.isfinite(b)])
    return [
        Difference(
            prefix + percentile_name(percent),
            "s",
            _quantile(a, percent),
            _quantile(b, percent),
            _apart(_quantile_interval(a, percent), _quantile_interval(b, percent)),
        )
        for percent in _QUANTILES
    ]


def _quantile(ordered: Floats, percent: float) -> float | None:
    return float(ordered[nearest_rank(percent, len(ordered)) - 1]) if len(ordered) else None


def _quantile_interval(ordered: Floats, percent: float) -> Interval:
    share, count = percent / 100, len(ordered)
    reach = _Z * math.sqrt(count * share * (1 - share))
    low, high = math.floor(count * share - reach), math.ceil(count * share + reach) + 1  # ranks, from 1
    return (float(ordered[low - 1]), float(ordered[high - 1])) if low >= 1 and high <= count else None


def _error_rates(a: Rows, b: Rows) -> Difference:
    failed_a, failed_b = (int(np.count_nonzero(~rows.ok)) for rows in (a, b))
    rates = [failed / len(rows) if len(rows) else None for failed, rows in ((failed_a, a), (failed_b, b))]
    clear = _apart(_share_interval(failed_a, len(a)), _share_interval(failed_b, len(b)))
    return Difference("error_rate", "", rates[0], rates[1], clear)


def _share_interval(hits: int, count: int) -> Interval:
    """Wilson's score interval (1927): right for rates near 0 too, where the usual one has no width."""
    if not count:
        return None
    share, spread = hits / count, _Z**2 / count
    middle = (share + spread / 2) / (1 + spread)
    reach = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return middle - reach, middle + reach


def _apart(a: Interval, b: Interval) -> bool:
    return a is not None and b is not None and (a[1] < b[0] or b[1] < a[0])


def _text(value: float | None, unit: str) -> str:
    if value is None:
        return "no data"
    if unit == "s":
        return seconds_text(value)
    if unit == "tasks":
        return count_text(int(value))
    if unit:
        return f"{value:,.0f}{unit}" if value >= 1000 else f"{value:.4g}{unit}"
    return f"{100 * value:.4g} %"


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
