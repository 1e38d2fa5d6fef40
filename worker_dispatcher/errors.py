"""The tree of errors; floor 0.

    WorkerDispatcherError
    ├── ConfigError (ValueError)            the config has problems; all of them are named
    ├── TaskError                           a task failed and its own exception cannot be shown
    ├── TaskTimeout (TimeoutError)          a task was over its time
    │   └── DeadlineExceeded                a task of a pool was not done by its deadline
    ├── WorkerDied (BrokenProcessPool)      a worker process ended while it ran a task (worker_died.py)
    ├── RemoteTraceback                     the cause of an exception that came from a worker
    ├── RunError (RuntimeError)             the run as a whole cannot go on
    ├── PoolClosed (RuntimeError)           a pool takes no more tasks
    ├── PoolFull (queue.Full)               a pool has as many tasks as it may have (worker_died.py)
    ├── DuplicateTask (ValueError)          a pool has a task of this id that has not ended
    ├── JournalError (ValueError)           the journal of the config cannot be used, or used any further
    └── BookingError                        a task was completed twice: a fault of this library
    TaskFailuresWarning (UserWarning)       some tasks failed and nobody was told otherwise
    WorkerWarning (UserWarning)             something about a worker that cost no task, such as an error in worker.exit

Errors carry fields, not only text, and survive pickling. Those that users meet bear the name that they are imported by:
a traceback shows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

PACKAGE = __name__.partition(".")[0]


class WorkerDispatcherError(Exception):
    """Root of every error that this library raises on its own account."""

    __module__ = PACKAGE


class ConfigError(WorkerDispatcherError, ValueError):
    """The config, or the arguments of a call, have problems. `problems` holds one (dotted path, text) pair for each, in
    order; call: what was called, empty for a config."""

    __module__ = PACKAGE

    def __init__(self, problems: Iterable[tuple[str, str]], call: str = "") -> None:
        self.problems: tuple[tuple[str, str], ...] = tuple((str(path), str(text)) for path, text in problems)
        self.call = call
        super().__init__(self.problems, call)

    def __str__(self) -> str:
        count = len(self.problems)
        width = max((len(path) for path, _ in self.problems), default=0) + 2
        lines = [f"{count} problem{'' if count == 1 else 's'} in {self.call or 'the config'}"]
        lines += [f"  {path:<{width}}{text}" for path, text in self.problems]
        return "\n".join(lines if self.call else [*lines, "all options: worker-dispatcher options"])


class TaskError(WorkerDispatcherError):
    """A task failed, and its own exception could not be brought to this process.

    task_id: from 1; type_name, message, traceback: what the task's exception said of itself, as text.
    """

    __module__ = PACKAGE

    def __init__(self, task_id: int, type_name: str, message: str, traceback: str = "") -> None:
        self.task_id, self.type_name, self.message, self.traceback = task_id, type_name, message, traceback
        super().__init__(task_id, type_name, message, traceback)

    def __str__(self) -> str:
        return f"task #{self.task_id}: {self.type_name}: {self.message}"


class TaskTimeout(WorkerDispatcherError, TimeoutError):
    """A task ran longer than its timeout. task_id: of a run, from 1; of a pool, its name or id. timeout: seconds."""

    __module__ = PACKAGE

    def __init__(self, task_id: Any, timeout: float) -> None:
        self.task_id, self.timeout = task_id, timeout
        super().__init__(task_id, timeout)

    def __str__(self) -> str:
        return f"{task_words(self.task_id)} ran longer than its timeout of {self.timeout:g} s"


class DeadlineExceeded(TaskTimeout):
    """A task of a pool was not done by its deadline: it never began, or was ended. timeout: its deadline, in seconds
    after it was submitted."""

    __module__ = PACKAGE

    def __str__(self) -> str:
        return f"{task_words(self.task_id)} was not done within its deadline of {self.timeout:g} s"


def task_words(task_id: Any) -> str:
    """A task in messages: by its number, or by whatever it is called."""
    return f"task #{task_id}" if isinstance(task_id, int) else f"task {task_id!r}"


class PoolClosed(WorkerDispatcherError, RuntimeError):
    """The pool takes no more tasks."""

    __module__ = PACKAGE


class DuplicateTask(WorkerDispatcherError, ValueError):
    """The pool has a task of this id that has not ended."""

    __module__ = PACKAGE

    def __init__(self, task_id: Any) -> None:
        self.task_id = task_id
        super().__init__(task_id)

    def __str__(self) -> str:
        return f"a task with id {self.task_id!r} has not ended yet; cancel it first, or choose another id"


class RemoteTraceback(WorkerDispatcherError):
    """The cause of an exception that was raised in a worker: its traceback there, as text."""

    @property
    def tb(self) -> str:
        """The text, by the name that it has in concurrent.futures."""
        return str(self)

    def __str__(self) -> str:
        return "\n" + str(self.args[0]) if self.args else ""


class RunError(WorkerDispatcherError, RuntimeError):
    """The run as a whole cannot go on; the text says why and what to do."""

    __module__ = PACKAGE


class JournalError(WorkerDispatcherError, ValueError):
    """The journal cannot be used, or used any further. path: its file; problem: what is wrong, and what to do.

    task_id: the task it is about, if it is about one.
    """

    __module__ = PACKAGE

    def __init__(self, path: str, problem: str, task_id: int | None = None) -> None:
        self.path, self.problem, self.task_id = path, problem, task_id
        super().__init__(path, problem, task_id)

    def __str__(self) -> str:
        return f"journal {self.path}: {self.problem}"


class BookingError(WorkerDispatcherError):
    """A task was completed twice, or never given out: a fault of this library. `story` tells what is known of it."""

    def __init__(self, task_id: int, story: str) -> None:
        self.task_id, self.story = task_id, story
        super().__init__(task_id, story)

    def __str__(self) -> str:
        return f"task #{self.task_id}: {self.story}"


class TaskFailure:
    """Stands in the results for a task that did not end ok. No exception, and always falsy.

    task_id: from 1; status: 'error', 'timeout', 'crashed', 'cancelled', 'not_run' or 'dropped';
    error: {'type', 'message', 'traceback'}, or None for a task that did not run; attempts: how many were made.
    task: the item that the task was given, the same object; None where it is not known any more: that of a task behind
    the last one that started, or an item of an iterator whose task failed in on_all_done.
    input: the item as text, where it is a short text, a path or a number, and task.show_input allows it; else ''.
    """

    __module__ = PACKAGE
    __slots__ = ("attempts", "error", "input", "status", "task", "task_id")

    def __init__(
        self,
        task_id: int,
        status: str,
        error: dict[str, str] | None,
        attempts: int,
        task: Any = None,
        input: str = "",
    ) -> None:
        self.task_id, self.status, self.error, self.attempts = task_id, status, error, attempts
        self.task, self.input = task, input

    @property
    def traceback(self) -> str:
        """The remote traceback as text; empty where there is none."""
        return self.error["traceback"] if self.error else ""

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TaskFailure):
            return NotImplemented
        return (self.task_id, self.status, self.error) == (other.task_id, other.status, other.error)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = f" {self.input}" if self.input else ""
        cause = f": {self.error['type']}: {self.error['message'][:200]}" if self.error else ""
        return f"<TaskFailure #{self.task_id}{shown} {self.status}{cause}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return TaskFailure, (self.task_id, self.status, self.error, self.attempts, _sendable(self.task), self.input)


def _sendable(task: Any) -> Any:
    """None in place of what cannot be pickled: it would take a whole list of results along."""
    import pickle

    try:
        pickle.dumps(task, 5)
    except Exception:
        return None
    return task


class TaskFailuresWarning(UserWarning):
    """Some tasks of a quiet run failed."""

    __module__ = PACKAGE


class WorkerWarning(UserWarning):
    """Something went wrong with a worker that cost no task, such as an error in worker.exit."""

    __module__ = PACKAGE
