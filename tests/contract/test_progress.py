"""Progress as a person sees it: scripts in terminals of real sizes, in files, in a notebook, and where nobody looks."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from terminal import Terminal

WORKERS = {
    "threads": {},
    "processes": {"use_processing": True},
    "grid": {"parallel_processing": {"enabled": True, "processes": 2}},
}
# Tasks whose number is above `free` wait for the file `gate`. Each takes a moment, so that its end is told at once:
# that of a shorter one may be told with the next.
STAGED = """
import os, subprocess, sys, time
import worker_dispatcher

def task_of(task):
    time.sleep(0.005)
    while task > FREE and not os.path.exists("gate"):
        time.sleep(0.005)
    if task % 5 == 0:
        raise ValueError("no such order")
    return task

FREE = {free}
CONFIG = {{"task": {{"list": range(1, 11), "function": task_of}}, "worker": {{"number": 4, **{worker}}}}}
"""
# Lines come every tenth of a second at the longest, instead of every ten seconds.
SOON = """
from worker_dispatcher.dispatch import progress_display as screens
screens._PLAIN_EVERY = 0.1
screens.PlainLines.every = 0.05
"""


def staged(start, free=6, worker="threads", before=""):
    return STAGED.format(free=free, worker=WORKERS[worker]) + before + start


def is_bar(row):
    return "%|" in row or re.search(r"\d+ done  ", row)


def assert_terminal_is_as_it_was(terminal):
    assert terminal.screen.margins is None
    assert not any(is_bar(row) for row in terminal.page)
    assert not terminal.last_row


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("worker", WORKERS)
def test_a_terminal_shows_one_bar_and_then_the_summary(tmp_path, columns, worker):
    code = staged("worker_dispatcher.start(CONFIG)\nprint('after it')", worker=worker)
    with Terminal(tmp_path, code, columns=columns) as terminal:
        row = terminal.until_row("6/10")
        (tmp_path / "gate").touch()
        assert terminal.end() == 0

    assert re.fullmatch(r" 60%\|█+.* +\| 6/10  [\d.]+/s  0:0\d left  ok 5  failed 1", row)
    assert len(row) == columns - 1
    for rows in terminal.seen:
        assert not any(is_bar(row) for row in rows[:-1])
    assert_terminal_is_as_it_was(terminal)
    summary = next(at for at, row in enumerate(terminal.page) if re.match("done in .* ok 8   failed 2", row))
    assert terminal.page.index("after it") > summary


PRINTS = """
def say(task):
    print(f"out {task}")
    print(f"err {task}", file=sys.stderr)
    os.write(1, f"raw {task}\\n".encode())
    subprocess.run(["echo", f"child {task}"])
    time.sleep(0.03)

worker = CONFIG["worker"] | {"number": 1}
if not worker.get("use_processing") and "parallel_processing" not in worker:
    CONFIG["task"]["callback"] = {"on_done": lambda id, result: print(f"done {id}")}
CONFIG["task"] |= {"list": 40, "function": lambda id: say(id)}
worker_dispatcher.start(CONFIG | {"worker": worker})
"""


@pytest.mark.parametrize("worker", WORKERS)
def test_what_tasks_print_never_meets_the_bar(tmp_path, worker):
    with Terminal(tmp_path, staged(PRINTS, worker=worker)) as terminal:
        assert terminal.end() == 0

    bars = [rows[-1] for rows in terminal.seen if is_bar(rows[-1])]
    assert len(set(bars)) > 3  # it moved on
    assert all(re.fullmatch(r" *\d+%\|.*\| \d+/40( .*)?", row) for row in bars)
    start = next(at for at, row in enumerate(terminal.page) if row.startswith("--- Start"))
    end = next(at for at, row in enumerate(terminal.page) if row.startswith("--- End"))
    kinds = ["out", "err", "raw", "child"] + ["done"] * (worker == "threads")
    expected = [f"{kind} {task}" for task in range(1, 41) for kind in kinds]
    assert [row for row in terminal.page[start + 1 : end] if row] == expected
    for rows in terminal.seen:
        assert not any(is_bar(row) for row in rows[:-1])


def test_an_unfinished_line_of_a_task_stays_as_it_is(tmp_path):
    tasks = """
def dots(task):
    for _ in range(30):
        print(".", end="", flush=True)
        time.sleep(0.03)
    print(" done")

CONFIG["task"] |= {"list": 1, "function": dots}
worker_dispatcher.start(CONFIG)
"""
    with Terminal(tmp_path, staged(tasks)) as terminal:
        terminal.until_row(r"0/1")
        assert terminal.end() == 0

    assert "." * 30 + " done" in terminal.page


def test_ctrl_c_takes_the_bar_away_before_anything_is_said(tmp_path):
    code = """
