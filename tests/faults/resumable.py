"""A program with a journal, to be killed and run again: resumable.py shape tasks milliseconds list|generator folder.

Every task that begins says so in the file `begun`, every log that the run hands out is noted in `told`; at the end the
results and what is known of the run are in `done`.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

import worker_dispatcher

SHAPES: dict[str, dict[str, Any]] = {
    "threads": {"number": 3},
    "processes": {"number": 3, "use_processing": True},
    "grid": {"number": 4, "parallel_processing": {"enabled": True, "processes": 2}},
    "dask": {"number": 4, "backend": {"type": "dask", "address": os.environ.get("DASK_ADDRESS", "tcp://127.0.0.1:9")}},
}
WORKERS = {name: shape["number"] for name, shape in SHAPES.items()}


def work(id: int, config: Any, task: Any) -> str:
    folder, seconds = config
    note(folder, "begun", id)
    until = time.monotonic() + seconds
    if seconds >= 0.005:
        time.sleep(seconds)
    while time.monotonic() < until:
        pass
    return result_of(task)


def result_of(task: int) -> str:
    return f"result {task}" * (task % 5 + 1)


def note(folder: str, name: str, number: int) -> None:
    descriptor = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, struct.pack("<q", number))
    finally:
        os.close(descriptor)


def noted(folder: Path, name: str) -> list[int]:
    content = (folder / name).read_bytes() if (folder / name).exists() else b""
    return [number for (number,) in struct.iter_unpack("<q", content)]


def main(shape: str, tasks: int, milliseconds: float, kind: str, folder: str) -> None:
    items: Any = range(tasks) if kind == "list" else (n for n in range(tasks))
    run = worker_dispatcher.launch(
        {
            "task": {"list": items, "function": work, "config": (folder, milliseconds / 1000)},
            "worker": SHAPES[shape],
            "journal": os.path.join(folder, "run.db"),
            "verbose": False,
        }
    )
    for log in run:
        note(folder, "told", log["task_id"])
    run.wait()
    Path(folder, "done").write_text(json.dumps({"results": run.results, "info": run.info}, default=str))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], sys.argv[5])
