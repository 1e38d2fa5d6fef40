"""What may be said of an engine and of a job, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from worker_dispatcher.errors import ConfigError
from worker_dispatcher.workpool.settings import Settings, seconds, settings_of, whole


@dataclass
class EngineSetting:
    """max_thread_jobs, max_process_jobs, max_dask_jobs, max_jobs: how many may run at once; None or 0: no limit.
    cache_type: 'none', or 'disk' (also 'diskcache'): the jobs are kept in a file, jobs.sqlite, in the folder of the
    engine. cache_path: that folder; None: .executor/<id of the engine>, made when it is first needed.
    print_traceback: what jobs raise is logged. kwargs_inject_key: a function that has a variable of this name gets the
    engine as argument of that name. on_exit: what the end of a `with` block does: 'wait' for all jobs but endless ones,
    'cancel' what has not ended, or 'detach': leave at once. exit_timeout: seconds to wait, then the rest is cancelled.
    """

    max_thread_jobs: int | None = None
    max_process_jobs: int | None = None
    max_dask_jobs: int | None = None
    max_jobs: int | None = 20
    cache_type: str = "none"
    cache_path: str | None = None
    print_traceback: bool = True
    kwargs_inject_key: str = "__engine__"
    on_exit: str = "wait"
    exit_timeout: float | None = None

    def check(self) -> None:
        """Raises ConfigError, with all that is wrong."""
        problems: list[tuple[str, str]] = []
        for name in ("max_thread_jobs", "max_process_jobs", "max_dask_jobs", "max_jobs"):
            value = getattr(self, name)
            if value is not None and (text := whole(value, 0)) is not None:
                problems.append((name, text))
        for name, known in (("cache_type", ("none", "disk", "diskcache")), ("on_exit", ("wait", "cancel", "detach"))):
            if getattr(self, name) not in known:
                expected = " or ".join(repr(one) for one in known)
                problems.append((name, f"expected {expected}, got {getattr(self, name)!r}"))
        if self.exit_timeout is not None and (text := seconds(self.exit_timeout, zero=True)) is not None:
            problems.append(("exit_timeout", text))
        if problems:
            raise ConfigError(problems, "EngineSetting()")


def check_job(
    kind: str,
    retries: Any,
    retry_time_delta: Any,
    condition: Any,
    wait_time_delta: Any,
    timeout: Any,
    deadline: Any,
    backoff: Any,
    retry_on: Any,
    priority: Any,
    on_upstream: Any,
) -> None:
    """Raises ConfigError with all that is wrong with what was said of a job."""
    others: dict[str, str | None] = {}
    for name, value in (("retry_time_delta", retry_time_delta), ("wait_time_delta", wait_time_delta)):
        others[name] = seconds(value, zero=True)
    if isinstance(condition, type):
        others["condition"] = (
            f"expected a Condition, got the class {condition.__name__}; make one: {condition.__name__}(...)"
        )
    elif condition is not None and not callable(getattr(condition, "satisfy", None)):
        others["condition"] = f"expected a Condition, got {condition!r}"
    if on_upstream not in ("cancel", "run", "fail"):
        others["on_upstream"] = f"expected 'cancel', 'run' or 'fail', got {on_upstream!r}"
    own = {"retries": retries, "timeout": timeout, "deadline": deadline, "retry_on": retry_on, "priority": priority}
    settings_of(f"{kind}()", Settings(), own if backoff is None else {**own, "backoff": backoff}, others, ())