try:
    worker_dispatcher.start(CONFIG)
except KeyboardInterrupt:
    print("stopped by hand")
"""
    with Terminal(tmp_path, staged(code, worker="processes")) as terminal:
        terminal.until_row("6/10")
        terminal.type(b"\x03")
        assert terminal.end() == 0

    assert_terminal_is_as_it_was(terminal)
    assert "stopped by hand" in terminal.page
    assert "Stopped early: interrupt" in terminal.page


def test_the_bar_follows_the_size_of_the_window(tmp_path):
    with Terminal(tmp_path, staged("worker_dispatcher.start(CONFIG)"), columns=80, rows=24) as terminal:
        terminal.until_row("6/10")
        for columns, rows in ((120, 30), (60, 12), (100, 40)):
            terminal.resize(columns, rows)
            terminal.until(lambda width=columns: is_bar(terminal.last_row) and len(terminal.last_row) == width - 1)
            assert sum(bool(is_bar(row)) for row in terminal.rows) == 1
        (tmp_path / "gate").touch()
        assert terminal.end() == 0

    assert_terminal_is_as_it_was(terminal)


def test_a_frame_of_a_wider_window_leaves_no_second_bar(tmp_path):
    # The size that the program reads is an old one, as at the moment at which the window shrinks.
    before = """
told, size_of = [], os.get_terminal_size
def late(fd):
    told.append(size_of(fd))
    return told[max(0, len(told) - 20)]
os.get_terminal_size = late
"""
    code = staged("worker_dispatcher.start(CONFIG)", before=before)
    with Terminal(tmp_path, code, columns=120, rows=30) as terminal:
        terminal.until_row("6/10")
        terminal.resize(60, 12)
        terminal.until(lambda: is_bar(terminal.last_row) and len(terminal.last_row) == 59)
        assert sum(bool(is_bar(row)) for row in terminal.rows) == 1
        (tmp_path / "gate").touch()
        assert terminal.end() == 0

    assert_terminal_is_as_it_was(terminal)


def test_a_list_without_a_length_is_counted(tmp_path):
    code = staged('CONFIG["task"]["list"] = iter(range(1, 11))\nworker_dispatcher.start(CONFIG)')
    with Terminal(tmp_path, code) as terminal:
        row = terminal.until_row("6 done")
        (tmp_path / "gate").touch()
        assert terminal.end() == 0

    assert re.fullmatch(r"6 done  [\d.]+/s  0:0\d  ok 5  failed 1", row)
    assert_terminal_is_as_it_was(terminal)


@pytest.mark.parametrize("columns", [80, 120])
def test_a_load_shows_its_rates_and_response_times(tmp_path, columns):
    code = """
import os, time, worker_dispatcher

def visit(task):
    time.sleep(0.02)
    return True

mode = {"enabled": True, "rate": 50, "duration": 3, "max_workers": 10}
worker_dispatcher.start({"task": {"list": None, "function": visit}, "worker": {"frequency_mode": mode}})
"""
    with Terminal(tmp_path, code, columns=columns) as terminal:
        row = terminal.until_row(r"\d of \d+/s  p50 \d+ms p95 \d+ms p99 \d+ms  in flight \d")
        assert terminal.end() == 0

    assert re.search(r"0:0\d left  ", row)
    assert bool(is_bar(row)) == (columns == 120)
    assert_terminal_is_as_it_was(terminal)


def test_with_progress_alone_the_last_state_stays(tmp_path):
    code = staged("worker_dispatcher.start(CONFIG | {'verbose': False, 'progress': True})")
    with Terminal(tmp_path, code, PYTHONWARNINGS="ignore") as terminal:
        terminal.until_row("6/10")
        (tmp_path / "gate").touch()
        assert terminal.end() == 0

    assert re.fullmatch(r"10/10  [\d.]+/s  0:\d\d  ok 8  failed 2", terminal.page[0])
    assert not any(terminal.page[1:])


@pytest.mark.parametrize("options", [{"verbose": False}, {"progress": False}])
def test_nothing_is_shown_where_none_is_asked_for(tmp_path, options):
    code = staged(f"worker_dispatcher.start(CONFIG | {options})\nprint('tqdm' in sys.modules)", free=0)
    gate = "import threading\nthreading.Timer(1.0, lambda: open('gate', 'w').close()).start()\n"
    with Terminal(tmp_path, code.replace("FREE = 0", "FREE = 0\n" + gate), PYTHONWARNINGS="ignore") as terminal:
        assert terminal.end() == 0

    assert b"\x1b" not in terminal.raw
    assert "False" in terminal.page


def test_a_short_run_shows_no_bar_and_loads_nothing_for_it(tmp_path):
    with Terminal(
        tmp_path, staged("worker_dispatcher.start(CONFIG)\nprint('tqdm' in sys.modules)", free=10)
    ) as terminal:
        assert terminal.end() == 0

    assert b"\x1b" not in terminal.raw
    assert "False" in terminal.page


def test_the_host_program_is_left_as_it_was(tmp_path):
    code = staged(
        """
