"""What is kept of a result where nobody will read it whole: a text to show, and whether it was a success."""

from __future__ import annotations

import json
from typing import Any

from worker_dispatcher.reports.safe_text import shown
from worker_dispatcher.reports.verdict import Kept

_PLAIN = (type(None), bool, int, float)
_SHORT, _LONG = 1_000, 10_000  # characters of a text that stands for a result: in tables, in a log


def brief(result: Any) -> Any:
    """As `on_done`: a result as tables show it, whatever it weighs."""
    if type(result) in _PLAIN or (type(result) is str and len(result) <= _SHORT):
        return result
    return _kept(result, _SHORT)


def for_json(result: Any) -> Any:
    """As `on_done`: a result as a log holds it, as JSON where it is long. What JSON cannot hold is a text there."""
    if type(result) in _PLAIN or (type(result) is str and len(result) <= _SHORT):
        return result
    try:
        text = json.dumps(result, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return _kept(result, _LONG)
    return result if len(text) <= _SHORT else _kept(result, _SHORT, text)


def _kept(result: Any, limit: int, json: str | None = None) -> Kept:
    if type(result) is Kept:
        return result
    # Cut first: the repr of many bytes takes a while.
    return Kept(result, shown(result[:limit] if type(result) in (str, bytes) else result, limit), json)
