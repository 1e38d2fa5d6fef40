"""What to say of a name that is no option: the likeliest right spelling here, or the place where the name belongs."""

from __future__ import annotations

from collections.abc import Sequence, Set

__all__ = ["unknown"]

LIKENESS = 0.7  # share of letters in common, by difflib; below it suggestions are guesses
LONGEST = 60  # letters of a name worth comparing; the comparison takes quadratic time


# What other libraries, and people, call an option.
_MEANT = {
    **dict.fromkeys(("retry", "max_retries", "attempts", "max_attempts", "tries"), "task.retries"),
    **dict.fromkeys(
        ("workers", "threads", "n_workers", "num_workers", "n_jobs", "jobs", "concurrency"), "worker.number"
    ),
    **dict.fromkeys(("items", "tasks", "inputs", "iterable"), "task.list"),
    **dict.fromkeys(("func", "fn", "target"), "task.function"),
    **dict.fromkeys(("args", "kwargs", "params"), "task.config"),
    **dict.fromkeys(("initializer", "setup"), "worker.init"),
    "max_tasks_per_child": "worker.max_tasks_per_worker",
}


def unknown(
    prefix: str, name: str, available: Sequence[str], not_yet: Set[str] = frozenset(), *, a_dict: bool = False
) -> str:
    """The text for an unknown option.

    prefix: the section it was found in, as "worker." or ""; available: the paths of all options and sections;
    not_yet: those that the reader may mean too, but that this version refuses; a_dict: its value is one.
    """
    paths = [*available, *sorted(not_yet)]
    for path in (prefix + name, name):
        if "." in name and path in paths:
            return f"options are nested, not dotted: write {_nested(path)}"
    if not a_dict and (meant := _MEANT.get(_plain(name))) in paths:
        return f"unknown option; did you mean '{meant}'?"
    here = [path for path in paths if _in_section(path, prefix)]
    same = [path for path in paths if _last(path) == _plain(name)]
    # The very name elsewhere is a better guess than a like one here: 'max_workers' at the top is not 'worker'.
    if same and prefix + _plain(name) not in here:
        top = "" if "." in same[0] else ", at the top level"
        return f"unknown option here; it lives at {_quoted(same, not_yet)}{top}"
    if found := _nearest(name, here) or _nearest(name, paths):
        return f"unknown option; did you mean {_quoted(found, not_yet)}?"
    return f"unknown option; the options here are {', '.join(_last(path) for path in here if path not in not_yet)}"


def _in_section(path: str, prefix: str) -> bool:
    return path.startswith(prefix) and "." not in path[len(prefix) :]


def _nearest(name: str, paths: Sequence[str]) -> list[str]:
    """The paths whose last part is most like the name."""
    import difflib  # 2 ms, and only a wrong config needs it

    if len(name) > LONGEST:
        return []
    best = difflib.get_close_matches(_plain(name), [_last(path) for path in paths], n=1, cutoff=LIKENESS)
    return [path for path in paths if best and _last(path) == best[0]]


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _quoted(paths: Sequence[str], not_yet: Set[str]) -> str:
    missing = all(path in not_yet for path in paths)
    return " or ".join(f"'{path}'" for path in paths) + (" (not available yet in this version)" if missing else "")


def _nested(path: str) -> str:
    first, _, rest = path.partition(".")
    return f"{{'{first}': {_nested(rest) if rest else '...'}}}"
