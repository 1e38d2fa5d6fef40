"""Which of a test's combinations are run each time; the rest is marked `combination`, and run by scripts/stress.sh.

* Three parameters or more: as many as have every pair of values in one of them. What breaks by the values of two is
  found so; what takes three at once to break is found by the long rounds.
* What is tested in a file, or by a test, with `pytest.mark.above_the_pools` stands above the pools, and sees the same
  of each. There each kind of pool, of worker process and of runner is met once, and not each way to put them together:

      shape of a run     pool        worker process   runs tasks in
      threads            threads                      threads
      processes          processes   of one task      the main thread
      coroutine-grid     processes   of many          a loop
"""

from __future__ import annotations

import itertools
from collections import defaultdict

import pytest

__all__ = ["pytest_collection_modifyitems"]

SHAPES = ("shape", "plain_shape", "process_shape", "kind")  # parameters that name one
TOGETHER = ("grid", "coroutine-threads", "coroutine-processes")  # put together of what the others have
STARTING = ("cli", "contract", "faults")  # folders of tests that start programs and workers

Values = dict[str, int]  # of a test's parameters, by name: which of its values, as they come


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for together in _by_function(items):
        tests = _above_the_pools(together)
        if not set(STARTING).isdisjoint(tests[0].path.parts):
            tests = _pairs(tests)
        for left in [test for test in together if test not in tests]:
            left.add_marker(pytest.mark.combination)


def _by_function(items: list[pytest.Item]) -> list[list[pytest.Function]]:
    found = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            found[item.nodeid.partition("[")[0]].append(item)
    return list(found.values())


def _above_the_pools(tests: list[pytest.Function]) -> list[pytest.Function]:
    if tests[0].get_closest_marker("above_the_pools") is None:
        return tests
    for name in SHAPES:
        others = [test for test in tests if str(test.callspec.params.get(name)) not in TOGETHER]
        tests = others or tests  # some are about one of these
    return tests


def _pairs(tests: list[pytest.Function]) -> list[pytest.Function]:
    """As few as have all pairs of values, found greedily: the first with the most that are missing."""
    if len(tests[0].callspec.params) < 3:
        return tests
    seen: dict[str, list[object]] = defaultdict(list)
    pairs = []
    for test in tests:
        values = [(name, _place(seen[name], value)) for name, value in sorted(test.callspec.params.items())]
        pairs.append((test, set(itertools.combinations(values, 2))))
    missing = set().union(*(has for _, has in pairs))
    kept = []
    while missing:
        test, has = max(pairs, key=lambda one: len(one[1] & missing))
        kept.append(test)
        missing -= has
    return kept


def _place(seen: list[object], value: object) -> int:
    """Where a value is among those seen so far; by identity, as values may be arrays."""
    for nth, one in enumerate(seen):
        if one is value:
            return nth
    seen.append(value)
    return len(seen) - 1
