"""Many runs in one process leave it as it was, and many workers killed from outside cost one task each."""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
import time

import psutil
import pytest

import worker_dispatcher


@pytest.mark.parametrize("rounds", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_runs_leave_the_process_as_it_was(rounds, any_shape, run):
    me = psutil.Process()

    def held() -> tuple[int, int, int]:
        return me.num_fds(), me.num_threads(), len(me.children(recursive=True))

    for _ in range(3):
        run(lambda task: [task], range(200), any_shape)
    gc.collect()
    before, memory = held(), me.memory_info().rss
    for _ in range(rounds):
        assert run(lambda task: [task], range(200), any_shape) == [[n] for n in range(200)]
    gc.collect()
    deadline = time.monotonic() + 5
    while held() != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert held() == before
    assert me.memory_info().rss - memory < 20_000_000


@pytest.mark.parametrize("rounds", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_workers_killed_from_outside_cost_one_task_each(rounds, run, others_are_ok, tmp_path):
    """The worker says which task it is in and waits a little; the killer names what it hit."""
    seed = random.randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)

    def work(id, config, task):
        mine = config / f"{os.getpid()}.{id}"
        mine.touch()
        until = time.monotonic() + task
        while time.monotonic() < until and not (config / f"{os.getpid()}.stay").exists():
            time.sleep(0.0005)
        while (config / f"{os.getpid()}.stay").exists():  # chosen: to be killed in this task, and no other
            (config / f"{id}.here").touch()
            time.sleep(0.001)
        return id * 10

    for nth in range(rounds):
        folder = tmp_path / str(nth)
        folder.mkdir()
        over, hit = threading.Event(), set()

        def kill(folder=folder, over=over, hit=hit) -> None:
            while not over.is_set() and len(hit) < 6:
                over.wait(chance.uniform(0.001, 0.01))
                pids = sorted({int(p.name.split(".")[0]) for p in folder.glob("*.*") if p.suffix[1:].isdigit()})
                alive = [pid for pid in pids if psutil.pid_exists(pid)]
                if not alive:
                    continue
                pid, before = chance.choice(alive), {p.name for p in folder.glob("*.here")}
                (folder / f"{pid}.stay").touch()
                deadline = time.monotonic() + 0.2
                while time.monotonic() < deadline and not over.is_set():
                    if here := {p.name for p in folder.glob("*.here")} - before:
                        hit.update(int(name.split(".")[0]) for name in here)
                        os.kill(pid, signal.SIGKILL)
                        break
                    time.sleep(0.0005)
                (folder / f"{pid}.stay").unlink()

        killer = threading.Thread(target=kill)
        killer.start()
        lengths = [chance.uniform(0.001, 0.006) for _ in range(60)]
        run(work, lengths, {"number": 4, "use_processing": True}, config=folder)
        over.set()
        killer.join()
        others_are_ok(60, hit)
        for log in worker_dispatcher.get_logs():
            if log["task_id"] in hit:
                assert log["status"] == "crashed", log
                assert "(SIGKILL)" in log["error"]["message"]
        assert hit
