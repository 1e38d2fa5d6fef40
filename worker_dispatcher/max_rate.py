"""find_max_rate: the highest rate at which a service still holds its objectives; floor 6."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Never

from worker_dispatcher.config.parse import expect_one_dict, parse
from worker_dispatcher.dispatch.banner import print as say
from worker_dispatcher.dispatch.interrupt import Presses
from worker_dispatcher.dispatch.run import Run
from worker_dispatcher.errors import ConfigError
from worker_dispatcher.tracebacks import FewFrames
from worker_dispatcher.units import seconds_in

if TYPE_CHECKING:
    from worker_dispatcher.config.dicts import ConfigDict
    from worker_dispatcher.reports.check import Verdict
    from worker_dispatcher.reports.health import Health
    from worker_dispatcher.reports.report import Report
    from worker_dispatcher.reports.run_data import RunData

__tracebackhide__ = True  # see tracebacks


_UNSERVED = 0.01  # share of the tasks of a load that may be dropped or left over at its end
_ON_TIME = 0.05  # seconds after the last due time within which a start is on time
_HALVINGS = 6  # how often a first rate that fails is halved before no rate at all is the answer


@dataclass(frozen=True, slots=True)
class Trial:
    """One load at one rate (tasks a second). verdict: of the objectives; health: of the load generator.

    unserved: share of the tasks that were dropped, or started only after the last one was due: no rate is served whose
    tasks pile up, however fast each of them is.
    """

    rate: float
    verdict: Verdict
    health: Health | None
    unserved: float
    report: Report

    @property
    def failed_by(self) -> str:
        """'generator', 'objectives' or 'workers' (all were busy, so tasks piled up or were dropped); '' if it held."""
        if self.health is not None and not self.health.ok:
            return "generator"  # then the objectives say nothing of the service
        if not self.verdict:
            return "objectives"
        return "workers" if self.unserved > _UNSERVED else ""

    @property
    def holds(self) -> bool:
        return not self.failed_by

    def __str__(self) -> str:
        why = {
            "": "",
            "generator": self.health.sentence if self.health else "",
            "objectives": "; ".join(str(finding) for finding in self.verdict.findings if not finding.holds),
            "workers": f"{self.unserved:.1%} of the tasks found all workers busy and piled up",
        }[self.failed_by]
        return f"{self.rate:g}/s  {'holds' if self.holds else 'fails'}{'  ' if why else ''}{why}"


@dataclass(frozen=True, slots=True)
class MaxRate:
    """rate: the highest that held, 0 if none did; limit: the lowest that failed, None if none did (tasks a second).

    limited_by: 'objectives', 'workers' (all max_workers were busy, so tasks piled up or were dropped), 'generator'
    (this machine could not load the service any further) or 'most' (the highest rate that was allowed holds).
    trials: all loads, in the order they were made.
    """

    rate: float
    limit: float | None
    limited_by: str
    trials: tuple[Trial, ...]

    def __str__(self) -> str:
        lines = [str(trial) for trial in self.trials]
        return "\n".join([*lines, f"highest rate that holds: {self.rate:g}/s (limited by {self.limited_by})"])

    __repr__ = __str__  # so that a prompt and pytest show it


def find_max_rate(
    config: ConfigDict | Mapping[str, Any] | None = None,
    slo: str | Iterable[str] = (),
    *others: Never,
    start: float = 10.0,
    most: float = 10_000.0,
    duration: float | str = 10.0,
    precision: float = 0.05,
    **options: Never,
) -> MaxRate:
    """Load at growing rates until an objective fails, then narrow down between the last that held and the first that
    failed.

    config: as for `start`; enabled, rate, duration and verbose are set for each load. Its list must be one that can be
    begun again, or None. slo: checks such as ["p99<300ms", "error_rate<1%"]. start, most: the first and
    the highest rate, tasks a second; duration: seconds of each load, or a text such as '1min'; precision: stop once the
    rate that fails is at most so much (a share) above the rate that holds.
    Doubles until a rate fails (or halves, six times at most, if the first does), then bisects: about
    log2(rate / start) + log2(1 / precision) loads of `duration`.
    Raises what `start` raises, and ValueError for a rate, duration, precision or check that is none.
    """
    with FewFrames(), Presses() as presses, presses.raising:
        own = ("slo", "start", "most", "duration", "precision")
        expect_one_dict("find_max_rate(, ['p99<300ms'])", config, others, options, own)
        return _find(config, slo, start=start, most=most, duration=duration, precision=precision)


def _find(
    config: Mapping[str, Any] | None,
    slo: str | Iterable[str],
    *,
    start: float,
    most: float,
    duration: float | str,
    precision: float,
) -> MaxRate:
    if isinstance(duration, str):
        duration = seconds_in(duration) or 0
    if not (0 < start <= most and duration > 0 and 0 < precision < 1):
        raise ValueError("find_max_rate needs 0 < start <= most, duration > 0 and 0 < precision < 1")
    if not isinstance(config, Mapping):
        parse(config)  # to be refused
        config = {}
    checks = (slo,) if isinstance(slo, str) else tuple(slo)
    if not checks:
        raise ValueError("find_max_rate needs an objective, such as 'p99<300ms'")
    _check_early(config, checks, start, duration)
    search = _Search(config, checks, duration)
    rate = start
    while search.load(rate).holds and rate < most:
        rate = min(2 * rate, most)
    for halving in range(1, _HALVINGS + 1):
        if search.low or search.load(start / 2**halving).holds:
            break
    while search.low and search.high is not None and search.high / search.low > 1 + precision:
        search.load((search.low * search.high) ** 0.5)  # rates differ by factors, not by steps
    return search.result()


class _Search:
    """low, high: the highest rate that held, and the lowest above it that failed."""

    def __init__(self, config: Mapping[str, Any], checks: tuple[str, ...], duration: float) -> None:
        self._config, self._checks, self._duration = config, checks, duration
        self._verbose = bool(config.get("verbose", True))
        self.trials: list[Trial] = []
        self.low = 0.0
        self.high: float | None = None

    def load(self, rate: float) -> Trial:
        from worker_dispatcher.reports.report import make_report

        config = _at_rate(self._config, rate, self._duration)
        report = make_report(Run.of(config).drive())
        trial = Trial(rate, report.check(self._checks), report.health, _unserved(report.run), report)
        self.trials.append(trial)
        if self._verbose:
            say(str(trial))
        if trial.holds:
            self.low = rate
        else:
            self.high = rate
        return trial

    def result(self) -> MaxRate:
        if self.high is None:
            return MaxRate(self.low, None, "most", tuple(self.trials))
        failed = [trial for trial in self.trials if not trial.holds]
        lowest = min(failed, key=lambda trial: trial.rate)
        return MaxRate(self.low, self.high, lowest.failed_by, tuple(self.trials))


def _unserved(run: RunData) -> float:
    rows, dropped = run.all_rows, len(run.dropped)
    late = 0
    if rows.queue_delays is not None:
        last = float((rows.starts - rows.queue_delays).max())  # when the last was due
        late = int((rows.starts > last + _ON_TIME).sum())
    return (late + dropped) / max(1, len(rows) + dropped)


def _check_early(config: Mapping[str, Any], checks: tuple[str, ...], start: float, duration: float) -> None:
    """What any load would refuse is refused before the first."""
    from worker_dispatcher.reports.check import expect_checks

    expect_checks(checks)
    checked = parse(_at_rate(config, start, duration))
    tasks = checked.task.list
    if hasattr(tasks, "__next__") or (isinstance(tasks, list) and not tasks):
        text = "must be a list that each load can begin again, or None for tasks without end"
        raise ConfigError([("task.list", text)])


def _at_rate(config: Mapping[str, Any], rate: float, duration: float) -> dict[str, Any]:
    """The same config as a quiet load at one rate. What is no dict stays, to be refused by name."""
    worker: Any = config.get("worker", {})
    if isinstance(worker, Mapping):
        mode = worker.get("frequency_mode", {})
        if isinstance(mode, Mapping):
            mode = {**mode, "enabled": True, "rate": rate, "duration": duration}
        worker = {**worker, "frequency_mode": mode}
    return {**config, "verbose": False, "worker": worker}
