"""What to say of a name that is no option: the likeliest right spelling here, or the place where the name belongs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    **dict.fromkeys(("rps", "qps", "tps"), "worker.frequency_mode.rate"),
    "max_tasks_per_child": "worker.max_tasks_per_worker",
}
# Names of options elsewhere, by which people mean something else here.
_OTHERWISE = {
    **dict.fromkeys(
        ("seed", "seeds", "random_seed", "random_state"),
        "random numbers of tasks are seeded in the function, as in random.Random(id)",
    ),
    "max_workers": "how many tasks run at a time is 'worker.number'",
    "processes": "so many processes are 'worker.number' with 'worker.use_processing'",
    **dict.fromkeys(("duration", "time_limit", "max_time"), "'runtime' ends a run after so many seconds"),
}


def unknown(prefix: str, name: str, available: Mapping[str, str], *, a_dict: bool = False) -> str:
    """The text for an unknown option. A place elsewhere is named with what the option there does, since it may be
    another thing by the same name.

    prefix: the section it was found in, as "worker." or ""; available: all options and sections by path, with what they
    mean; a_dict: its value is one.
    """
    paths = list(available)
    for path in (prefix + name, name):
        if "." in name and path in paths:
            return f"options are nested, not dotted: write {_nested(path)}"
    if not a_dict and (meant := _MEANT.get(_plain(name))) in paths:
        return f"unknown option; did you mean '{meant}'?"
    if not a_dict and (otherwise := _OTHERWISE.get(_plain(name))) and prefix + _plain(name) not in paths:
        elsewhere = [path for path in paths if _last(path) == _plain(name)]
        of_these = f"; {_quoted(elsewhere)} is another thing{_meaning(elsewhere, available)}" if elsewhere else ""
        return f"unknown option here; {otherwise}{of_these}"
    here = [path for path in paths if _in_section(path, prefix)]
    same = [path for path in paths if _last(path) == _plain(name)]
    # The very name elsewhere is a better guess than a like one here: 'max_workers' at the top is not 'worker'.
    if same and prefix + _plain(name) not in here:
        top = "" if "." in same[0] else ", at the top level"
        return f"unknown option here; it lives at {_quoted(same)}{top}{_meaning(same, available)}"
    if found := nearest(name, here):
        return f"unknown option; did you mean {_quoted(found)}?"
    if found := nearest(name, paths):
        return f"unknown option; did you mean {_quoted(found)}{_meaning(found, available)}?"
    return f"unknown option; the options here are {', '.join(_last(path) for path in here)}"


def _in_section(path: str, prefix: str) -> bool:
    return path.startswith(prefix) and "." not in path[len(prefix) :]


def nearest(name: str, paths: Sequence[str]) -> list[str]:
    """The paths whose last part is most like the name."""
    import difflib  # 2 ms, and only a wrong config needs it

    if len(name) > LONGEST:
        return []
    best = difflib.get_close_matches(_plain(name), [_last(path) for path in paths], n=1, cutoff=LIKENESS)
    return [path for path in paths if best and _last(path) == best[0]]


def _meaning(paths: Sequence[str], available: Mapping[str, str]) -> str:
    """Of the one option that is meant, what it does, and what it needs."""
    told = available.get(paths[0], "").partition(";")[0].rstrip(".") if len(paths) == 1 else ""
    needs = "; needs 'enabled': True there" if f"{paths[0].rpartition('.')[0]}.enabled" in available else ""
    return f" ({told[:1].lower()}{told[1:]}{needs})" if told else ""


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _quoted(paths: Sequence[str]) -> str:
    return " or ".join(f"'{path}'" for path in paths)


def _nested(path: str) -> str:
    first, _, rest = path.partition(".")
    return f"{{'{first}': {_nested(rest) if rest else '...'}}}"