import multiprocessing, signal, threading
worker_dispatcher.start(CONFIG)
print(multiprocessing.get_start_method(allow_none=True), threading.active_count(), "tqdm" in sys.modules)
"""
    )
    with Terminal(tmp_path, code) as terminal:
        terminal.until_row("6/10")
        (tmp_path / "gate").touch()
        assert terminal.end() == 0

    assert "None 1 True" in terminal.page


def test_a_program_that_ends_during_a_launched_run_takes_the_bar_with_it(tmp_path):
    code = staged("worker_dispatcher.launch(CONFIG)\nwhile not os.path.exists('enough'): time.sleep(0.005)")
    with Terminal(tmp_path, code) as terminal:
        terminal.until_row("6/10")
        (tmp_path / "enough").touch()
        assert terminal.end() == 0

    assert terminal.screen.margins is None
    assert not any(is_bar(row) for row in terminal.rows)


def test_two_runs_at_a_time_share_a_terminal(tmp_path):
    code = staged(
        "runs = [worker_dispatcher.launch(CONFIG) for _ in range(2)]\nfor run in runs: run.wait()", before=SOON
    )
    with Terminal(tmp_path, code) as terminal:
        terminal.until_row("6/10")
        terminal.until(lambda: any(re.fullmatch(r"after \d+ s: 6/10, .*", row) for row in terminal.rows))
        (tmp_path / "gate").touch()
        assert terminal.end() == 0

    for rows in terminal.seen:
        assert sum(bool(is_bar(row)) for row in rows) <= 1
    assert_terminal_is_as_it_was(terminal)


@pytest.mark.parametrize("columns", [80, 120])
def test_a_bar_in_ascii(tmp_path, columns):
    variables = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    with Terminal(tmp_path, staged("worker_dispatcher.start(CONFIG)"), columns=columns, **variables) as terminal:
        row = terminal.until_row("6/10")
        (tmp_path / "gate").touch()
        assert terminal.end() == 0

    assert re.match(r" 60%\|#+", row)
    assert terminal.raw.isascii()


@pytest.mark.parametrize("case", ["dumb", "tiny"])
def test_a_terminal_that_cannot_show_a_bar_gets_plain_lines(tmp_path, case):
    given = {"TERM": "dumb"} if case == "dumb" else {"rows": 3}
    with Terminal(tmp_path, staged("worker_dispatcher.start(CONFIG)", before=SOON), **given) as terminal:
        line = r"after \d+ s: 6/10, [\d.]+/s, 0:0\d left, ok 5, failed 1"
        terminal.until(lambda: any(re.fullmatch(line, row) for row in terminal.page))
        (tmp_path / "gate").touch()
        assert terminal.end() == 0

    assert b"\x1b" not in terminal.raw


def test_a_run_in_the_background_leaves_the_last_row_to_others(tmp_path):
    code = staged("worker_dispatcher.start(CONFIG)", before=SOON)
    behind = "import subprocess, sys\nsys.exit(subprocess.call([sys.executable, 'behind.py'], process_group=0))"
    (tmp_path / "behind.py").write_text(code, encoding="utf-8")
    with Terminal(tmp_path, behind) as terminal:
        terminal.until(lambda: any(re.match(r"after \d+ s: 6/10, ", row) for row in terminal.page))
        (tmp_path / "gate").touch()
        assert terminal.end() == 0

    assert b"\x1b" not in terminal.raw


def test_a_terminal_that_stands_still_holds_up_nobody(tmp_path):
    code = staged(
        """
import termios
termios.tcflow(2, termios.TCOOFF)  # Ctrl-S
began = time.monotonic()
CONFIG["task"] |= {"timeout": 1.5, "list": [1, 99]}
logs = worker_dispatcher.launch(CONFIG | {"verbose": False, "progress": True})
for log in logs:
    pass
took = time.monotonic() - began
termios.tcflow(2, termios.TCOON)
print(log["status"], took < 4.5)
"""
    )
    with Terminal(tmp_path, code, PYTHONWARNINGS="ignore") as terminal:
        assert terminal.end() == 0

    assert "timeout True" in terminal.page


# Where stderr is no terminal.

LONG = staged(
    """
