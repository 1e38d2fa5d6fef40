"""Option names of worker_dispatcher before 1.2: still understood, with a DeprecationWarning that names the new ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from worker_dispatcher.config.rules import Rule, callback, flag, seconds
from worker_dispatcher.named_tuple import NamedTuple


class Legacy(NamedTuple):
    """rule: for the old value; replacement: for the warning; means: the same in new options, {} for nothing."""

    rule: Rule
    replacement: str
    means: Callable[[Any], dict[str, Any]]


def _tick() -> Rule:
    """Seconds between ticks; 0, False and None mean that there are none."""
    rule = seconds("seconds between ticks, 0 for none", least=0)

    def accept(value: object) -> float:
        length: float = 0.0 if value is None or value is False else rule.accept(value)
        return length

    return Rule(rule.kind, accept)


def _ticking(interval: float) -> dict[str, Any]:
    frequency_mode = "worker.frequency_mode"
    return {f"{frequency_mode}.enabled": True, f"{frequency_mode}.interval": interval} if interval else {}


LEGACY: Mapping[str, Legacy] = {
    # In 1.0 the name was misleading: `number` tasks were released every `per_second` seconds.
    "worker.per_second": Legacy(_tick(), "worker.frequency_mode.{enabled,interval}", _ticking),
    "worker.multiprocessing": Legacy(flag(), "worker.use_processing", lambda on: {"worker.use_processing": on}),
    # Called in the calling process after the run; 1.2 gave the same place the name on_all_done.
    "task.result_callback": Legacy(
        callback(), "task.callback.on_all_done", lambda f: {} if f is None else {"task.callback.on_all_done": f}
    ),
}
