"""The tests of CPython's executor suite that do not hold for a WorkerPool, each with its reason.

There are two reasons only. PRIVATE: the test looks at attributes of the two classes that are nobody's business, and
which its source names. BROKEN: it demands that a worker which dies, or a task that cannot be loaded, breaks the whole
pool; here these cost the one task.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple


class Private(NamedTuple):
    """The attribute that the test looks at."""

    attribute: str


class Broken(NamedTuple):
    """What happens in the test, and does not break a WorkerPool."""

    what: str


EXCEPTIONS: dict[str, Private | Broken] = {
    "ThreadPoolExecutorTest.test_saturation": Private("_threads"),
    "ThreadPoolExecutorTest.test_idle_thread_reuse": Private("_threads"),
    "ThreadPoolShutdownTest.test_threads_terminate": Private("_threads"),
    "ThreadPoolShutdownTest.test_context_manager_shutdown": Private("_threads"),
    "ThreadPoolShutdownTest.test_del_shutdown": Private("_threads"),
    "ThreadPoolShutdownTest.test_shutdown_no_wait": Private("_threads"),
    "ThreadPoolShutdownTest.test_thread_names_*": Private("_threads"),
    "*ProcessPoolShutdownTest.test_processes_terminate": Private("_processes"),
    "*ProcessPoolShutdownTest.test_context_manager_shutdown": Private("_processes"),
    "*ProcessPoolShutdownTest.test_del_shutdown": Private("_executor_manager_thread"),
    "*ProcessPoolShutdownTest.test_shutdown_no_wait": Private("_executor_manager_thread"),
    "*ProcessPoolExecutorTest.test_killed_child": Private("_processes"),
    "*ProcessPoolExecutorTest.test_saturation": Private("_processes"),
    "*ProcessPoolExecutorTest.test_idle_process_reuse_*": Private("_processes"),
    "ProcessPoolForkserver*.test_max_tasks_per_child": Private("_processes"),
    "ProcessPoolSpawn*.test_max_tasks_per_child": Private("_processes"),
    "*.test_max_tasks_per_child_defaults_to_spawn_context": Private("_mp_context"),
    "*DeadlockTest.test_shutdown_deadlock_pickle": Private("_executor_manager_thread"),
    "*.test_python_finalization_error": Broken("the program has no more threads"),
    "*DeadlockTest.test_error_at_task_unpickle": Broken("a task cannot be loaded"),
    "*DeadlockTest.test_exit_at_task_unpickle": Broken("a task exits while it is loaded"),
    "*DeadlockTest.test_error_during_result_unpickle_*": Broken("a result cannot be loaded"),
    "*DeadlockTest.test_exit_during_result_unpickle_*": Broken("a result exits while it is loaded"),
}


def exception_for(test: str) -> Private | Broken | None:
    """Why a test, as Class.name, is not to be run; None if it is."""
    return next((why for pattern, why in EXCEPTIONS.items() if fnmatchcase(test, pattern)), None)


def is_honest(why: Private | Broken, source: str) -> bool:
    """The source of the test says what it is excepted for."""
    return why.attribute in source if isinstance(why, Private) else "BrokenProcessPool" in source
