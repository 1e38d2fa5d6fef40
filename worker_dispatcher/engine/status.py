"""What may become of a job: one table, and nothing else moves one."""

from __future__ import annotations

from collections.abc import Mapping

CREATED, PENDING, RUNNING, DONE, FAILED, CANCELLED = STATUSES = (
    *("created", "pending", "running"),
    *("done", "failed", "cancelled"),
)
FINAL = frozenset({DONE, FAILED, CANCELLED})

# What happens to a job.
SUBMIT, BEGIN, RETURN, RETRY, GIVE_UP, REVOKE = ("submit", "begin", "return", "retry", "give up", "revoke")

MOVES: Mapping[tuple[str, str], str] = {
    (CREATED, SUBMIT): PENDING,
    **{(status, SUBMIT): PENDING for status in FINAL},  # again
    (PENDING, BEGIN): RUNNING,
    (PENDING, GIVE_UP): FAILED,  # its deadline, or what it needs has failed
    (PENDING, REVOKE): CANCELLED,
    (RUNNING, RETURN): DONE,
    (RUNNING, RETRY): PENDING,
    (RUNNING, GIVE_UP): FAILED,
    (RUNNING, REVOKE): CANCELLED,
}
