"""What the options of load may be: pacing, rate and stages."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from worker_dispatcher.config.describe import Refused, brief, got
from worker_dispatcher.config.rules import LONGEST_WAIT, Rule, number, one_of, seconds
from worker_dispatcher.units import rate_in

PACINGS = ("burst", "even", "random", "poisson")
_MOST = 1e6  # tasks a second: more than a Python process can begin


def pacing() -> Rule:
    """One of four words, or when each task is due: seconds since the run began, kept as a tuple."""
    words = one_of(*PACINGS, optional=True)

    def accept(value: object) -> str | tuple[float, ...] | None:
        if value is None or isinstance(value, str):
            word: str | None = words.accept(value)
            return word
        if not (isinstance(value, list | tuple) or getattr(value, "ndim", None) == 1):
            raise Refused(f"must be {words.kind}, or a list of seconds, got {got(value)}")
        assert isinstance(value, Sequence) or hasattr(value, "tolist")
        return _offsets(value)

    return Rule(f"{words.kind} or list of seconds", accept)


def _offsets(values: Any) -> tuple[float, ...]:
    offset = seconds("give seconds since the start of the run", least=0)
    found = tuple(_within(offset, value, f"entry {at}") for at, value in enumerate(values))
    for at, (a, b) in enumerate(itertools.pairwise(found)):
        if b < a:
            raise Refused(f"must never decrease, got {brief(b)} after {brief(a)} at entry {at + 1}; sort the list")
    return found


def _within(rule: Rule, value: object, place: str) -> float:
    try:
        return float(rule.accept(value))
    except Refused as refusal:
        raise Refused(f"{place} {refusal}") from None


def rate() -> Rule:
    """Tasks a second: a number, or a text such as '250/s', '90/min', '3600/h'; kept as a float."""
    plain = number("250 and '250/s' are 250 tasks a second", above=0, most=_MOST, optional=True)

    def accept(value: object) -> float | None:
        if isinstance(value, str):
            found = rate_in(value)
            if found is None:
                raise Refused(f"must be a rate, got {got(value)}; write '250/s', '90/min' or '3600/h'")
            value = found
        checked = plain.accept(value)
        return None if checked is None else float(checked)

    return Rule("number > 0, text such as '90/min', or None", accept)


def stages() -> Rule:
    """A list of (seconds, rate) or {'duration', 'rate', 'step'}; kept as a tuple of (seconds, rate, is a step)."""

    def accept(value: object) -> tuple[tuple[float, float, bool], ...] | None:
        if value is None:
            return None
        if not isinstance(value, list | tuple):
            raise Refused(f"must be a list of stages, got {got(value)}; write [(seconds, rate), ...]")
        if not value:
            raise Refused("must have a stage, got none; write [(seconds, rate), ...]")
        found = tuple(_stage(stage, at) for at, stage in enumerate(value))
        if not any(stage[0] for stage in found):
            raise Refused("must have a stage of more than 0 s; one of 0 s is an instant change of the rate")
        if sum(stage[0] for stage in found) > LONGEST_WAIT:
            raise Refused("must end within 1e9 seconds (31 years)")
        if not any(stage[1] for stage in found):
            raise Refused("must have a stage with a rate above 0")
        return found

    return Rule("list of stages or None", accept)


def _stage(stage: object, at: int) -> tuple[float, float, bool]:
    if isinstance(stage, Mapping):
        strange = set(stage) - {"duration", "rate", "step"}
        if strange or not {"duration", "rate"} <= set(stage):
            raise Refused(f"stage {at} must have 'duration' and 'rate', and may have 'step', got {got(dict(stage))}")
        duration, speed, step = stage["duration"], stage["rate"], stage.get("step", False)
        if not isinstance(step, bool):
            raise Refused(f"stage {at} has a 'step' that must be True or False, got {got(step)}")
    elif isinstance(stage, tuple | list) and len(stage) == 2:
        (duration, speed), step = stage, False
    else:
        raise Refused(f"stage {at} must be (seconds, rate) or a dict, got {got(stage)}")
    if isinstance(speed, numbers.Real) and not isinstance(speed, bool) and speed == 0:
        return _within(seconds("a stage lasts seconds", least=0), duration, f"stage {at}: its duration"), 0.0, step
    try:
        checked = rate().accept(speed)
    except Refused as refusal:
        raise Refused(f"stage {at}: its rate {refusal}") from None
    if checked is None:
        raise Refused(f"stage {at}: its rate must be a number, got None")
    return _within(seconds("a stage lasts seconds", least=0), duration, f"stage {at}: its duration"), checked, step
