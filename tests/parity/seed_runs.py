"""Short ways to speak of a run, for the tests of the faults of 1.x."""

from __future__ import annotations

import pytest

import worker_dispatcher

quiet_failures = pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")


def task_ids() -> list[int]:
    return [log["task_id"] for log in worker_dispatcher.get_logs()]
