"""How a function of the user wants to be called; floor 0.

A room of its own, because it travels with the function: a worker that loads it loads no config with it.
"""

from __future__ import annotations

from worker_dispatcher.named_tuple import NamedTuple

STATE_NAME = "worker_state"  # what worker.init has returned, for functions that name it


class CallStyle(NamedTuple):
    """positional: call with the subject alone, unnamed; otherwise call with exactly `names`, by keyword."""

    positional: bool = False
    names: tuple[str, ...] = ()
