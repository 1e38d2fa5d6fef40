"""Run by the Python whose suite it is: one module of its test.test_concurrent_futures, with our pool as the executor.

    python run_module.py MODULE METHOD

METHOD: how workers are started: thread, fork, forkserver or spawn. Exits with 1 if a test failed, or left a thread or
a process, or if there was none, or if one is excepted for a reason that its source does not know.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import exceptions
import stand_ins

SUITE = "test.test_concurrent_futures"
# What the programs begin with that the suite starts; one of them has forgotten the import.
PRELUDE = "import multiprocessing, stand_ins; stand_ins.install()\n"


def main(module: str, method: str) -> int:
    stand_ins.install()
    from test import support

    loaded = importlib.import_module(f"{SUITE}.{module}")
    util = importlib.import_module(f"{SUITE}.util")
    for mixin in (util.ProcessPoolForkMixin, util.ProcessPoolForkserverMixin, util.ProcessPoolSpawnMixin):
        # A class of its own: one test spares futures.ProcessPoolExecutor, which would hang in it.
        mixin.executor_type = type("ProcessPoolExecutor", (stand_ins.ProcessPoolExecutor,), {})
    if hasattr(loaded, "assert_python_ok"):
        loaded.assert_python_ok = _with_stand_ins(loaded.assert_python_ok)
    suite = unittest.defaultTestLoader.loadTestsFromModule(loaded)
    tests = unittest.TestSuite(case for case in _cases(suite) if getattr(case, "ctx", "thread") == method)
    result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout).run(_not_excepted(tests))
    if support.environment_altered:
        print("a test has left a thread or a process behind")
    return 0 if result.testsRun and result.wasSuccessful() and not support.environment_altered else 1


def _cases(suite: unittest.TestSuite) -> Iterator[Any]:
    for one in suite:
        if isinstance(one, unittest.TestSuite):
            yield from _cases(one)
        else:
            yield one


def _not_excepted(tests: unittest.TestSuite) -> unittest.TestSuite:
    run = unittest.TestSuite()
    for case in tests:
        name = f"{type(case).__name__}.{case._testMethodName}"
        if (why := exceptions.exception_for(name)) is None:
            run.addTest(case)
        elif not exceptions.is_honest(why, inspect.getsource(getattr(case, case._testMethodName))):
            sys.exit(f"{name} is excepted for {why}, of which its source says nothing")
    return run


def _with_stand_ins(run: Any) -> Any:
    """assert_python_ok for a program in which executors are ours, too."""

    def run_ours(option: str, program: str) -> Any:
        return run(option, PRELUDE + program, PYTHONPATH=str(Path(__file__).parent), __isolated=False)

    return run_ours


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
