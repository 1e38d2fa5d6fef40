"""What a verbose run says of itself at the end, after the block of 1.x: outcomes, times, first failures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from worker_dispatcher.records import OK, Ledger

__all__ = ["summary_lines", "worker_lines"]

_SHARES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
_FAILURES = 3  # that are shown in words
_LONGEST = 160  # characters of a failure's message


def summary_lines(ledger: Ledger) -> list[str]:
    """Nothing for a run without a task; else one line of outcomes, one or two of times, and the first failures."""
    counts = {name: count for name, count in ledger.counts().items() if count}
    if not counts:
        return []
    lines = ["Outcomes: " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())]
    rows = [task_id - 1 for task_id in ledger.started_ids()]
    if rows:
        lines.append("Time per task: " + _percentiles([ledger.ended[at] - ledger.started[at] for at in rows]))
    if rows and ledger.due:
        lines.append("From due time: " + _percentiles([ledger.ended[at] - ledger.due[at] for at in rows]))
    return [*lines, *_failure_lines(ledger), ""]


def _percentiles(values: list[float]) -> str:
    """By nearest rank: each an observed value."""
    values.sort()
    return ", ".join(f"{name} {_length(values[math.ceil(share * len(values)) - 1])}" for name, share in _SHARES)


def _length(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds < 1000 else f"{seconds:.0f} s"
    return f"{seconds * 1e6:.3g} us"


def _failure_lines(ledger: Ledger) -> Iterator[str]:
    failed = [task_id for task_id in sorted(ledger.failures) if ledger.status[task_id - 1] != OK]
    alike = Counter(ledger.failures[task_id].type for task_id in failed)
    firsts = list({ledger.failures[task_id].type: task_id for task_id in reversed(failed)}.values())[::-1]
    if firsts:
        yield "First failures:"
    for task_id in firsts[:_FAILURES]:
        failure = ledger.failures[task_id]
        more = f"  (and {alike[failure.type] - 1:,} more {failure.type})" if alike[failure.type] > 1 else ""
        yield f"  #{task_id} {failure.type}: {_one_line(failure.message)}{more}"
    if len(firsts) > _FAILURES:
        yield f"  and {len(firsts) - _FAILURES} more types; all are in get_logs()"


def _one_line(text: str) -> str:
    """A message as part of a line: whatever it holds moves no cursor and rings no bell."""
    shown = " ".join(text[: 2 * _LONGEST].split())
    plain = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in shown)
    return plain if len(plain) <= _LONGEST else plain[: _LONGEST - 3] + "..."


def worker_lines(ledger: Ledger, tasks: Sequence[int]) -> Iterator[str]:
    """Each worker's start and end, as far as tasks tell. tasks: ids of those that have a log."""
    spans: dict[int, list[float]] = {}
    for task_id in tasks:
        at = task_id - 1
        span = spans.setdefault(ledger.worker[at], [math.inf, -math.inf, 0])
        span[0], span[1] = min(span[0], ledger.started[at]), max(span[1], ledger.ended[at])
        span[2] += 1
    begun = ledger.anchor.monotonic
    for number, (first, last, count) in sorted(spans.items()):
        pid = ledger.pids.get(number)
        yield f"worker {number} (pid {pid}): {count:.0f} tasks from {first - begun:.3f} s to {last - begun:.3f} s"
