"""When a task counts as a success in rates and error rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["result_is_success", "row_is_success", "successes"]

# HTTP responses by (top module, class): where the status is and which statuses are a success. They are recognised by
# name, because importing the libraries only to ask isinstance would cost every user tens of milliseconds.
_HTTP: Mapping[tuple[str, str], tuple[str, range]] = {
    ("requests", "Response"): ("status_code", range(200, 201)),
    ("httpx", "Response"): ("status_code", range(200, 300)),
    ("aiohttp", "ClientResponse"): ("status", range(200, 300)),
}

_PLAIN = {bool, type(None), int, float, str, bytes, dict, list, tuple, set}  # their bool() is nobody's code


def result_is_success(result: object) -> bool:
    """True if `result` is truthy and, where it is an HTTP response, its status is a success.

    requests.Response: exactly 200; httpx.Response and aiohttp.ClientResponse: 200 to 299. Subclasses count.
    A result whose bool() raises, such as an array of several numbers, is there, so it is a success.
    """
    return _accepted(result, _http_rule(type(result)))


def row_is_success(log: Mapping[str, Any]) -> bool:
    """The same for a row of a run's logs: its status, if it has one, must be 'ok' as well."""
    return log.get("status", "ok") == "ok" and result_is_success(log.get("result"))


def successes(results: Sequence[object]) -> list[bool]:
    """result_is_success of each, in order. About 0.02 us a plain value, 0.1 us another object, 0.3 us a response."""
    kinds = set(map(type, results))
    if kinds <= _PLAIN:
        return list(map(bool, results))
    rules = {kind: _http_rule(kind) for kind in kinds}
    if not any(rules.values()):
        return list(map(_is_truthy, results))
    return [_accepted(result, rules[type(result)]) for result in results]


def _http_rule(kind: type) -> tuple[str, range] | None:
    for base in kind.__mro__:
        rule = _HTTP.get((str(base.__module__).partition(".")[0], base.__name__))
        if rule is not None:
            return rule
    return None


def _accepted(result: object, rule: tuple[str, range] | None) -> bool:
    return _is_truthy(result) and (rule is None or _status_is_in(result, *rule))


def _status_is_in(response: object, attribute: str, accepted: range) -> bool:
    try:
        return getattr(response, attribute) in accepted
    except Exception:  # a subclass may compute its status; a response without one has not succeeded
        return False


def _is_truthy(result: object) -> bool:
    # bool() is the user's code: this is the one call of it, so that one place guards it.
    try:
        return bool(result)
    except Exception:
        return True
