"""Standard input and output as files of the command, gzipped files, and files that are no run."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import worker_dispatcher

Call = Callable[..., Any]
COMMAND = f"{sys.executable} -m worker_dispatcher"
LINE = '{"task_id": 1, "started_at": 1.0, "ended_at": 2.0, "duration": 1.0, "result": 1, "status": "ok"}\n'
PACKED = gzip.compress(LINE.encode() * 500)
SHAPES = {"threads": [], "processes": ["--processes"], "grid": ["--grid", "2x2"]}
CHATTY = """
import os
def tell(id):
    print(f"printed {id}")
    os.system(f"echo echoed {id}")
    return id
"""


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line], text=True, capture_output=True, timeout=120, check=False)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_a_log_on_standard_output_is_alone_there(folder: Path, shape: list[str]) -> None:
    (folder / "chat.py").write_text(CHATTY)
    ended = shell(" ".join([COMMAND, "run", "chat:tell", "--list", "3", "--log", "-", *shape]))
    assert ended.returncode == 0
    (folder / "run.jsonl").write_text(ended.stdout)
    made = worker_dispatcher.report("run.jsonl", verbose=False)
    assert [log["result"] for log in made.run.logs] == [1, 2, 3]
    for words in ("printed 2", "echoed 2", "done in", "written: -"):
        assert words in ended.stderr


def test_a_log_goes_from_one_command_to_the_next(folder: Path) -> None:
    ended = shell(
        f"{COMMAND} load orders:visit --rate 100 --duration 0.2 --log - --quiet | {COMMAND} report - --check tps==20"
    )
    # A busy machine is told in place of the first.
    assert ended.stdout.startswith(("The load generator kept up", "WARNING: The load generator was")), ended
    assert ended.returncode in (0, 99)
    assert "\n20 tasks in" in ended.stdout


def test_a_log_on_an_output_that_is_full_or_closed_is_told(folder: Path) -> None:
    run = f"{COMMAND} run orders:whoami --list 3 --quiet --log -"
    full, closed, gone = shell(f"{run} > /dev/full"), shell(f"{run} >&-"), shell(f"{run} | head -0")
    assert (full.returncode, full.stderr) == (2, "worker-dispatcher run: --log -: No space left on device\n")
    assert (closed.returncode, closed.stderr) == (2, "worker-dispatcher run: --log -: standard output is closed\n")
    assert (gone.returncode, gone.stderr) == (0, "")


def test_a_log_is_on_standard_output_where_standard_error_is_closed(folder: Path) -> None:
    ended = shell(f"{COMMAND} run orders:whoami --list 3 --log - 2>&-")
    assert ended.stdout.count("\n") == 4


def test_what_was_done_by_an_interrupt_is_on_standard_output(folder: Path) -> None:
    (folder / "halt.py").write_text("import os\ndef f(id):\n    if id == 3: os.kill(os.getpid(), 2)\n")
    ended = shell(f"{COMMAND} run halt:f --list 3 --workers 1 --log - --quiet")
    assert ended.returncode == 130
    assert '"task_id": 2,' in ended.stdout
    assert ended.stderr.endswith("; written: -\n")


def test_only_a_log_goes_to_standard_output(call: Call, folder: Path) -> None:
    (folder / "run.jsonl").write_text(LINE)
    said = call("report", "run.jsonl", "--csv", "-")
    told = "worker-dispatcher report: --csv -: only --log can go to standard output; give the name of a file\n"
    assert said == (2, "", told)


def test_tasks_come_from_standard_input_while_the_log_goes_to_standard_output(folder: Path) -> None:
    ended = shell(f"printf 'a\\nbb\\n' | {COMMAND} run orders:fetch --list - --log - --quiet")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert '"metadata": {"length": 2}' in ended.stdout


def test_a_log_named_gz_is_compressed_and_read_by_how_it_begins(call: Call, folder: Path) -> None:
    assert call("run", "orders:whoami", "--list", "3", "--log", "run.jsonl.gz", "--quiet") == (0, "", "")
    assert gzip.decompress((folder / "run.jsonl.gz").read_bytes()).count(b"\n") == 4
    (folder / "run.jsonl.gz").rename("run")
    assert call("report", "run").out.startswith("3 tasks in ")
    made = worker_dispatcher.report("run", verbose=False)
    assert worker_dispatcher.report(made.to_jsonl("again.jsonl.gz"), verbose=False).tps == made.tps
    assert (folder / "again.jsonl.gz").read_bytes()[:2] == b"\x1f\x8b"


WAYS = ["- < run.jsonl", "- < run.gz", "<(cat run.gz)", "pipe & cat run.jsonl > pipe; wait $!"]


@pytest.mark.parametrize("how", WAYS)
def test_a_run_is_read_from_wherever_it_comes(folder: Path, how: str) -> None:
    (folder / "run.jsonl").write_text(LINE * 500)
    (folder / "run.gz").write_bytes(PACKED)
    os.mkfifo(folder / "pipe")
    ended = shell(f"{COMMAND} report {how}")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "500 tasks in" in ended.stdout


def test_one_of_two_runs_is_read_from_standard_input(folder: Path) -> None:
    (folder / "run.jsonl").write_text(LINE * 500)
    assert shell(f"{COMMAND} compare - run.jsonl < run.jsonl").stdout.startswith("a  -\nb  run.jsonl\n")
    both = shell(f"{COMMAND} compare - - < run.jsonl")
    assert (both.returncode, both.stdout) == (2, "")
    assert both.stderr == "worker-dispatcher compare: only one of the two can be standard input\n"


CASES = {
    "missing": (None, "No such file or directory"),
    "empty": (b"", "is empty: there is no log in it"),
    "a folder": ("folder", "Is a directory"),
    "not UTF-8": (LINE.encode() + b"\xff\xfe\n", "neither JSON lines nor a journal: byte 0xff of line 2 is not UTF-8"),
    "cut off": (PACKED[: len(PACKED) // 2], "the compressed file ends too early: it was cut off"),
    "damaged": (PACKED[:12] + b"\0\xff\0" + PACKED[15:], "the compressed file is damaged: "),
    "gzipped, and empty": (gzip.compress(b""), "is empty: there is no log in it"),
}


@pytest.mark.parametrize(("content", "told"), CASES.values(), ids=list(CASES))
@pytest.mark.parametrize("command", [["report"], ["compare", "good"]], ids=["report", "compare"])
def test_a_file_that_is_no_run_is_one_line(
    call: Call, folder: Path, command: list[str], content: bytes | str | None, told: str
) -> None:
    (folder / "good").write_text(LINE)
    if content == "folder":
        (folder / "run").mkdir()
    elif content is not None:
        (folder / "run").write_bytes(content)
    said = call(*command, "run")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"worker-dispatcher {command[0]}: run: {told}")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("empty", ["", "\n\n"])
def test_nothing_on_standard_input_is_one_line(folder: Path, empty: str) -> None:
    ended = shell(f"printf '{empty}' | {COMMAND} report -")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "worker-dispatcher report: standard input: is empty: there is no log in it\n"
    closed = shell(f"{COMMAND} report - <&-")
    assert (closed.returncode, closed.stderr) == (2, "worker-dispatcher report: -: standard input is closed\n")


def test_a_journal_in_a_pipe_is_told(folder: Path) -> None:
    ended = shell(f"{COMMAND} run orders:whoami --list 2 --journal run.db --quiet; cat run.db | {COMMAND} report -")
    assert ended.returncode == 2
    told = "worker-dispatcher report: standard input: is a journal, which can only be read from its own file\n"
    assert ended.stderr == told


def test_a_file_that_begins_as_windows_has_it_is_read(call: Call, folder: Path) -> None:
    (folder / "run").write_bytes(b"\xef\xbb\xbf" + LINE.replace("\n", "\r\n").encode())
    assert call("report", "run").out.startswith("1 task in ")


@pytest.mark.parametrize("how", ["--list list", "--list - < list", "--list <(cat list)"])
def test_a_gzipped_list_is_read(folder: Path, how: str) -> None:
    (folder / "list").write_bytes(gzip.compress(b"a\nbb\nccc"))
    ended = shell(f"{COMMAND} run orders:fetch --quiet --log run.jsonl {how}")
    assert (ended.returncode, ended.stderr) == (0, "")
    logs = worker_dispatcher.report("run.jsonl", verbose=False).run.logs
    assert [log["metadata"]["length"] for log in logs] == [1, 2, 3]


@pytest.mark.parametrize("how", ["--list list", "--list - < list"])
def test_a_gzipped_list_that_is_cut_off_is_one_line(folder: Path, how: str) -> None:
    (folder / "list").write_bytes(gzip.compress(os.urandom(5000).hex().encode())[:2000])
    ended = shell(f"{COMMAND} run orders:fetch --quiet {how}")
    assert ended.returncode == 2
    assert "the compressed file ends too early: it was cut off" in ended.stderr
    assert ended.stderr.count("\n") == 1