CONFIG["task"] |= {"list": 60, "function": lambda id: time.sleep(0.05)}
results = worker_dispatcher.start(CONFIG | {"verbose": False, "progress": True})
open("results", "w").write(str(len(results)))
""",
    before=SOON,
)


def run_script(folder, code, stderr=subprocess.PIPE, shell="", **variables):
    path = folder / "script.py"
    path.write_text(code, encoding="utf-8")
    command = [sys.executable, str(path)]
    if shell:
        command = ["sh", "-c", f'exec "$0" "$1" {shell}', *command]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment = {**buffered, **variables}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=stderr, timeout=60, check=False
    )
    assert done.returncode == 0, done
    return done


def test_a_file_gets_a_plain_line_now_and_then(tmp_path):
    with (tmp_path / "log").open("wb") as log:
        run_script(tmp_path, LONG, stderr=log, PYTHONIOENCODING="ascii")

    lines = (tmp_path / "log").read_bytes().decode("ascii").splitlines()
    assert 2 <= len(lines) < 20
    assert all(re.fullmatch(r"after \d+ s: \d+/60, [\d.]+/s, 0:\d\d left, ok \d+", line) for line in lines[1:])


@pytest.mark.parametrize("shell", ["2>&-", "2>/dev/full", "1>&- 2>&-"])
def test_an_output_that_takes_nothing_breaks_no_run(tmp_path, shell):
    run_script(tmp_path, LONG, shell=shell)

    assert (tmp_path / "results").read_text() == "60"


def fill(pipe):
    try:
        while True:
            os.write(pipe, bytes(4096))
    except BlockingIOError:
        pass


@pytest.mark.parametrize("case", ["nobody reads it", "its reader has gone"])
def test_a_pipe_that_takes_nothing_breaks_no_run(tmp_path, case):
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        if case == "its reader has gone":
            os.close(reading)
        else:
            fill(writing)
        os.set_blocking(writing, True)
        run_script(tmp_path, LONG, stderr=writing)
    finally:
        os.close(writing)
        if case == "nobody reads it":
            os.close(reading)

    assert (tmp_path / "results").read_text() == "60"


def test_a_display_that_breaks_is_given_up_and_the_run_goes_on(tmp_path):
    broken = """
def break_off(view, *rest):
    if view.done >= 8:
        raise RuntimeError("no more")
    return ""

from worker_dispatcher.dispatch import progress_display as screens
screens.LastRow._line = lambda self, view, width: break_off(view) or f"{view.done} of {view.total}"
"""
    code = staged("worker_dispatcher.start(CONFIG)", before=broken)
    with Terminal(tmp_path, code.replace('os.path.exists("gate")', 'os.path.exists(f"gate{task // 9}")')) as terminal:
        terminal.until_row("6 of 10")
        (tmp_path / "gate0").touch()
        terminal.until(lambda: terminal.screen.margins is None)
        (tmp_path / "gate1").touch()
        assert terminal.end() == 0

    assert any(re.match("done in .* ok 8   failed 2", row) for row in terminal.page)


# As far as a run sees of a notebook: the kernel's module, and what displays. SHOWN: what the cell has, by display_id.
NOTEBOOK = """
import sys, types

SHOWN, SEEN = {}, []
def display(bundle, *, raw, display_id, update):
    assert raw and update == (display_id in SHOWN)
    SHOWN[display_id] = bundle
    SEEN.append(bundle)
    if "6/10" in bundle["text/plain"]:
        open("gate", "w").close()

def module(name, **names):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__dict__.update(names)

module("ipykernel"), module("ipykernel.zmqshell"), module("IPython"), module("IPython.display", display=display)
"""
IN_A_NOTEBOOK = """
import multiprocessing, threading
worker_dispatcher.start(CONFIG)
for bundle in SEEN + list(SHOWN.values()):
    print(bundle["text/plain"], bundle["text/html"], sep="\\n")
print(len(SHOWN), multiprocessing.get_start_method(allow_none=True), threading.active_count())
"""


def test_a_notebook_has_one_bar_that_does_not_stay_at_nothing(tmp_path):
    """Neither as HTML nor as the text that is kept beside it, which is all that a notebook without a browser has."""
    done = run_script(tmp_path, NOTEBOOK + staged(IN_A_NOTEBOOK))

    lines = done.stdout.decode().splitlines()
    assert any(re.fullmatch(r" 60%\|█.*\| 6/10  .*ok 5  failed 1", line) for line in lines), lines
    text, page = lines[-3:-1]
    assert re.fullmatch(r"100%\|█+\| 10/10  .*ok 8  failed 2", text), lines
    assert re.fullmatch(r'<progress value="10" max="10" .*</progress> <code>10/10  .*ok 8  failed 2</code>', page), (
        lines
    )
    assert lines[-1] == "1 None 1"
    assert done.stderr == b""
