"""Ctrl-C at any moment of what a program does with its pools: nothing is left half done, and the pool goes on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from programs import tell

PRESSED = """
import faulthandler, random, signal, threading, time
from worker_dispatcher import WorkerPool

PATIENCE = 60

def twice(number):
    return 2 * number

async def twice_softly(number):
    return 2 * number

def press(after):
    time.sleep(after)
    os.kill(os.getpid(), signal.SIGINT)

def pressed(act, within):
    "Do something during which the press may come; it has come when this returns."
    thread = threading.Thread(target=press, args=(within,))
    try:
        thread.start()
        act()
        thread.join()
        time.sleep(PATIENCE)
    except KeyboardInterrupt:
        thread.join()

def ways(pool, kind, function, futures):
    def submit():
        for number in range(100):
            futures.append(pool.submit(function, number))
    def result():
        for number in range(100):
            pool.submit(function, number).result(PATIENCE)
    def results_of_map():
        list(pool.map(function, range(300)))
    def schedule_many():
        futures.extend(pool.schedule_many([(function, (number,)) for number in range(200)]))
    def schedule():
        for number in range(60):
            how = {"timeout": PATIENCE, "delay": 0.001 * (number % 2), "priority": number % 3}
            futures.append(pool.schedule(function, (number,), **how))
    def group():
        with pool.group(max_workers=2) as group:
            for number in range(60):
                futures.append(group.submit(function, number))
    def join():
        submit()
        pool.join()
    def pause():
        for number in range(20):
            with pool.pause():
                futures.append(pool.submit(function, number))
    def with_exit():
        with WorkerPool(2, kind=kind) as own:
            for number in range(40):
                futures.append(own.submit(function, number))
    return [submit, result, results_of_map, schedule_many, schedule, group, join, pause, with_exit]

def go_on(pool, function, futures):
    pool.resume()
    for future in futures:
        future.outcome(PATIENCE)
        assert future.cancelled() or future.result() % 2 == 0
    assert pool.submit(function, 4).result(PATIENCE) == 8
    assert pool.join(PATIENCE)
    stats = pool.stats()
    assert stats.submitted == stats.succeeded + stats.cancelled, stats

def main(kind, seed, seconds):
    faulthandler.dump_traceback_later(seconds + 2 * PATIENCE, exit=True)
    dice, function = random.Random(seed), twice_softly if kind == "coroutine" else twice
    with WorkerPool(2, kind=kind) as pool:
        assert pool.submit(function, 4).result(PATIENCE) == 8
        until, rounds = time.monotonic() + seconds, 0
        while not rounds or time.monotonic() < until:
            futures, rounds = [], rounds + 1
            act = dice.choice(ways(pool, kind, function, futures))
            longest = 0.2 if act.__name__ == "with_exit" else dice.choice([0.002, 0.02])
            pressed(act, dice.uniform(0, longest))
            go_on(pool, function, futures)
    tell([rounds, threading.active_count()])

if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
"""


def press_at_random(tmp_path: Path, kind: str, seconds: float) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    rounds, threads = tell(tmp_path, PRESSED, kind, str(seed), str(seconds), within=seconds + 150)
    assert rounds > 0
    assert threads == 1


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_press_at_any_moment_leaves_no_task_half_done(tmp_path: Path, kind: str) -> None:
    press_at_random(tmp_path, kind, 1.0)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["thread", "process", "grid", "coroutine"])
def test_presses_for_long_leave_no_task_half_done(tmp_path: Path, kind: str) -> None:
    press_at_random(tmp_path, kind, 30.0)
