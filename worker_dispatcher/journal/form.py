"""The form of a journal's file, and what its line says: which function it is about."""

from __future__ import annotations

from worker_dispatcher.errors import JournalError
from worker_dispatcher.journal.file import About, Form, LockedFile

__tracebackhide__ = True  # see tracebacks

JOURNAL = Form(
    0x57446A31,  # "WDj1"
    1,
    (
        "CREATE TABLE rows (seq INTEGER PRIMARY KEY, first INTEGER, count INTEGER, status INTEGER, facts BLOB,"
        " seal BLOB, payload BLOB)",
        "CREATE TABLE pieces (id INTEGER PRIMARY KEY, data BLOB)",
    ),
    JournalError,
    "a journal",
    "run",
    "run the same call again",
    "read_journal shows what can still be read; remove it to begin anew",
)


def hold(real: str, function: str, code: str, config: str = "") -> LockedFile:
    """The journal of a function, created where there is none. code, config: digests of the function's code and of
    task.config, when it begins; empty where they are not known. Raises JournalError."""

    def accept(about: About) -> None:
        if (known := str(about.facts["function"])) != function:
            text = f"belongs to the function {known}, this run calls {function}; it is left as it is"
            raise JournalError(real, text)

    return LockedFile(real, JOURNAL, {"function": function, "code": code, "config": config}, accept)
