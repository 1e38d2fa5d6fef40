"""Programs that use a WorkerPool, each in an interpreter of its own: what their workers inherit, Ctrl-C, their end in
every state, forks, and parents that are killed."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import tell

INHERITS = """
import multiprocessing
from worker_dispatcher import WorkerPool

def share(*what):
    global lock, queue, value, row, pipe
    lock, queue, value, row, pipe = what

def use(number):
    with lock:
        value.value += number
    row[number] = number
    queue.put(number)
    return os.getpid()

def answer():
    pipe.send("a question")
    return pipe.recv()

def main(kind, method):
    context = multiprocessing.get_context(method or "forkserver")
    ours, theirs = context.Pipe()
    queue, value, row = context.Queue(), context.Value("i", 0, lock=False), context.Array("i", 8)
    shared = context.Lock(), queue, value, row, theirs
    with WorkerPool(2, kind=kind, mp_context=method, initializer=share, initargs=shared) as pool:
        pids = {future.result(30) for future in [pool.submit(use, number) for number in range(8)]}
        told = pool.submit(answer)
        asked = ours.recv()
        ours.send("an answer")
        queued = sorted(queue.get(timeout=30) for _ in range(8))
        tell([os.getpid() in pids, queued, list(row), value.value, asked, told.result(30)])

if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
"""


@pytest.mark.each_value
@pytest.mark.parametrize("method", ["null", '"forkserver"', '"spawn"', '"fork"'])
@pytest.mark.parametrize("kind", ["process", "grid"])
def test_workers_inherit_locks_queues_pipes_and_values_by_initargs(tmp_path: Path, kind: str, method: str) -> None:
    numbers = list(range(8))
    assert tell(tmp_path, INHERITS, kind, method) == [False, numbers, numbers, 28, "a question", "an answer"]
