"""When a result counts as a success."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import requests

from worker_dispatcher.reports.verdict import (
    cause_of_log,
    no_success,
    result_is_success,
    row_is_success,
    row_is_success_in_1x,
    successes,
    successes_in_1x,
)


def made_up(module: str, name: str, **attributes: Any) -> Any:
    """An object of a class that looks, by its names, as if it came from an HTTP library."""
    return type(name, (), {"__module__": module, **attributes})()


def response(status: int | None) -> requests.Response:
    made = requests.Response()
    made.status_code = status  # type: ignore[assignment]
    return made


class Session(requests.Response):
    """A user's own subclass."""


class Raises:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __bool__(self) -> bool:
        raise self.error


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (True, True),
        ({"a": 1}, True),
        ("no", True),
        (0.1, True),
        (False, False),
        (None, False),
        (0, False),
        ([], False),
        ("", False),
        (response(200), True),
        (response(201), False),
        (response(204), False),
        (response(301), False),
        (response(404), False),
        (response(None), False),
        (made_up("httpx", "Response", status_code=204), True),
        (made_up("httpx._models", "Response", status_code=299), True),
        (made_up("httpx", "Response", status_code=300), False),
        (made_up("httpx", "Response", status_code=200, __bool__=lambda self: False), False),
        (made_up("aiohttp.client_reqrep", "ClientResponse", status=200), True),
        (made_up("aiohttp.client_reqrep", "ClientResponse", status=404), False),
        (made_up("httpx", "Response"), False),
        (made_up("elsewhere", "Response", status_code=500), True),
        (made_up("requests_like", "Response", status_code=500), True),
        (np.array([0, 0]), True),
        (np.array([0]), False),
        (Raises(ValueError()), True),
    ],
)
def test_by_1x_a_success_is_truthy_and_where_it_is_a_response_well_answered(result: object, expected: bool) -> None:
    assert result_is_success(result) is expected
    assert successes_in_1x([result, True]) == [expected, True]


class Empty:
    def __bool__(self) -> bool:
        return False


def not_yet(response: object) -> int:
    raise RuntimeError("not yet")


@pytest.mark.parametrize(
    ("result", "cause"),
    [
        *((result, "") for result in (True, None, 0, 0.0, "", b"", [], {}, (), set(), "no", np.array([0, 0]))),
        *((result, "") for result in (np.float64(0), np.True_, Empty(), Raises(ValueError()), 500, object)),
        (False, "returned False"),
        (np.array([1, 2]).max() > 2, "returned False"),
        *((response(status), "") for status in (200, 201, 204, 301, 399)),
        *((response(status), f"HTTP {status}") for status in (400, 404, 500, 503, 599)),
        (response(None), "HTTP without a status"),
        (made_up("requests", "Response", status_code=property(not_yet)), "HTTP without a status"),
        (made_up("httpx._models", "Response", status_code=302), ""),
        (made_up("httpx", "Response", status_code=503), "HTTP 503"),
        (made_up("aiohttp.client_reqrep", "ClientResponse", status=201), ""),
        (made_up("aiohttp.client_reqrep", "ClientResponse", status=429), "HTTP 429"),
        (made_up("httpx", "Response"), "HTTP without a status"),
        (made_up("elsewhere", "Response", status_code=500), ""),
    ],
)
def test_no_success_is_what_returned_false_or_a_response_of_400_or_more(result: object, cause: str) -> None:
    assert no_success(result) == cause
    assert successes([result, 1, False]) == [not cause, True, False]
    assert successes([result]) == [not cause]
    log = {"status": "ok", "result": result}
    assert (row_is_success(log), cause_of_log(log)) == (not cause, cause)


def test_what_did_not_end_ok_is_no_success_and_needs_no_other_cause() -> None:
    log = {"status": "error", "result": False}
    assert (row_is_success(log), cause_of_log(log)) == (False, "")


def test_a_saved_verdict_speaks_for_a_result_that_is_only_a_text_now() -> None:
    log = {"status": "ok", "result": "<Response [503]>", "no_success": "HTTP 503"}
    assert (row_is_success(log), cause_of_log(log)) == (False, "HTTP 503")


def test_a_subclass_of_a_response_is_a_response() -> None:
    good, bad = Session(), Session()
    good.status_code, bad.status_code = 200, 503
    assert (result_is_success(good), result_is_success(bad)) == (True, False)
    assert successes_in_1x([bad, 1, good, None]) == [False, True, True, False]
    assert successes([bad, 1, good, None]) == [False, True, True, True]


def test_only_exceptions_of_bool_are_taken_for_a_success() -> None:
    with pytest.raises(KeyboardInterrupt):
        result_is_success(Raises(KeyboardInterrupt()))


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ({"result": 1}, True),
        ({"result": 1, "status": "ok"}, True),
        ({"result": 0, "status": "ok"}, False),
        ({"result": 1, "status": "error"}, False),
        ({"result": 1, "status": "timeout"}, False),
        ({"result": 1, "status": None}, False),
        ({}, False),
    ],
)
def test_a_row_with_a_status_must_be_ok_as_well(log: dict[str, Any], expected: bool) -> None:
    assert row_is_success_in_1x(log) is expected


def test_neither_the_room_nor_the_rule_loads_numpy_or_an_http_library() -> None:
    script = """
import sys
before = set(sys.modules)
import worker_dispatcher.reports, worker_dispatcher.reports.verdict as verdict
verdict.result_is_success(object()), verdict.no_success(object())
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(loaded & {"numpy", "requests", "httpx", "aiohttp"}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
