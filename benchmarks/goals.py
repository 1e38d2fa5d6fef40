"""What a row is to reach, as data, and whether a run reached it.

A goal that compares is judged within one run. What had to be left out (a rival that is not installed) leaves it open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.harness import Case, Standing

BEST = "the best rival"
RIVALS = ("default", "tuned")


@dataclass(frozen=True)
class Goal:
    """A bound of a median (at_most or at_least), or how many times better than somebody (times, than).

    figure: None is the headline of the case, 'peak_mb' the memory; by: the contestant that is to reach it;
    than: BEST or the label of a contestant
    """

    figure: str | None = None
    at_most: float | None = None
    at_least: float | None = None
    times: float | None = None
    than: str = BEST
    by: str = "worker_dispatcher"

    def text(self, case: Case) -> str:
        if self.times is not None:
            return f"{self.figure or case.headline}: {self.times:g}x {self.than}"
        sign, bound = ("<=", self.at_most) if self.at_most is not None else (">=", self.at_least)
        return f"{self.figure or case.headline} {sign} {bound:g}"

    def higher_is_better(self, case: Case) -> bool:
        return case.higher_is_better if self.times is not None else self.at_least is not None


def judged(goal: Goal, case: Case, standings: Sequence[Standing]) -> dict[str, Any]:
    """The goal in words, what was reached (None: not measured), and how we stand to the best rival and to the floor."""
    figure, higher = goal.figure or case.headline, goal.higher_is_better(case)
    ours = next((one for one in standings if one.contestant.label == goal.by), None)
    rival = best(standings, RIVALS, figure, higher)
    to_rival, to_floor = (
        advantage(ours, other, figure, higher) for other in (rival, best(standings, ("floor",), figure, higher))
    )
    if goal.times is None:
        value = ours.figure(figure) if ours else None
    elif goal.than == BEST:
        value = to_rival
    else:
        other = next((one for one in standings if one.contestant.label == goal.than), None)
        value = advantage(ours, other, figure, higher)
    return {
        "by": goal.by,
        "goal": goal.text(case),
        "value": value,
        "met": None if value is None else _meets(goal, value),
        "best_rival": rival.contestant.label if rival else None,
        "to_best_rival": to_rival,
        "to_floor": to_floor,
    }


def best(standings: Sequence[Standing], kinds: Sequence[str], figure: str, higher: bool) -> Standing | None:
    """The best of these kinds that has the figure."""
    able = {one.figure(figure): one for one in standings if one.contestant.kind in kinds}
    able.pop(None, None)
    return able[(max if higher else min)(able)] if able else None


def advantage(ours: Standing | None, other: Standing | None, figure: str, higher: bool) -> float | None:
    """How many times better our median is; None where there is nothing to divide."""
    a, b = (one.figure(figure) if one else None for one in (ours, other))
    if a is None or b is None or a <= 0 or b <= 0:
        return None
    return a / b if higher else b / a


def _meets(goal: Goal, value: float) -> bool:
    if goal.at_most is not None:
        return value <= goal.at_most
    bound = goal.at_least if goal.times is None else goal.times
    return bound is not None and value >= bound


def goal_table(answers: Sequence[dict[str, Any]]) -> str:
    """One line for each goal of these rows, as run_row gives them."""
    lines = [f"{'row':<15}{'case':<26}{'goal':<50}{'value':>9}  {'':<6}{'to best rival':<45}{'to floor':>8}"]
    for answer in answers:
        for case in answer["cases"]:
            for one in case["goal"]:
                by = one["by"].removeprefix("worker_dispatcher").strip()
                words = one["goal"] + (f" ({by})" if by else "")
                value = "-" if one["value"] is None else f"{one['value']:.4g}"
                met = {True: "met", False: "MISSED", None: "open"}[one["met"]]
                rival = f"{one['to_best_rival']:.2f}x {one['best_rival']}" if one["to_best_rival"] else "-"
                floor = f"{one['to_floor']:.2f}x" if one["to_floor"] else "-"
                lines.append(
                    f"{answer['row']:<15}{case['case']:<26}{words:<50}{value:>9}  {met:<7}{rival:<45}{floor:>8}"
                )
    return "\n".join(lines)
