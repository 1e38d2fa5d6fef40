"""Programs that use a WorkerPool, each in an interpreter of its own: their end in every state of a pool, parents that
are killed, and forks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import begin, left_of, tell

PATIENCE = 60  # seconds, for what takes one or two on a machine that has nothing else to do
KINDS = ["thread", "process", "grid", "coroutine"]
SLOW = pytest.mark.slow

POOLS = """
import threading, time, warnings
from worker_dispatcher import WorkerPool

def twice(number):
    return 2 * number

def nap(seconds):
    time.sleep(seconds)
    return seconds

async def twice_softly(number):
    return 2 * number

async def nap_softly(seconds):
    import asyncio
    await asyncio.sleep(seconds)
    return seconds

if sys.argv[1] == "coroutine":
    twice, nap = twice_softly, nap_softly

def warm(kind):
    pool = WorkerPool(2, kind=kind)
    assert pool.submit(twice, 4).result(30) == 8
    return pool

def note(*what):
    os.write(1, (" ".join(map(str, what)) + "\\n").encode())
"""

ENDS = (
    POOLS
    + """
def nap_in(pool, state, **how):
    pool.schedule(nap, (0.1,), name=state, on_done=lambda result: note(result.name, result.state), **how)

def submit_for_ever(pool):
    try:
        while True:
            pool.submit(twice, 1).result()
    except RuntimeError as error:
        note("daemon", error)

def leave(kind, state):
    pool = WorkerPool(2, kind=kind) if state == "never" else warm(kind)
    if state in ("busy", "dropped", "delayed"):
        for _ in range(4):
            nap_in(pool, state, delay=0.2 * (state == "delayed"))
    if state == "paused":
        pool.pause(timeout=0)
        nap_in(pool, state)
    if state == "nowait":
        nap_in(pool, state)
        pool.shutdown(wait=False)
    if state == "daemon":
        threading.Thread(target=submit_for_ever, args=(pool,), daemon=True).start()
    if state != "dropped":
        pools.append(pool)

pools = []
if __name__ == "__main__":
    for state in sys.argv[2:]:
        leave(sys.argv[1], state)
"""
)
STATES = ["never", "idle", "busy", "paused", "nowait", "delayed", "dropped", "daemon"]
TOLD = dict.fromkeys(["busy", "delayed", "dropped"], 4) | dict.fromkeys(["paused", "nowait"], 1)


def await_fact(fact: Callable[[], object], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.01)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("states", [STATES, *(pytest.param([state], marks=SLOW) for state in STATES)], ids=",".join)
def test_a_program_ends_whatever_its_pools_do_and_what_was_submitted_is_done(
    tmp_path: Path, kind: str, states: list[str]
) -> None:
    program = begin(tmp_path, ENDS, kind, *states)
    told, errors = program.communicate(timeout=PATIENCE)
    assert (program.returncode, errors) == (0, "")
    expected = [f"{state} succeeded" for state in states for _ in range(TOLD.get(state, 0))]
    refused = "daemon cannot schedule new futures after interpreter shutdown"
    assert sorted(set(told.splitlines()) - {refused}) == sorted(set(expected))
    assert [line for line in sorted(told.splitlines()) if line != refused] == sorted(expected)
    await_fact(lambda: not left_of(tmp_path), 5)


STUCK = (
    POOLS
    + """
if __name__ == "__main__":
    warnings.simplefilter("ignore")
    pools = [warm(kind) for kind in ("thread", "process", "grid")]
    for pool in pools:
        pool.submit(nap, 600)
    time.sleep(0.2)
    note(time.monotonic())
"""
)


def test_tasks_that_are_stuck_hold_up_the_end_of_a_program_once_for_three_seconds(tmp_path: Path) -> None:
    program = begin(tmp_path, STUCK, "any")
    told, errors = program.communicate(timeout=PATIENCE)
    assert 2.9 < time.monotonic() - float(told) < 5.5  # and not for each of the pools, nor until twice nothing ended
    assert (program.returncode, errors) == (0, "")
    await_fact(lambda: not left_of(tmp_path), 5)


KILLED = (
    POOLS
    + """
