"""`demo`: a batch that computes, in threads and in processes, and a load test of a server of its own."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker_dispatcher.cli.ending import FAILED, OK, Refused
from worker_dispatcher.cli.wording import EXIT_CODES, Help, paragraphs
from worker_dispatcher.clock import now
from worker_dispatcher.dispatch.banner import print as say
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.reporting import report

if TYPE_CHECKING:
    from worker_dispatcher.dispatch.run import Run
    from worker_dispatcher.reports.report import Report

__all__ = ["Findings", "add", "examine", "visit"]

_RATE, _SECONDS, _WORKERS = 100, 5, 20
_WORD = re.compile(rb"[A-Za-z]{4,}")
_ABOUT = """
    A first look. All files of this machine's Python library are hashed and their
    words counted, in threads and then in processes. Then a web server, which the
    demo starts on this machine, gets 100 requests a second. Each leaves a report.
    Takes about a quarter of a minute.
"""


class Findings(NamedTuple):
    """What one task found in one file."""

    digest: str
    size_bytes: int
    words: Counter[bytes]


def examine(task: Path) -> Findings:
    content = task.read_bytes()
    words = Counter(word.lower() for word in _WORD.findall(content))
    return Findings(hashlib.sha256(content).hexdigest(), len(content), words)


def visit(id: int, config: str, metadata: dict[str, Any]) -> int:
    from urllib.request import urlopen  # it takes long to load, and only the demo needs it

    with urlopen(f"{config}orders/{id}", timeout=5) as response:
        metadata["status"] = response.status
        return len(response.read())


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "demo",
        help="see it work: a batch, a load test, and their reports",
        description=paragraphs(_ABOUT),
        epilog=paragraphs(EXIT_CODES),
        formatter_class=Help,
    )
    parser.add_argument(
        "--to",
        type=Path,
        default=Path("worker-dispatcher-demo"),
        metavar="FOLDER",
        help="where reports go: %(default)s",
    )
    parser.set_defaults(function_of_command=_demo)


def _demo(given: argparse.Namespace) -> int:
    try:
        given.to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"--to {given.to}: {error.strerror}") from None
    kept = "before its first report"
    try:
        good = _batch(given.to)
        kept = f"the report of the batch is in {given.to}"
        say("")
        good = _load_test(given.to) and good
    except KeyboardInterrupt:
        raise KeyboardInterrupt(kept) from None
    say("\nnext: worker-dispatcher run --help")
    return OK if good else FAILED


def _start(**config: Any) -> Run:
    from worker_dispatcher.dispatch.run import Run

    config = {"verbose": False, "progress": _has_terminal(), **config}
    return Run.of(config).drive()


def _has_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


# The batch


def _batch(folder: Path) -> bool:
    library = Path(sysconfig.get_path("stdlib"))
    paths = list(_files_of(library))
    say(f"1. a batch that computes: {len(paths):,} files hashed and their words counted, of\n   {library}")
    runs, seconds = {}, {}
    for kind in ("threads", "processes"):
        began = now()
        runs[kind] = _start(task={"list": paths, "function": examine}, worker={"use_processing": kind == "processes"})
        seconds[kind] = now() - began
        _say_outcome(kind, runs[kind], seconds[kind])
    found = [findings for findings in runs["processes"].results if findings]
    words: Counter[bytes] = Counter()
    for findings in found:
        words.update(findings.words)
    commonest = "".join(f", the commonest is {word.decode()!r}" for word, _ in words.most_common(1))
    say(f"   {sum(findings.size_bytes for findings in found):,} bytes, {words.total():,} words{commonest}")
    same = [_digests(run) for run in runs.values()]
    good = bool(found) and same[0] == same[1]
    say(f"   digests {'are the same in both' if good else 'DIFFER'}: {_digest_of_all(same[1])}")
    say(f"   processes were {seconds['threads'] / seconds['processes']:.1f} times as fast as threads")
    made = report(runs["processes"], title="Files hashed in processes")
    say(f"   report: {_written(made, folder, 'batch')}")
    return good


def _files_of(folder: Path) -> Iterator[Path]:
    """All files below, without what was installed on top of the library and without compiled copies."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - {"site-packages", "dist-packages", "__pycache__"})
        yield from (path for name in sorted(names) if (path := Path(where, name)).is_file())


def _say_outcome(kind: str, run: Run, seconds: float) -> None:
    counts = run.info["counts"]
    workers = len({log["worker"] for log in run.logs})
    failed = sum(counts.values()) - counts["ok"]
    say(f"   in {kind:<10}{seconds:7.2f} s   {workers} workers   ok {counts['ok']:,}   failed {failed}")


def _digests(run: Run) -> list[str | None]:
    return [findings.digest if findings else None for findings in run.results]


def _digest_of_all(digests: list[str | None]) -> str:
    return hashlib.sha256("".join(digest or "-" for digest in digests).encode()).hexdigest()[:16]


# The load test


def _load_test(folder: Path) -> bool:
    from worker_dispatcher.cli.shop import STANDS_STILL, open_shop

    begin, end = STANDS_STILL
    say(f"2. a load test: {_RATE} requests a second for {_SECONDS} s, of a local web server")
    say(f"   that answers in about 20 ms, and stands still for {end - begin:g} s after {begin:g} s\n")
    with open_shop() as address:
        mode = {"enabled": True, "rate": _RATE, "duration": _SECONDS, "max_workers": _WORKERS}
        run = _start(
            task={"list": None, "function": visit, "config": address, "timeout": 10}, worker={"frequency_mode": mode}
        )
    made = report(run, title="A web shop, 100 requests a second", checks=["p99<1s", "error_rate<1%"], verbose=True)
    say("\n   'from due time' is what a visitor feels: it counts the wait for one of the")
    say(f"   {_WORKERS} workers too")
    say(f"   report: {_written(made, folder, 'load')}")
    return len(run.results) > 0 and all(run.results)


def _written(made: Report, folder: Path, name: str) -> str:
    """The report as a page of charts, or as text and CSV where the extra for pages is not there; in words, where."""
    try:
        return str(made.to_html(folder / f"{name}.html"))
    except ImportError:
        text = folder / f"{name}.txt"
        text.write_text(f"{made}\n", encoding="utf-8")
        made.to_csv(folder / f"{name}.csv")
        return f"{text} and .csv\n   with charts: pip install 'worker-dispatcher[report]'"
