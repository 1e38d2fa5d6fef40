"""Tasks that are run again on their own, since one of them has ended their process: each has a process of its own."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from notes import Notes

COUNT = 4


def test_what_a_suspect_has_left_behind_in_its_process_meets_no_other(run: Any, tmp_path: Path) -> None:
    notes, over = Notes(tmp_path / "notes"), tmp_path / "over"

    def meet(id: int) -> int:
        if not over.exists():
            notes.add(f"met {id}")
            notes.wait(*(f"met {one}" for one in range(1, COUNT + 1)))
            over.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    processes = run(meet, COUNT, {"number": COUNT, "parallel_processing": {"enabled": True, "processes": 1}})
    assert len(set(processes)) == COUNT
