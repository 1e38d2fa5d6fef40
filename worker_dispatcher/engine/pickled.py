"""A job as it is pickled: all that was said of it, and nothing of what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker_dispatcher.engine.job import Job

_SAID = (
    *("id", "func", "args", "kwargs", "name", "attrs", "_created", "callback", "error_callback", "_own_condition"),
    *("wait_time_delta", "timeout", "deadline", "retries", "retry_time_delta", "backoff", "retry_on", "on_upstream"),
    *("redirect_out_err", "change_dir"),
)
# Left out where nothing else was said: a third of the bytes, and of the time.
_USUAL: Mapping[str, Any] = {
    **{"callback": None, "error_callback": None, "_own_condition": None, "wait_time_delta": 0.01, "timeout": None},
    **{"retries": 0, "retry_time_delta": 0.0, "backoff": None, "retry_on": Exception, "deadline": None},
    **{"redirect_out_err": False, "change_dir": False, "on_upstream": "cancel"},
}


def state_of(job: Job) -> dict[str, Any]:
    """By the names of its attributes; without those that its kind says are not to be kept."""
    state = {name: getattr(job, name) for name in _SAID}
    for name, value in _USUAL.items():
        if type(state[name]) is type(value) and state[name] == value:
            del state[name]
    state |= {name: value for name, value in job.__dict__.items() if name not in ("stream", *job.unkept)}
    return state | {"priority": job.entry.priority, "uses": job.entry.uses}


def give_state(job: Job, state: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
    """Set what was said of a job that has no attributes yet; (its priority, the slots that it takes)."""
    left = {**_USUAL, **dict.fromkeys(job.unkept), **state}
    priority, uses = left.pop("priority"), left.pop("uses")
    for name, value in left.items():
        setattr(job, name, value)
    return priority, uses
