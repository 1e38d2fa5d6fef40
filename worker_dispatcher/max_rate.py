"""find_max_rate: the highest rate at which a service still holds its objectives; floor 5."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker_dispatcher.config import merged, parse
from worker_dispatcher.dispatch.banner import print as say
from worker_dispatcher.dispatch.run import Run
from worker_dispatcher.errors import ConfigError

if TYPE_CHECKING:
    from worker_dispatcher.reports.check import Verdict
    from worker_dispatcher.reports.health import Health
    from worker_dispatcher.reports.report import Report

__all__ = ["MaxRate", "Trial", "find_max_rate"]


_HALVINGS = 6  # how often a first rate that fails is halved before no rate at all is the answer


@dataclass(frozen=True, slots=True)
class Trial:
    """One load at one rate (tasks a second). verdict: of the objectives; health: of the load generator."""

    rate: float
    verdict: Verdict
    health: Health | None
    report: Report

    @property
    def generator_failed(self) -> bool:
        """The load generator was the bottleneck, so the objectives say nothing of the service."""
        return self.health is not None and not self.health.ok

    @property
    def holds(self) -> bool:
        return bool(self.verdict) and not self.generator_failed

    def __str__(self) -> str:
        missed = [finding for finding in self.verdict.findings if not finding.holds]
        why = self.health.sentence if self.health and not self.health.ok else "; ".join(map(str, missed))
        return f"{self.rate:g}/s  {'holds' if self.holds else 'fails'}{'  ' if why else ''}{why}"


@dataclass(frozen=True, slots=True)
class MaxRate:
    """rate: the highest that held, 0 if none did; limit: the lowest that failed, None if none did (tasks a second).

    limited_by: 'objectives', 'generator' (this machine could not load the service any further) or 'most' (the highest
    rate that was allowed holds). trials: all loads, in the order they were made.
    """

    rate: float
    limit: float | None
    limited_by: str
    trials: tuple[Trial, ...]

    def __str__(self) -> str:
        lines = [str(trial) for trial in self.trials]
        return "\n".join([*lines, f"highest rate that holds: {self.rate:g}/s (limited by {self.limited_by})"])


def find_max_rate(
    config: Mapping[str, Any],
    slo: str | Iterable[str],
    *,
    start: float = 10.0,
    most: float = 10_000.0,
    duration: float = 10.0,
    precision: float = 0.05,
) -> MaxRate:
    """Load at growing rates until an objective fails, then narrow down between the last that held and the first that
    failed.

    config: as for `start`; its frequency_mode is replaced but for max_workers, on_saturation and warmup. Give a list
    that may be begun again, or None. slo: checks such as ["p99<300ms", "error_rate<1%"]. start, most: the first and
    the highest rate, tasks a second; duration: seconds of each load; precision: stop once the rate that fails is at
    most so much (a share) above the rate that holds.
    Doubles until a rate fails (or halves, six times at most, if the first does), then bisects: about
    log2(rate / start) + log2(1 / precision) loads of `duration`.
    Raises what `start` raises, and ValueError for a rate, duration, precision or check that is none.
    """
    if not (0 < start <= most and duration > 0 and 0 < precision < 1):
        raise ValueError("find_max_rate needs 0 < start <= most, duration > 0 and 0 < precision < 1")
    checks = (slo,) if isinstance(slo, str) else tuple(slo)
    if not checks:
        raise ValueError("find_max_rate needs an objective, such as 'p99<300ms'")
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
        report = make_report(Run(parse(config), merged(config)).drive())
        trial = Trial(rate, report.check(self._checks), report.health, report)
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
        why = "generator" if lowest.generator_failed else "objectives"
        return MaxRate(self.low, self.high, why, tuple(self.trials))


def _at_rate(config: Mapping[str, Any], rate: float, duration: float) -> dict[str, Any]:
    """The same config as a quiet load at one rate."""
    loaded = {key: value for key, value in config.items() if key != "worker"} | {"verbose": False}
    worker = copy.copy(config.get("worker") or {})
    if not isinstance(worker, Mapping):
        raise ConfigError([("worker", "must be a dict of options")])
    mode = worker.get("frequency_mode") or {}
    kept = {key: value for key, value in dict(mode).items() if key in {"max_workers", "on_saturation", "warmup"}}
    load = kept | {"enabled": True, "rate": rate, "duration": duration}
    rest = {key: value for key, value in worker.items() if key not in {"number", "frequency_mode"}}
    return loaded | {"worker": rest | {"frequency_mode": load}}
