"""How this process's interpreter was started, so that others are started alike: flags, the seed of hashing, variables.

Loaded by the parent, by the fork server and by workers.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from worker_dispatcher.errors import RunError
from worker_dispatcher.tracebacks import own

_T = TypeVar("_T")
_SEEDS = 1 << 32
_SURELY_FITS = 1 << 16  # bytes of variables
_seed: str | None = None  # of hashing, in all that this process starts; chosen once
_deaf = False


def executable() -> str:
    """The interpreter to start, from whatever folder. Raises RunError where this process knows of none."""
    if not sys.executable or not isinstance(sys.executable, str):
        raise RunError(f"sys.executable is {sys.executable!r}, so no worker process can be started; use threads")
    return os.path.abspath(sys.executable)


def flags() -> list[str]:
    """The options that start an interpreter like this one, but without `site`.

    Of -E and -I only what they mean is passed on (see `start_with`): with them no seed could be given. Those of -W are
    told with the filters: what they say of an option that means nothing has been said once.
    """
    told = sys.flags
    counts = {"d": told.debug, "O": told.optimize, "B": told.dont_write_bytecode, "s": told.no_user_site}
    counts |= {"v": told.verbose, "b": told.bytes_warning, "q": told.quiet, "P": told.safe_path}
    options: dict[str, Any] = {**sys._xoptions}
    for name, wanted in (("dev", told.dev_mode), ("utf8", told.utf8_mode)):
        if wanted:
            options.setdefault(name, True)
    found = ["-S"]
    for letter, count in counts.items():
        if count:
            found.append("-" + letter * int(count))
    for name, value in options.items():
        found += "-X", name if value is True else f"{name}={value}"
    return found


def hashing() -> tuple[str, bool]:
    """The seed of hashing for whatever this process starts: its own if it has been given one, else one that is drawn
    once, since the seed that an interpreter draws for itself cannot be given to another. And whether PYTHON...
    variables mean nothing here: the options -E and -I, of the interpreter it all began with."""
    global _seed
    deaf = _deaf or bool(sys.flags.ignore_environment)
    if _seed is None:
        given = "" if deaf else os.environ.get("PYTHONHASHSEED", "")
        if not sys.flags.hash_randomization:
            _seed = "0"
        elif given.isascii() and given.isdigit() and int(given) < _SEEDS:
            _seed = given
        else:
            _seed = str(int.from_bytes(os.urandom(4), "little") or 1)
    return _seed, deaf


def inherit(seed: str, deaf: bool) -> None:
    """How the interpreter was started that has, in the end, started this one: a seed that the environment does not
    show, and whether that was listened to."""
    global _seed, _deaf
    _seed, _deaf = seed, deaf


def start_with(start: Callable[[dict[str, str]], _T], environment: Mapping[str, str], seed: str, deaf: bool) -> _T:
    """Call `start` with the variables that a new interpreter is given at its start. What it shows to the user is told
    to it later, all of it: there is more room for that than the system has for variables."""
    ours = {name: value for name, value in environment.items() if not (deaf and name.startswith("PYTHON"))}
    ours.pop("PYTHONWARNINGS", None)  # options of a process, which are told as such
    ours["PYTHONHASHSEED"] = seed
    try:
        return start(ours)
    except own(OSError) as error:
        if error.errno != errno.E2BIG:
            raise
    # Libraries, locale and the like are short; what is long is the user's.
    few, room = {}, _SURELY_FITS
    for name in sorted(ours, key=lambda name: len(name) + len(ours[name])):
        room -= 4 * (len(name) + len(ours[name]))  # a character is four bytes at most
        if room > 0:
            few[name] = ours[name]
    return start(few | {"PYTHONHASHSEED": seed})
