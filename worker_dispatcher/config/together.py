"""Options that are right one by one and make no sense together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker_dispatcher.config.signature import is_coroutine_function

_FREQUENCY = "worker.frequency_mode."
# What a pool that lives has decided, with what says nothing of it.
_OF_THE_POOL: dict[str, object] = {
    "worker.backend": None,
    "worker.use_processing": False,
    "worker.parallel_processing.enabled": False,
    "worker.parallel_processing.processes": None,
    "worker.start_method": None,
    "worker.blas_threads": None,
    "worker.init": None,
    "worker.exit": None,
    "worker.max_tasks_per_worker": None,
    "worker.memory_limit": None,
    "worker.forward_logging": True,
    "worker.capture_output": False,
}
_PROCESSES_ONLY = ("worker.max_tasks_per_worker", "worker.memory_limit")  # threads cannot be ended


def conflicts(kept: Mapping[str, Any], coroutine: bool) -> list[tuple[str, str]]:
    """The problems of a config, as (path, text). kept: what the user gave, checked, by dotted path; coroutine: the
    task's function is a coroutine function."""
    on = bool(kept.get(_FREQUENCY + "enabled"))
    found = {name.removeprefix(_FREQUENCY): value for name, value in kept.items() if name.startswith(_FREQUENCY)}
    problems = _load(found, kept.get("worker.number")) if on else _idle(found) if found else []
    if "task.list" in kept and kept["task.list"] is None and not (on and _ends(found)):
        fix = "give an iterable of tasks, or how many to make, or leave it out for none"
        text = f"None makes tasks without end, and needs frequency_mode with duration or stages; {fix}"
        problems.append(("task.list", text))
    if "task.function" in kept and "task.list" not in kept:
        text = "is missing beside task.function; give an iterable of tasks, or how many to make; [] runs none"
        problems.append(("task.list", text))
    if kept.get("journal") is not None and isinstance(kept.get("task.list"), set | frozenset):
        text = "a set has another order each time, and a journal knows tasks by their place; sort it: sorted(...)"
        problems.append(("task.list", text))
    for path in ("worker.init", "worker.exit"):
        if not coroutine and kept.get(path) is not None and is_coroutine_function(kept[path]):
            text = "a coroutine function needs a loop to run on, and there is one only where task.function is one too"
            problems.append((path, f"{text}; make it a plain function"))
    if kept.get("worker.backend") is not None and found.get("on_saturation") == "drop":
        text = "'drop' needs workers of which it is known at once whether one is free; on a cluster leave it out"
        problems.append((_FREQUENCY + "on_saturation", text))
    if kept.get("worker.pool") is not None:
        return problems + _beside_a_pool(kept, coroutine)
    if not (kept.get("worker.use_processing") or kept.get("worker.parallel_processing.enabled")):
        fix = "needs worker processes; set worker.use_processing or worker.parallel_processing.enabled, or leave it out"
        for path in _PROCESSES_ONLY:
            if kept.get(path) is not None:
                problems.append((path, fix))
    return problems


def _beside_a_pool(kept: Mapping[str, Any], coroutine: bool) -> list[tuple[str, str]]:
    fix = "is decided where the pool in worker.pool was made; leave it out, or leave worker.pool out"
    problems = [(path, fix) for path, nothing in _OF_THE_POOL.items() if kept.get(path, nothing) != nothing]
    if kept.get(_FREQUENCY + "enabled"):
        text = (
            "needs workers of its own, which start each task at its time and not behind others; leave worker.pool out"
        )
        problems.append((_FREQUENCY + "enabled", text))
    if kept["worker.pool"].kind == "coroutine" and not coroutine and "task.function" in kept:
        text = "a pool of coroutines runs coroutine functions only; make task.function one, or give another pool"
        problems.append(("worker.pool", text))
    return problems


def _idle(load: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What would be ignored. Not the options of 1.x, which configs have had beside `enabled: False` for years."""
    fix = "does nothing without 'enabled': True in worker.frequency_mode"
    old = {"enabled", "interval", "accumulated_workers", "max_workers"}
    nothing = (None, 0, (), "queue")  # what the new ones are by default
    return [(_FREQUENCY + name, fix) for name, value in load.items() if name not in old and value not in nothing]


def _ends(load: Mapping[str, Any]) -> bool:
    return load.get("duration") is not None or load.get("stages") is not None


def _load(load: Mapping[str, Any], number: int | None) -> list[tuple[str, str]]:
    problems = []
    given = [name for name in ("rate", "stages") if load.get(name) is not None]
    if isinstance(load.get("pacing"), tuple):
        given.append("pacing")
    if len(given) > 1:
        names = " and ".join(given)
        problems.append((_FREQUENCY + given[1], f"{names} each say how many tasks are due when; give one of them"))
    if given and number is not None:
        text = f"{given[0]} says how many tasks are due; leave worker.number out, and cap with max_workers"
        problems.append((_FREQUENCY + given[0], text))
    if given and load.get("accumulated_workers"):
        text = f"adds to worker.number, which {given[0]} replaces; leave it out, or use stages"
        problems.append((_FREQUENCY + "accumulated_workers", text))
    whole = load.get("duration")
    if load.get("stages") is not None and whole is None:
        whole = sum(stage[0] for stage in load["stages"])
    left_out = load.get("warmup", 0.0) + load.get("cooldown", 0.0)
    if whole is not None and left_out >= whole:
        text = f"warmup and cooldown together leave out {left_out:g} s of {whole:g} s: nothing is left to measure"
        problems.append((_FREQUENCY + ("warmup" if load.get("warmup") else "cooldown"), text))
    return problems
