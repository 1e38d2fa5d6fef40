"""When a task counts as a success in rates and error rates: our rule, and that of 1.x, which get_tps keeps.

ours   it ended ok, did not return False, and did not return an HTTP response of status 400 or more
1.x    what it returned is true, and an HTTP response has exactly the status 200 (requests) or 200 to 299
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

from worker_dispatcher.records import Records
from worker_dispatcher.tracebacks import own

NO_SUCCESS = "no_success"
"""The key under which a saved log keeps why it is no success: its result is only a text there."""

# HTTP responses by (top module, class): where the status is, and which are a success in 1.x. They are recognised by
# name, because importing the libraries only to ask isinstance would cost every user tens of milliseconds.
_HTTP: Mapping[tuple[str, str], tuple[str, range]] = {
    ("requests", "Response"): ("status_code", range(200, 201)),
    ("httpx", "Response"): ("status_code", range(200, 300)),
    ("aiohttp", "ClientResponse"): ("status", range(200, 300)),
}
_NUMPY_BOOLS = {("numpy", "bool"), ("numpy", "bool_")}  # what a comparison of two numbers of an array gives

_PLAIN = {bool, type(None), int, float, str, bytes, dict, list, tuple, set}  # their bool() is nobody's code

_Cause = Callable[[Any], str]


class Kept:
    """Stands for a result that is not kept whole. text: its repr; no_success, true: what our rule and that of 1.x have
    said of it; json: the whole of it as JSON, or what reads that from where it is kept, or None."""

    __slots__ = ("json", "no_success", "text", "true")

    def __init__(self, result: object, text: str, json: str | None = None) -> None:
        self.text, self.no_success, self.true = text, no_success(result), result_is_success(result)
        self.json: str | Callable[[], str] | None = json

    def whole(self) -> str:
        """`json` as it was; '' for None."""
        return self.json() if callable(self.json) else self.json or ""

    def __bool__(self) -> bool:
        return self.true

    def __repr__(self) -> str:
        return self.text


def no_success(result: object) -> str:
    """Why a result is no success: 'returned False', 'HTTP 503'; '' for all others, None and empty lists among them.

    A response is one of requests, httpx or aiohttp, subclasses included; bool() of no other object is asked for.
    """
    cause = _cause_for(type(result))
    return "" if cause is None else cause(result)


def successes(results: Sequence[object]) -> list[bool]:
    """Which of them are a success. About 0.02 us a plain value, 0.1 us another object, 0.3 us a response."""
    causes = {kind: cause for kind in set(map(type, results)) if (cause := _cause_for(kind)) is not None}
    if not causes:
        return [True] * len(results)
    if set(causes) == {bool}:
        return [result is not False for result in results]
    return [(cause := causes.get(type(result))) is None or not cause(result) for result in results]


def cause_of_log(log: Mapping[str, Any]) -> str:
    """Why a log that ended ok is no success; '' for a success, and for a log that did not end ok."""
    if log.get("status", "ok") != "ok":
        return ""
    saved = log.get(NO_SUCCESS)
    return saved if isinstance(saved, str) and saved else no_success(log.get("result"))


def row_is_success(log: Mapping[str, Any]) -> bool:
    """True if the log has a result, ended ok, and nothing speaks against the result."""
    return "result" in log and log.get("status", "ok") == "ok" and not cause_of_log(log)


def _cause_for(kind: type) -> _Cause | None:
    """What says why a result of this type is no success; None for a type whose results all are."""
    if kind in _PLAIN:
        return _cause_of_bool if kind is bool else None
    if kind is Kept:
        return attrgetter("no_success")
    if (kind.__module__, kind.__name__) in _NUMPY_BOOLS:
        return _cause_of_bool
    rule = _http_rule(kind)
    return None if rule is None else partial(_cause_of_response, attribute=rule[0])


def _cause_of_bool(result: object) -> str:
    return "" if result else "returned False"


def _cause_of_response(response: object, attribute: str) -> str:
    try:
        status = int(getattr(response, attribute))
    except own(Exception):  # a subclass may compute its status; a response without one has not been answered
        return "HTTP without a status"
    return f"HTTP {status}" if status >= 400 else ""


def _http_rule(kind: type) -> tuple[str, range] | None:
    for base in kind.__mro__:
        rule = _HTTP.get((str(base.__module__).partition(".")[0], base.__name__))
        if rule is not None:
            return rule
    return None


def result_is_success(result: object) -> bool:
    """The rule of 1.x: True if `result` is truthy and, where it is an HTTP response, its status is a success.

    requests.Response: exactly 200; httpx.Response and aiohttp.ClientResponse: 200 to 299. Subclasses count.
    A result whose bool() raises, such as an array of several numbers, is there, so it is a success.
    """
    return _accepted(result, _http_rule(type(result)))


def row_is_success_in_1x(log: Mapping[str, Any]) -> bool:
    """result_is_success for a log: its status, if it has one, must be 'ok' as well."""
    return log.get("status", "ok") == "ok" and result_is_success(log.get("result"))


def successes_in_1x(results: Sequence[object]) -> list[bool]:
    """result_is_success of each, in order. It costs what `successes` does."""
    kinds = set(map(type, results))
    if kinds <= _PLAIN:
        return list(map(bool, results))
    rules = {kind: _http_rule(kind) for kind in kinds}
    if not any(rules.values()):
        return list(map(_is_truthy, results))
    return [_accepted(result, rules[type(result)]) for result in results]


def _accepted(result: object, rule: tuple[str, range] | None) -> bool:
    return _is_truthy(result) and (rule is None or _status_is_in(result, *rule))


def _status_is_in(response: object, attribute: str, accepted: range) -> bool:
    try:
        return getattr(response, attribute) in accepted
    except own(Exception):  # a subclass may compute its status; a response without one has not succeeded
        return False


def _is_truthy(result: object) -> bool:
    # bool() is the user's code: this is the one call of it, so that one place guards it.
    try:
        return bool(result)
    except own(Exception):
        return True


_ENDED = re.compile(rb"[^\0]+")  # in the column of statuses; PENDING is 0


class Tally:
    """How many of the tasks that ended ok are no success.

    Counts when somebody asks, and only what has ended since: a task costs the driver nothing. Used by one thread.
    """

    def __init__(self, records: Records) -> None:
        self._records, self._found, self._reached = records, 0, 0
        self._open: list[tuple[int, int]] = []  # from where to where tasks had not ended when last looked at

    def count(self) -> int:
        """All so far. Cost: as `successes`, of what is new, and a look at each run of tasks that had not ended."""
        if not self._records.keeps:
            return self._records.without_success
        status, results = self._records.status, self._records.results
        spans, self._open = [*self._open, (self._reached, len(status))], []
        self._reached = len(status)
        for at, end in spans:
            for low, high in [found.span() for found in _ENDED.finditer(status, at, end)]:
                self._found += successes(results[low:high]).count(False)  # a TaskFailure is not among them
                if at < low:
                    self._open.append((at, low))
                at = high
            if at < end:
                self._open.append((at, end))
        return self._found
