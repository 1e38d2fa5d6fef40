"""What jobs are called."""

from __future__ import annotations

import functools
import itertools
import os
import uuid
from typing import Any

_ids = itertools.count(1)
_prefix = uuid.uuid4().hex[:16]


def new_id() -> str:
    """Unlike any other, here and elsewhere; a random one for each would take as long as all the rest of a job."""
    return f"{_prefix}-{next(_ids)}"


def _renew_prefix() -> None:
    global _prefix
    _prefix = uuid.uuid4().hex[:16]


os.register_at_fork(after_in_child=_renew_prefix)


def name_of(function: Any) -> str:
    """What a callable is called, whatever it is."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", None) or type(function).__name__
