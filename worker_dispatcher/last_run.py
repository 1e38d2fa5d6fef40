"""start(), launch() and the getters; floor 6.

The only module-level state: the run that finished last, of each thread and of the process.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Never

from worker_dispatcher.config.options import Config
from worker_dispatcher.config.parse import Reading, expect_one_dict, read
from worker_dispatcher.errors import RunError
from worker_dispatcher.loaded import loaded
from worker_dispatcher.tracebacks import FewFrames

if TYPE_CHECKING:
    from worker_dispatcher.config.dicts import ConfigDict
    from worker_dispatcher.dispatch.run import Run

__tracebackhide__ = True  # see tracebacks

_last: Run | None = None  # replaced whole, never changed


class _Here(threading.local):
    """Which run was started in this thread and finished last: in a list of one, that the run can be put in where it is
    driven. It goes with its thread."""

    def __init__(self) -> None:
        self.last: list[Run] = []


_here = _Here()


def start(config: ConfigDict | Mapping[str, Any] | None = None, *others: Never, **options: Never) -> Any:
    """Run all tasks of a config and return the list of results, in task order.

    config: see README; any mapping will do. The type ConfigDict is there for editors to complete, and for type checkers
    where a config is declared to be one. Nothing else: more arguments are refused, with the dict that was meant.

    A task that did not end ok has a falsy TaskFailure in its place. Raises ConfigError (a ValueError) before
    anything starts; KeyboardInterrupt after Ctrl-C, with all that was done still in `get_logs()`; and the
    task's own exception with task.on_error 'raise'.
    Returns False in a worker process that is only loading the script: see the message it prints.
    """
    from worker_dispatcher.dispatch.interrupt import Presses

    with FewFrames(), Presses() as presses, presses.raising:
        expect_one_dict("start()", config, others, options)
        reading = read(config)
        if line := _refused_here(reading.config):
            from worker_dispatcher.dispatch.banner import print as say

            say(line, file=sys.stderr)
            return False
        return _new_run(reading).drive(partial(_set_last, _here.last)).results


def launch(
    config: ConfigDict | Mapping[str, Any] | None = None, *others: Never, keep_records: bool = True, **options: Never
) -> Run:
    """Start a run and return its handle at once; ConfigError as with `start`.

    keep_records=False: each record goes to whoever iterates the run, and is forgotten; memory does not grow with the
    tasks, which may be endless. See `Run`. What needs all records at once is refused: on_all_done, abort_on, journal,
    on_saturation 'drop'.
    Raises RunError where `start` would return False: there is nothing to hand out.
    """
    from worker_dispatcher.dispatch.interrupt import Presses

    with FewFrames(), Presses() as presses, presses.raising:
        expect_one_dict("launch()", config, others, options, ["keep_records"])
        reading = read(config)
        if line := _refused_here(reading.config):
            raise RunError(line)
        return _new_run(reading, keep_records=keep_records).launch(partial(_set_last, _here.last))


_POOL = "worker_dispatcher.pools.processes"


def _new_run(reading: Reading, *, keep_records: bool = True) -> Run:
    worker = reading.config.worker
    forks = worker.backend is None and worker.start_method in (None, "forkserver")
    if forks and (worker.use_processing or worker.parallel_processing.enabled) and _POOL not in sys.modules:
        from worker_dispatcher.osproc.starter import warm_up
        from worker_dispatcher.pools import GRID_ENTRY, WORKER_ENTRY

        # It starts while the rest of the library is loaded here.
        warm_up(GRID_ENTRY if worker.parallel_processing.enabled else WORKER_ENTRY)
    from worker_dispatcher.dispatch.run import Run

    return Run.of(reading, keep_records=keep_records)


def _set_last(of_thread: list[Run], run: Run) -> None:
    global _last
    of_thread[:] = [run]
    _last = run


def _refused_here(config: Config) -> str:
    """Why processes cannot be had: a worker is loading the module that asks for them. Empty where they can."""
    worker = loaded("worker_dispatcher.pools.protocol.loading")
    if worker is None or not worker.is_loading():
        return ""
    if not (config.worker.use_processing or config.worker.parallel_processing.enabled):
        return ""
    import traceback  # 2 ms, before the fork server can be asked for

    home = os.path.join(os.path.dirname(__file__), "")
    frames = [frame for frame in traceback.extract_stack() if not frame.filename.startswith(home)]
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "?"
    return (
        f"worker_dispatcher: start() at {place} was called while a worker process loads this module; nothing was "
        f"started. Put the call under: if __name__ == '__main__':"
    )


def last_run() -> Run | None:
    """The run that finished last of those that this thread has started; where it has started none, in this process;
    None before any."""
    return _here.last[0] if _here.last else _last


def get_results() -> list[Any]:
    """The results of the last run (of this thread, else of this process); [] before any. RunError if it kept none."""
    return run.results if (run := last_run()) else []


def get_logs() -> list[dict[str, Any]]:
    """The logs of the last run, in id order; [] before any. RunError if it kept no records."""
    return run.logs if (run := last_run()) else []


def get_dropped() -> list[dict[str, Any]]:
    """The tasks of the last run that were due while all workers were busy and never ran: task_id, scheduled_at (Unix
    seconds), interval, phase. They are in no log. [] where `on_saturation` is not 'drop'."""
    return run.dropped if (run := last_run()) else []


def get_result_info() -> dict[str, Any]:
    """Times and counts of the last run; {} before any. A new dict at each call."""
    return run.info if (run := last_run()) else {}


def get_duration() -> float | None:
    """Seconds that the last run took; None before any."""
    return run.info["duration"] if (run := last_run()) else None


def get_last_config() -> dict[str, Any]:
    """The whole config of the last run, defaults included; {} before any. A new dict at each call, but for the user's
    own values in it."""
    return run.config if (run := last_run()) else {}


def get_tps(
    logs: Any = None,
    display_intervals: bool = False,
    interval: float = 0,
    reverse_interval: bool = False,
    use_processing: bool = False,
    verbose: bool = False,
    debug: bool = False,
    **more: Any,
) -> Any:
    """The numbers of the last run, or of logs, as a dict that json.dumps takes. Times are in seconds, rates in tasks
    per second, moments Unix time.

    logs: a list as get_logs() gives it; None: of the last run. display_intervals: cut the run into intervals, too.
    interval: seconds of each, 0 to choose; reverse_interval: count them from the end. use_processing: kept for older
    programs, changes nothing. verbose, debug: print the steps.
    more: percentiles (of 100, nearest rank) and window (least seconds of a `peak_rate`).

    A task is a success if its result is true, and an HTTP response has status 200, as in 1.x; `report`, `check` and
    `compare` go by another rule. The keys:

    tps                      successes per second, from the first start (of a first attempt) to the last end
    started_at, ended_at     Unix time of the first start and of the last end
    duration                 seconds between them
    metrics                  seconds that the function took: execution_time of all tasks, success_execution_time of the
                             successes; each with avg, max and min
    count                    tasks: total, and success of them; start and end: how many began and ended, also in part;
                             invalidity: logs that could not be read, and were left out
    peak                     the best stretch of whole seconds, or interval, as a dict with the keys above; {} if none
                             beats the average
    intervals                with display_intervals: a list of such dicts
    percentiles              seconds: execution_time, and of a load response_time (from the due time to the end) and
                             queue_delay (from the due time to the start); task_time (of all attempts, where tasks were
                             retried); each with p50, p75, p90, p95, p99 and p99.9
    peak_rate                the best stretch of at least `window` seconds, wherever it begins: tps, count (successes),
                             started_at, ended_at, duration, window; {} without a success
    steady_tps               tps without the first and the last tenth of the run
    errors                   by type: count, message (the first) and task_ids (some) of the tasks that raised
    in_flight                tasks that ran at the same time: max, and mean over time
    """
    from worker_dispatcher.dispatch.banner import print as say
    from worker_dispatcher.reports.tps import get_tps as report

    given = logs
    if given is None:
        given = (run.columns or run.logs) if (run := last_run()) else []
    return report(
        given, display_intervals, interval, reverse_interval, use_processing, verbose, debug, emit=say, **more
    )
