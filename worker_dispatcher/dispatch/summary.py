"""What a verbose run says of itself at the end, after the block of 1.x: outcomes, times, rate, first failures.

    done in 5.28 s (310 ms until workers began)   ok 197   failed 3   p50 180 ms  p95 420 ms  p99 1.10 s   37.9 tasks/s
    first failures
      #17  'ORD_KL502'  ConnectTimeout: host took more than 5 s  sizes.py:9
      #88  'ORD_ZZ001'  ValueError: no such order                sizes.py:11  (+1 like it)

Of a task only its input is shown, where the records have that as text, and what its exception says.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worker_dispatcher.records import CRASHED, ERROR, OK, RESUMED, TIMEOUT, Records, phase_of
from worker_dispatcher.reports.verdict import Tally, successes
from worker_dispatcher.units import counted, rate_text, round_seconds_text, seconds_text

_SHARES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
_PEAK_FROM = 2.0  # seconds of a run that has a peak: it is over 1 s at least, and numpy takes 0.1 s to load
_START_FROM = 0.01, 0.05  # seconds, and share of the run, from which on its start is worth a word
_FAILURES = 3  # that are shown in words
_LONGEST = 100  # characters of a failure
_INPUT = 40  # of a failed task's input
_SHORTEST = 24  # of one that is cut to the width of the terminal


def summary_lines(records: Records, info: Mapping[str, Any], width: int | None = None) -> list[str]:
    """Nothing for a run without a task; no times and failures where no records are kept. info: as `Run.info`, without
    its lists of ids; width: columns of the terminal, None elsewhere."""
    if not len(records):
        return []
    rows = _measured(records) if records.keeps else []
    parts = [
        f"{'stopped after' if info['stopped'] else 'done in'} {seconds_text(info['duration'])}"
        + _start_words(records, rows, info),
        *_count_texts(info["counts"], Tally(records).count(), records.resumed),
    ]
    if records.retries:
        parts.append(f"retries {records.retries:,} (of {counted(records.retried, 'task')})")
    if not records.keeps:
        return [*_folded(parts, width), ""]
    lines: list[str] = []
    if rows:
        of = "last attempts " if records.retries else ""
        parts.append(of + _percentiles([records.ended[at] - records.started[at] for at in rows]))
        parts.append(_rates(records, rows, info.get("load") or {}))
    if rows and records.due:
        due = _percentiles([records.ended[at] - records.due[at] for at in rows])
        lines = list(_folded(("from due time", due), width))
    return [*_folded(parts, width), *lines, *_failure_lines(records, width), ""]


def _folded(parts: Sequence[str], width: int | None) -> Iterator[str]:
    """On one line, or on as many as it takes to tear no part at the end of a row."""
    line = parts[0]
    for part in parts[1:]:
        if width is not None and len(line) + 3 + len(part) > width:
            yield line
            line = f"  {part}"
        else:
            line += f"   {part}"
    yield line


def _start_words(records: Records, rows: Sequence[int], info: Mapping[str, Any]) -> str:
    """How much of a run it took until a task began: to start processes, and what worker.init does. Of a load nobody
    waits for it, for its time begins then."""
    if not rows or records.due:
        return ""
    took = _first_start(records, rows) - records.anchor.monotonic
    least, share = _START_FROM
    if took < max(least, share * info["duration"]):
        return ""
    return f" ({seconds_text(took)} until workers began)"


def _first_start(records: Records, rows: Sequence[int]) -> float:
    """When the first of them began, with its first attempt (monotonic)."""
    first, own = min(records.started[at] for at in rows), set(rows) if records.earlier else ()
    return min([first, *(times[0] for task_id, times in records.earlier.items() if task_id - 1 in own)])


def _measured(records: Records) -> list[int]:
    """Places of the tasks that a report measures too: that began in this run, in the main phase of a load."""
    rows = [task_id - 1 for task_id in records.started_ids() if records.worker[task_id - 1] != RESUMED]
    if not records.due:
        return rows
    bounds = records.measured_from, records.measured_until
    return [at for at in rows if phase_of(records.due[at], *bounds) == "main"]


def _count_texts(counts: Mapping[str, int], without: int, resumed: int) -> Iterator[str]:
    """ok and failed always; what else became of tasks where it did. without: that ended ok, and are no success."""
    kinds = [f"{counts[name]:,} {name}" for name in ("timeout", "crashed") if counts[name]]
    failed = counts["error"] + counts["timeout"] + counts["crashed"]
    yield f"ok {counts['ok'] - without:,}" + (f" ({resumed:,} from the journal)" if resumed else "")
    if without:
        yield f"no success {without:,}"
    yield f"failed {failed:,}" + (f" ({', '.join(kinds)})" if kinds else "")
    yield from (f"{name.replace('_', ' ')} {counts[name]:,}" for name in _UNFINISHED if counts[name])


_UNFINISHED = ("cancelled", "not_run", "dropped")


def _percentiles(values: list[float]) -> str:
    """By nearest rank: each an observed value."""
    values.sort()
    shown = ((name, values[math.ceil(share * len(values)) - 1]) for name, share in _SHARES)
    return "  ".join(f"{name} {seconds_text(value)}" for name, value in shown)


def _rates(records: Records, rows: Sequence[int], load: Mapping[str, Any]) -> str:
    """Successes per second, of the whole run and at best, counted as reports do: from the first start to the last end,
    in a load over its planned window and on to the last success. load: its `from` and `until`, where they are known."""
    good = successes([records.results[at] for at in rows])
    ended = [records.ended[at] for at, one in zip(rows, good, strict=True) if one and records.status[at] == OK]
    begin, until = load.get("from") or 0.0, load.get("until") or 0.0
    planned = begin < until
    if planned:
        first = records.anchor.monotonic + begin - records.anchor.wall
        duration = max([until - begin, *(at - first for at in ended)])
    else:
        duration = max(records.ended[at] for at in rows) - _first_start(records, rows)
    rate = len(ended) / duration if duration > 0 else 0
    text = rate_text(round(rate, 2)).replace("/s", " tasks/s") + (" succeeded" if len(ended) < len(rows) else "")
    if duration < _PEAK_FROM or not ended:
        return text
    from worker_dispatcher.reports.rate import notable_peak, peak_rate
    from worker_dispatcher.reports.rows import Rows

    peak = notable_peak(peak_rate(Rows.from_columns(ended, ended, [True] * len(ended))), rate, duration, planned)
    return text + (f", peak {rate_text(peak['tps'])} ({round_seconds_text(peak['duration'])} window)" if peak else "")


def _failure_lines(records: Records, width: int | None) -> Iterator[str]:
    """One line for each cause and line of code, in the order of their first tasks."""
    failed = _failed_ids(records)
    if not failed:
        return
    from worker_dispatcher.reports.failure_groups import failed_in, group_failures
    from worker_dispatcher.reports.safe_text import printable

    groups = group_failures(failed_in(records, task_id) for task_id in failed)
    yield "first failures"
    shown = groups[:_FAILURES]
    firsts = [int(group.task_ids[0]) for group in shown]
    heads = [f"#{task_id}" for task_id in firsts]
    given = [failure.input if (failure := records.failures.get(task_id)) else "" for task_id in firsts]
    inputs = [printable(one, _INPUT if width is None else width // 5) for one in given]
    spots = [printable(group.place, 40) for group in shown]
    more = [f"(+{group.count - 1:,} like it)" if group.count > 1 else "" for group in shown]
    others = sum(2 + max(map(len, column)) for column in (heads, inputs, spots, more) if any(column))
    longest = _LONGEST if width is None else max(_SHORTEST, min(_LONGEST, width - 2 - others))
    texts = [printable(_said(records, at, group.type), longest) for at, group in zip(firsts, shown, strict=True)]
    columns = [column for column in (heads, inputs, texts, spots, more) if any(column)]
    widths = [max(map(len, column)) for column in columns]
    for cells in zip(*columns, strict=True):
        yield "  " + "  ".join(cell.ljust(size) for cell, size in zip(cells, widths, strict=True)).rstrip()
    if len(groups) > _FAILURES:
        rest = len(groups) - _FAILURES
        yield f"  and {rest} more kind{'s' if rest > 1 else ''}; all are in get_logs()"


def _failed_ids(records: Records) -> list[int]:
    """In order: those that failed, and those that ended ok and are no success."""
    failed = [task_id for task_id in records.failures if records.status[task_id - 1] in (ERROR, TIMEOUT, CRASHED)]
    refused = itertools.compress(itertools.count(1), map(operator.not_, successes(records.results)))
    return sorted([*failed, *(task_id for task_id in refused if records.status[task_id - 1] == OK)])


def _said(records: Records, task_id: int, kind: str) -> str:
    """On one line, without needless space."""
    if (failure := records.failures.get(task_id)) is None:
        return kind
    return f"{kind}: {' '.join(failure.message[: 2 * _LONGEST].split())}"


def worker_lines(records: Records, tasks: Sequence[int]) -> Iterator[str]:
    """Each worker's start and end, as far as tasks tell. tasks: ids of those that have a log."""
    spans: dict[int, list[float]] = {}
    for task_id in tasks:
        at = task_id - 1
        if records.worker[at] == RESUMED:
            continue
        span = spans.setdefault(records.worker[at], [math.inf, -math.inf, 0])
        span[0], span[1] = min(span[0], records.started[at]), max(span[1], records.ended[at])
        span[2] += 1
    begun = records.anchor.monotonic
    for number, (first, last, count) in sorted(spans.items()):
        pid = records.pids.get(number)
        yield f"worker {number} (pid {pid}): {count:.0f} tasks from {first - begun:.3f} s to {last - begun:.3f} s"