import worker_dispatcher

def spin(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass

def large(size):
    return bytes(size)

def busy(pool, state):
    if state in ("busy", "begins"):
        return [pool.submit(nap, 600) for _ in range(5)]
    if state == "spins":
        return [pool.submit(spin, 600) for _ in range(5)]
    if state == "large":
        return [pool.submit(large, 10_000_000) for _ in range(30)]
    if state == "tiny":
        return pool.schedule_many([(nap, (0,))] * 20_000)
    if state == "lent":
        task = {"function": nap, "list": [600] * 5}
        return worker_dispatcher.launch({"task": task, "worker": {"pool": pool}, "verbose": False})

if __name__ == "__main__":
    kind, state = sys.argv[1:]
    pool = WorkerPool(3, kind=kind) if state == "begins" else warm(kind)
    kept = busy(pool, state)
    if state != "begins":
        time.sleep(0.1)
    note("ready")
    time.sleep(600)
"""
)


@pytest.mark.parametrize("kind", ["process", "grid"])
@pytest.mark.parametrize(
    "state", ["busy", *(pytest.param(one, marks=SLOW) for one in ("idle", "begins", "spins", "large", "tiny", "lent"))]
)
def test_nothing_is_left_of_a_parent_that_was_killed(tmp_path: Path, kind: str, state: str) -> None:
    program = begin(tmp_path, KILLED, kind, state)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    assert len(left_of(tmp_path)) > 1
    program.kill()
    program.communicate(timeout=PATIENCE)
    await_fact(lambda: not left_of(tmp_path), 5)  # 2 s, and a busy machine
    assert not list((tmp_path / "tmp").iterdir())


FORKS = (
    POOLS
    + """
import multiprocessing
from worker_dispatcher import PoolClosed

warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads

def said(act):
    try:
        return str(act())
    except PoolClosed as error:
        return "closed"

def in_child(pool, futures):
    with WorkerPool(1, kind=pool.kind) as own:
        assert own.submit(twice, 4).result(30) == 8
    acts = [
        lambda: pool.submit(twice, 1), lambda: pool.schedule(twice, (1,), id="x"), lambda: pool.map(twice, [1]),
        lambda: pool.schedule_many([(twice, (1,))]), lambda: pool.group().submit(twice, 1), pool.rescue, pool.join,
        lambda: pool.cancel(futures[-1]), lambda: pool.resize(3), pool.pause, pool.stats, lambda: futures[-1].result(),
        lambda: futures[-1].outcome(), lambda: futures[-1].kill(),
    ]
    told = [said(act) for act in acts]
    (open("told", "w")).write(json.dumps([*told, pool.closed, futures[-1].cancel(), futures[-1].running()]))
    pool.shutdown()

def fork(pool, futures, how):
    if how == "multiprocessing":
        child = multiprocessing.get_context("fork").Process(target=in_child, args=(pool, futures))
        child.start()
        child.join(60)
        return child.exitcode
    if (pid := os.fork()) == 0:
        in_child(pool, futures)
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def main(kind, how):
    with warm(kind) as pool:
        futures = [pool.submit(nap, 0.3) for _ in range(6)]
        ended = fork(pool, futures, how)
        tell([ended, [future.result(30) for future in futures], pool.submit(twice, 3).result(30)])

if __name__ == "__main__":
    main(*sys.argv[1:])
"""
)


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("thread", "fork"),
        ("process", "multiprocessing"),
        *(
            pytest.param(kind, how, marks=SLOW)
            for kind in KINDS
            for how in ("fork", "multiprocessing")
            if (kind, how) not in (("thread", "fork"), ("process", "multiprocessing"))
        ),
    ],
)
def test_in_a_fork_a_pool_is_closed_and_takes_nothing_from_that_of_the_parent(
    tmp_path: Path, kind: str, how: str
) -> None:
    assert tell(tmp_path, FORKS, kind, how) == [0, [0.3] * 6, 6]
    assert json.loads((tmp_path / "told").read_text()) == ["closed"] * 14 + [True, False, False]
