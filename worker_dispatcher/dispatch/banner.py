"""What a run says on the terminal: the one place of the library that prints."""

from __future__ import annotations

import builtins
import io
import sys
from collections.abc import Iterable
from typing import Any

from worker_dispatcher.clock import Anchor
from worker_dispatcher.config.options import Config
from worker_dispatcher.dispatch.failures import goes_on_from
from worker_dispatcher.dispatch.load import NO_CAP, Growing, Paced
from worker_dispatcher.dispatch.plan import Plan
from worker_dispatcher.dispatch.summary import summary_lines, worker_lines
from worker_dispatcher.osproc.cores import usable_cores
from worker_dispatcher.osproc.system import columns_of
from worker_dispatcher.records import Records
from worker_dispatcher.tracebacks import own


def print(*values: object, file: Any = None, **options: Any) -> None:
    """The builtin print, flushed at once. An output that is closed, missing or full is no error: nothing of this stays
    in its buffer either, where it would fail the whole program at its end (exit code 120)."""
    options.setdefault("flush", True)
    stream = sys.stdout if file is None else file
    try:
        try:
            _print(values, stream, options)
        except UnicodeEncodeError:  # a ValueError too, but somebody is listening
            _print(map(_in_ascii, values), stream, options)
    except own(OSError, ValueError, AttributeError):
        pass  # nobody is listening


def _print(values: Iterable[object], stream: Any, options: dict[str, Any]) -> None:
    if type(stream) is not io.TextIOWrapper or not isinstance(stream.buffer, io.BufferedWriter):
        builtins.print(*values, file=stream, **options)
        return
    builtins.print(*values, file=(text := io.StringIO()), **options)
    data = memoryview(text.getvalue().encode(stream.encoding, stream.errors or "strict"))
    stream.flush()
    while data:
        if (taken := stream.buffer.raw.write(data)) is None:  # it waits for nobody, and has no room now
            stream.buffer.write(data)
            break
        data = data[taken:]


def _in_ascii(value: object) -> str:
    plain = str(value).translate(str.maketrans("├─└│", "|-`|"))
    return plain.encode("ascii", "backslashreplace").decode()


