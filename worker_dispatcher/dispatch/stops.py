"""Why a run may end early, and what is said of the tasks that were running then."""

from __future__ import annotations

from worker_dispatcher.records import CANCELLED, Failure

__all__ = ["cut_short", "goes_on_from"]

_TYPES = {"runtime": "RuntimeLimit", "interrupt": "Interrupted"}  # any other: RunStopped
_TEXTS = {
    "runtime": "was running when the runtime of the run was over",
    "interrupt": "was running when the run was interrupted",
    "failures": "was running when the run was stopped because other tasks had failed",
    "exception": "was running when an exception ended the run",
    "cancel": "was running when the run was cancelled",
    "abort": "was running when a check of abort_on came true",
    "journal": "was running when the run was stopped because its journal could not be used any further",
}


def cut_short(why: str) -> Failure:
    """What became of a task that ran when its run ended early."""
    return Failure(_TYPES.get(why, "RunStopped"), f"the task {_TEXTS[why]}", status=CANCELLED)


def goes_on_from(journal: str) -> str:
    """What to do after a run with a journal has ended early."""
    return f"{journal} has what was done: run it again to go on"
