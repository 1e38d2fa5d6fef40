"""SHA-256 and word statistics of every file of this machine's Python library, in threads and then in processes.

Both runs go through `worker_dispatcher.start`; the digests must be the same. Counting words holds the interpreter's
lock, so processes are the right choice here, and the last line shows by how much. The second run leaves a report.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import worker_dispatcher

LIBRARY = Path(sysconfig.get_path("stdlib"))
REPORTS = Path(__file__).resolve().parent.parent / "build" / "demo"
WORD = re.compile(rb"[A-Za-z]{4,}")


@dataclass(frozen=True)
class Findings:
    """What one task found in one file."""

    digest: str
    size_bytes: int
    words: Counter[bytes]


def examine(task: Path) -> Findings:
    content = task.read_bytes()
    words = Counter(word.lower() for word in WORD.findall(content))
    return Findings(hashlib.sha256(content).hexdigest(), len(content), words)


def files_of(folder: Path) -> Iterator[Path]:
    """All files below, without what was installed on top of the library and without compiled copies."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - {"site-packages", "dist-packages", "__pycache__"})
        yield from (path for name in sorted(names) if (path := Path(where, name)).is_file())


def run(paths: list[Path], *, processes: bool) -> tuple[list[Any], float]:
    """Findings in the order of the paths (a falsy TaskFailure where a file could not be read), and seconds."""
    began = time.perf_counter()
    results = worker_dispatcher.start(
        {
            "task": {"list": paths, "function": examine},
            "worker": {"number": None, "use_processing": processes},
            "verbose": False,
        }
    )
    return results, time.perf_counter() - began


def main() -> int:
    paths = list(files_of(LIBRARY))
    print(f"{len(paths):,} files in {LIBRARY}")
    seconds, digests, found = {}, {}, []
    for kind in ("threads", "processes"):
        found, seconds[kind] = run(paths, processes=kind == "processes")
        digests[kind] = [findings.digest if findings else None for findings in found]
        counts = worker_dispatcher.get_result_info()["counts"]
        workers = len({log["worker"] for log in worker_dispatcher.get_logs()})
        print(
            f"  in {kind:<10}{seconds[kind]:7.2f} s   {workers} workers   ok {counts['ok']:,}   failed {failed(counts)}"
        )

    good = [findings for findings in found if findings]
    words: Counter[bytes] = Counter()
    for findings in good:
        words.update(findings.words)
    print(f"\nbytes   {sum(findings.size_bytes for findings in good):,}")
    print(f"words   {words.total():,}, {len(words):,} different")
    print("top     " + "  ".join(f"{word.decode()} {count:,}" for word, count in words.most_common(6)))

    print(f"report  {write_report()}")

    same = digests["threads"] == digests["processes"] and len(good) > 0
    print(f"digests {'the same in both' if same else 'DIFFER'}; of all of them: {digest_of_all(digests['processes'])}")
    print(f"\nprocesses were {seconds['threads'] / seconds['processes']:.1f} times as fast as threads")
    return 0 if same else 1


def write_report() -> Path:
    """The last run as a page of charts, or as text and CSV where the extra for reports is not installed."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    report = worker_dispatcher.report(title="Files of the Python library, hashed in processes")
    try:
        return report.to_html(REPORTS / "report.html")
    except ImportError as error:
        print(f"\n{report}\n\nno page of charts: {error}")
        return report.to_csv(REPORTS / "report.csv")


def failed(counts: dict[str, int]) -> int:
    return sum(counts.values()) - counts["ok"]


def digest_of_all(digests: list[str | None]) -> str:
    return hashlib.sha256("".join(digest or "-" for digest in digests).encode()).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