class Banner:
    """The block before and after a run, as 1.x shows it. done_before: how many tasks a journal has; None: it is new."""

    done_before: int | None = None

    def __init__(self, config: Config, plan: Plan, anchor: Anchor) -> None:
        self._config, self._plan, self._anchor = config, plan, anchor

    def opening(self) -> None:
        if self._config.verbose:
            for line in self._opening_lines():
                print(line)
        if self._config.debug:
            print(f"[debug] {self._plan_line()}")

    def _plan_line(self) -> str:
        plan, task = self._plan, self._config.task
        return (
            f"shape={plan.shape.name} slots={plan.slots} method={plan.method} "
            f"function={getattr(task.function, '__qualname__', type(task.function).__name__)} "
            f"config={type(task.config).__name__} list={type(task.list).__name__}"
        )

    def _opening_lines(self) -> list[str]:
        config, plan = self._config, self._plan
        parallel = plan.shape.has_processes and plan.shape.has_threads and plan.lender is None and plan.cluster is None
        runtime = "Unlimited" if config.runtime is None else f"{float(config.runtime)} sec"
        # Without a cap the plan allows more than any machine gives: how many there will be is not known.
        uncapped = plan.load is not None and plan.workers == NO_CAP
        total = "On Demand" if uncapped else str(plan.workers)
        if plan.cluster is not None:
            total = str(config.worker.number or "All")
        main = str(len(plan.slots)) if parallel else total
        each = (str(size) for size in dict.fromkeys((min(plan.slots), max(plan.slots))))
        sub = "On Demand" if uncapped else "-".join(each)
        queue = "On" if config.worker.parallel_processing.use_queue else "Off"
        structure = [
            "  ├─ Pool Structure:",
            f"  │  └─ Main Pool : {main} {plan.shape.unit}",
            *([f"  │     └─ Sub Pool : {sub} Thread(s)"] if parallel else []),
        ]
        if plan.cluster is not None:
            structure = [f"  ├─ Cluster: Dask at {plan.cluster.address or 'this machine'}"]
        lines = [
            "",
            "Worker Dispatcher Configuration:",
            f"- Local CPU core: {usable_cores()}",
            f"- Tasks Count: {'Unknown' if plan.tasks is None else plan.tasks}",
            *self._journal_lines(),
            f"- Runtime: {runtime}",
            *self._mode_lines(),
            "- Concurrency Info:",
            f"  ├─ Execution Type: {plan.shape.title}",
            *([f"  ├─ Task Queue: {queue}"] if parallel else []),
            f"  ├─ Configured Workers: {self._configured(total)}",
            *([f"  ├─ Worker Pool: {plan.lender.name}"] if plan.lender is not None else structure),
        ]
        grid = f" ({main}p x {sub}t)" if parallel and not uncapped else ""
        lines.append(f"  └─ Total Concurrency: {total}{grid} Active Worker(s)")
        return [*lines, "", f"--- Start to dispatch workers at {_iso(self._anchor.wall)} ---", ""]

    def _configured(self, total: str) -> str:
        """The number that the rest of the block has; another one only with the reason why it is another."""
        schedule, number = self._plan.schedule, self._config.worker.number or self._plan.number
        if str(number) == total or self._plan.cluster is not None:
            return f"{total} Worker(s)"
        if not schedule.timed:
            pool = "" if self._plan.lender is None else " or the pool has"
            return f"{number} Worker(s), but no more than tasks{pool}"
        bursts = isinstance(schedule, Paced) and isinstance(schedule.curve, Growing)
        return f"{number} Worker(s) per interval" if bursts else f"{total} Worker(s)"  # a rate goes by no number

    def _journal_lines(self) -> list[str]:
        if self.done_before is None:
            return []
        total = "" if self._plan.tasks is None else f" of {self._plan.tasks}"
        return [f"- Journal: {self.done_before}{total} tasks are done already"]

    def _mode_lines(self) -> list[str]:
        schedule, frequency, tasks = self._plan.schedule, self._config.worker.frequency_mode, self._plan.tasks
        if not schedule.timed:
            return ["- Dispatch Mode: Fixed Workers (Default)"]
        peak: object = "Unknown"
        if isinstance(schedule, Paced) and isinstance(schedule.curve, Growing) and tasks is not None:
            peak = min(schedule.curve.largest(tasks), self._plan.workers)
        return [
            "- Dispatch Mode: Frequency Mode",
            f"  ├─ Interval Seconds: {frequency.interval:g}",
            *self._load_lines(),
            f"  ├─ Accumulated Workers: {frequency.accumulated_workers}",
            "  └─ Max Concurrency:",
            f"     ├─ Configured Max Workers: {frequency.max_workers}",
            f"     └─ Estimated Peak: {peak}",
        ]

    def _load_lines(self) -> list[str]:
        """What 1.x does not know, where it was given."""
        frequency = self._config.worker.frequency_mode
        pacing = "trace" if isinstance(frequency.pacing, tuple) else frequency.pacing
        stages = frequency.stages and " ".join(f"{duration:g}s:{rate:g}/s" for duration, rate, _ in frequency.stages)
        rate = frequency.rate and f"{frequency.rate:g}/s"
        duration = frequency.duration and f"{frequency.duration:g} sec"
        known = {"Rate": rate, "Stages": stages, "Pacing": pacing, "Duration": duration}
        return [f"  ├─ {name}: {value}" for name, value in known.items() if value]

    def closing(self, info: dict[str, Any], wall: float, records: Records) -> None:
        if self._config.debug and records.keeps:
            for line in worker_lines(records, list(records.started_ids())):
                print(f"[debug] {line}")
        if not self._config.verbose:
            return
        counts = info["counts"]
        done = counts["ok"] + counts["error"] + counts["timeout"] + counts["crashed"]
        for line in (
            "",
            f"--- End of worker dispatch at {_iso(wall)}---",
            "",
            f"Spend Time: {info['duration']:.6f} sec",
            f"Completed Tasks Count: {done}",
            f"Uncompleted Tasks Count: {counts['cancelled']}",
            f"Undispatched Tasks Count: {counts['not_run'] + counts['dropped']}",
            *([f"Taken from the journal: {records.resumed} of {len(records)}"] if records.resumed else []),
            *([f"Stopped early: {info['stopped']}{self._goes_on(info)}"] if info["stopped"] else []),
            "",
            *summary_lines(records, info, columns_of(sys.stdout)),
        ):
            print(line)

    def _goes_on(self, info: dict[str, Any]) -> str:
        journal = self._config.journal
        return "" if journal is None or info["stopped"] == "journal" else f"; {goes_on_from(journal)}"


def _iso(wall: float) -> str:
    from datetime import UTC, datetime  # a quiet run does without

    return datetime.fromtimestamp(wall, UTC).astimezone().isoformat()
