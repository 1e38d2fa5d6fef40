"""Which of a test's combinations are run each time; the rest is marked `combination`, and run by scripts/stress.sh.

* Three parameters or more: as many as have every pair of values in one of them. What breaks by the values of two is
  found so; what takes three at once to break is found by the long rounds.
* `pytest.mark.each_value`: what the test's parameters say has nothing to do with each other; each value is run in one.
* What is tested in a file, or by a test, with `pytest.mark.above_the_pools` stands above the pools, and sees the same
  of each. There each kind of pool, of worker process and of runner is met once, and not each way to put them together:

      shape of a run     pool        worker process   runs tasks in
      threads            threads                      threads
      processes          processes   of one task      the main thread
      coroutine-grid     processes   of many          a loop
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import pytest

__all__ = ["pytest_collection_modifyitems"]

SHAPES = ("shape", "plain_shape", "process_shape", "kind")  # parameters that name one
TOGETHER = ("grid", "coroutine-threads", "coroutine-processes")  # put together of what the others have
STARTING = ("cli", "contract", "faults")  # folders of tests that start programs and workers


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for together in _by_function(items):
        tests = _above_the_pools(together)
        if tests[0].get_closest_marker("each_value") is not None:
            tests = _covering(tests, 1)
        elif len(tests[0].callspec.params) > 2 and not set(STARTING).isdisjoint(tests[0].path.parts):
            tests = _covering(tests, 2)
        for left in [test for test in together if test not in tests]:
            left.add_marker(pytest.mark.combination)


def _by_function(items: list[pytest.Item]) -> list[list[pytest.Function]]:
    found = defaultdict(list)
    for item in items:
        rare = item.get_closest_marker("slow") or item.get_closest_marker("combination")
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and not rare:
            found[item.nodeid.partition("[")[0]].append(item)
    return list(found.values())


def _above_the_pools(tests: list[pytest.Function]) -> list[pytest.Function]:
    if tests[0].get_closest_marker("above_the_pools") is None:
        return tests
    for name in SHAPES:
        others = [test for test in tests if str(test.callspec.params.get(name)) not in TOGETHER]
        tests = others or tests  # some are about one of these
    return tests


def _covering(tests: list[pytest.Function], size: int) -> list[pytest.Function]:
    """As few as have all values, or pairs of values, found greedily: the first with the most that are missing, and of
    these one whose values were met least."""
    seen: dict[str, list[object]] = defaultdict(list)
    having = []
    for test in tests:
        values = [(name, _place(seen[name], value)) for name, value in sorted(test.callspec.params.items())]
        having.append((test, values, set(itertools.combinations(values, size))))
    missing = set().union(*(has for *_, has in having))
    met: Counter[tuple[str, int]] = Counter()
    kept = []
    while missing:
        test, values, has = max(having, key=lambda one: (len(one[2] & missing), -sum(met[value] for value in one[1])))
        kept.append(test)
        met.update(values)
        missing -= has
    return kept


def _place(seen: list[object], value: object) -> int:
    """Where a value is among those seen so far; by identity, as values may be arrays."""
    for nth, one in enumerate(seen):
        if one is value:
            return nth
    seen.append(value)
    return len(seen) - 1
