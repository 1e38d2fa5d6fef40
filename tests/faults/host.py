"""A program that uses the library, for tests of what its end and its odd settings do: host.py shape task folder."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import worker_dispatcher

SHAPES: dict[str, dict[str, Any]] = {
    "threads": {"number": 3},
    "processes": {"number": 3, "use_processing": True},
    "grid": {"number": 4, "parallel_processing": {"enabled": True, "processes": 2}},
}


def work(id: int, config: Any, task: Any) -> int:
    """Tasks 1 and 2 end at once; the others say that they run, and do not end."""
    kind, folder = config
    if id > 2:
        Path(folder, f"{os.getpid()}.{id}").touch()
        if kind == "C":
            hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
        while kind == "python":
            pass
        while kind == "swallows":
            try:
                time.sleep(60)
            except BaseException:
                continue
        time.sleep(3600)
    return id * 10


def listed(generator: bool) -> Any:
    return (n for n in range(12)) if generator else range(12)


def main(shape: str, kind: str, folder: str, generator: bool) -> None:
    task = {"list": listed(generator), "function": work, "config": (kind, folder)}
    told: dict[str, Any] = {"error": None}
    try:
        worker_dispatcher.start({"task": task, "worker": SHAPES[shape], "verbose": False})
    except KeyboardInterrupt:
        told["error"] = "KeyboardInterrupt"
    told["ok"] = [log["task_id"] for log in worker_dispatcher.get_logs() if log["status"] == "ok"]
    again = {"list": 5, "function": lambda id: id}
    told["again"] = worker_dispatcher.start({"task": again, "worker": SHAPES[shape], "verbose": False})
    Path(folder, "told").write_text(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], len(sys.argv) > 4)
