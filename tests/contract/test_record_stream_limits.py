"""Runs that keep no records: what they cannot do, what they show, and how programs end in them."""

from __future__ import annotations

import itertools
import re
import threading
import time

import pytest
from streamed import streamed

import worker_dispatcher as wd

# What cannot go together, and programs of their own


def test_what_needs_all_records_says_so(make_config):
    from staging import SHAPES

    run = streamed(make_config(SHAPES["threads"], lambda id: id, 3))
    assert len(list(run)) == 3

    asks = [
        lambda: run.results,
        lambda: run.logs,
        run.tps,
        lambda: wd.report(run),
        wd.get_results,
        wd.get_logs,
        wd.get_tps,
        wd.report,
    ]
    for ask in asks:
        with pytest.raises(wd.RunError, match=r"not kept.*iterate the run.*keep_records=True"):
            ask()
    assert wd.get_result_info() == run.info
    assert wd.get_duration() == run.info["duration"]
    assert wd.get_dropped() == []
    assert run._repr_html_() == "&lt;Run done: 3 ok, 0 other&gt;"


@pytest.mark.parametrize(
    ("task", "frequency", "path", "text"),
    [
        ({"callback": {"on_all_done": lambda result: result}}, {}, "task.callback.on_all_done", "keep the records"),
        ({}, {"abort_on": ["error_rate>50%"]}, "worker.frequency_mode.abort_on", "keep the records"),
        ({}, {"on_saturation": "drop"}, "worker.frequency_mode.on_saturation", "use 'queue'"),
        ({}, {"cooldown": 1}, "worker.frequency_mode.cooldown", "give a duration"),
    ],
)
def test_what_cannot_go_together_is_refused_before_anything_starts(task, frequency, path, text):
    frequency = {"frequency_mode": {"enabled": True, **frequency}} if frequency else {}
    config = {"task": {"list": 3, "function": str, **task}, "worker": {"number": 2, **frequency}, "verbose": False}
    with pytest.raises(wd.ConfigError, match="keep_records=False") as caught:
        streamed(config)

    [(where, what)] = caught.value.problems
    assert where == path
    assert text in what
    assert wd.launch(config).wait(10).done


def test_a_journal_is_refused_and_no_file_made(tmp_path):
    config = {"task": {"list": 3, "function": str}, "journal": str(tmp_path / "run.db"), "verbose": False}
    with pytest.raises(wd.ConfigError, match=r"journal .*keep_records=False.*keep the records"):
        streamed(config)
    assert list(tmp_path.iterdir()) == []


def test_a_verbose_run_ends_with_its_outcomes(make_config, capsys):
    from staging import SHAPES

    config = make_config(SHAPES["threads"], lambda id: 1 // (id - 2), 5, top={"verbose": True, "debug": True})
    run = streamed(config)
    assert len(list(run)) == 5
    run.wait()

    printed = capsys.readouterr().out
    assert "Completed Tasks Count: 5" in printed
    assert re.search(r"^done in .*   ok 4   failed 1$", printed, re.MULTILINE)
    assert "first failures" not in printed


@pytest.mark.parametrize("frequency", [{}, {"frequency_mode": {"enabled": True, "interval": 0.1}}])
def test_progress_can_be_shown_without_records(make_config, frequency):
    from staging import SHAPES

    top = {"verbose": False, "progress": True}
    run = streamed(make_config(SHAPES["threads"], lambda id: id, 9, {"number": 3, **frequency}, top=top))

    assert len(list(run)) == 9
    assert run.info["counts"]["ok"] == 9


def test_ctrl_c_in_the_loop_leaves_it_and_ends_the_run(script):
    code = """
import itertools, os, signal, threading
import worker_dispatcher as wd

config = {"task": {"list": itertools.count(), "function": str}, "worker": {"use_processing": True}, "verbose": False}
run = wd.launch(config, keep_records=False)
try:
    for log in run:
        if log["task_id"] == 500:
            os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    run.wait(10)
    print(run.info["stopped"], run.info["counts"]["ok"] > 0, threading.active_count())
"""
    done = script("-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "interrupt True 1\n"


def test_a_program_may_end_in_the_middle_of_the_loop(script):
    code = """
import itertools, threading
import worker_dispatcher as wd

config = {"task": {"list": itertools.count(), "function": str}, "worker": {"use_processing": True}, "verbose": False}
run = wd.launch(config, keep_records=False)
records = iter(run)
print(next(records)["status"])

# At the end of the interpreter a thread may stand still with a lock in its hand. Here one has it for certain.
thread = threading.Thread(target=run._execution.bounded._driver._pool._waking.acquire)
thread.start()
thread.join()
del run, thread
"""
    began = time.monotonic()
    done = script("-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
    assert time.monotonic() - began < 20


LET_GO = threading.Event()


def first_waits(task, config):
    if task == 1:
        config.add("begun")
        LET_GO.wait(60)
    return task


@pytest.mark.parametrize("worker", [{"number": 1}, {"number": 1, "use_processing": True}], ids=["threads", "processes"])
def test_what_was_drawn_ahead_and_never_begun_is_not_run_though_records_are_not_kept(worker, notes, wait_until):
    LET_GO.clear()
    drawn = []
    tasks = (drawn.append(n) or n for n in itertools.count(1))
    run = streamed(
        {"task": {"list": tasks, "function": first_waits, "config": notes}, "worker": worker, "verbose": False}
    )
    wait_until(lambda: notes.has("begun")() and len(drawn) > 2, within=60)
    run.cancel()
    assert [record["status"] for record in run] == ["cancelled"]
    LET_GO.set()
    assert run.info["not_run"] == list(range(2, len(drawn) + 1))
    assert sum(run.info["counts"].values()) == len(drawn)
