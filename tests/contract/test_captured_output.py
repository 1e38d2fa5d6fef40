"""worker.capture_output: what a task prints is in its log, whoever runs beside it; nothing of it elsewhere."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading

import pytest
from staging import SHAPES

import worker_dispatcher as wd

ON = {"capture_output": True}


def outputs():
    return [log["output"] for log in wd.get_logs()]


def test_what_each_task_prints_is_in_its_own_log_and_nowhere_else(shape, run, notes, capfd):
    number = 1 if shape.name == "coroutine-processes" else 4

    def talk(id):
        print("first of", id)
        notes.add(id)
        yield notes.count(number)  # as many as there are workers print at the same time
        print("then", id, file=sys.stderr)
        sys.stdout.write("last\n")
        return id

    assert run(shape, talk, 4, {"number": number, **ON}) == [1, 2, 3, 4]

    assert outputs() == [f"first of {id}\nthen {id}\nlast\n" for id in range(1, 5)]
    assert [log["metadata"] for log in wd.get_logs()] == [{}] * 4
    assert capfd.readouterr() == ("", "")


def test_a_task_that_prints_nothing_or_fails_has_an_output_too(shape, run):
    def talk(id, metadata):
        metadata["id"] = id
        if id == 2:
            print("about to fail")
            raise ValueError(id)

    with pytest.warns(wd.TaskFailuresWarning):
        run(shape, talk, 3, ON)

    assert outputs() == ["", "about to fail\n", ""]
    assert [log["metadata"] for log in wd.get_logs()] == [{"id": id} for id in (1, 2, 3)]


def test_only_the_end_of_much_output_is_kept(shape, run):
    def talk(id):
        for n in range(3_000):
            print(f"{n:1000d}")

    run(shape, talk, 1, ON)

    (output,) = outputs()
    assert output.endswith("2999\n")
    assert len(output) < 1_000_100
    assert output.startswith("[2003000 characters cut]...")


def test_on_done_sees_the_output(shape, run):
    def on_done(log, result):
        return log["output"], sorted(log["metadata"])

    assert run(shape, lambda id: print("x"), 2, ON, callback={"on_done": on_done}) == [("x\n", [])] * 2
    assert outputs() == ["x\n", "x\n"]


@pytest.mark.differs_on_a_cluster("what tasks print goes where the Dask worker prints")
def test_off_leaves_everything_as_it_is(shape, run, capfd):
    # One write a task: an unbuffered stream lets go of the line's end by itself, and a thread may come between.
    run(shape, lambda id: sys.stdout.write("aloud\n"), 3)

    assert "output" not in wd.get_logs()[0]
    assert capfd.readouterr().out == "aloud\n" * 3


def test_the_streams_of_this_process_are_put_back(run):
    before = sys.stdout, sys.stderr
    run(SHAPES["threads"], lambda id: print("x"), 3, ON)
    assert (sys.stdout, sys.stderr) == before


def test_two_runs_at_a_time_do_not_mix_and_put_the_streams_back(make_config, notes):
    before = sys.stdout, sys.stderr

    def talk(id, config):
        print(config)
        notes.add(config)
        yield notes.has("one", "two")
        print(config)

    runs = [wd.launch(make_config(SHAPES["threads"], talk, 2, ON, config=name)) for name in ("one", "two")]
    for run, name in zip(runs, ("one", "two"), strict=True):
        assert [log["output"] for log in run.wait(20).logs] == [f"{name}\n{name}\n"] * 2
    assert (sys.stdout, sys.stderr) == before


def test_who_redirects_output_himself_gets_what_he_redirects(run):
    def talk(id):
        print("before")
        with contextlib.redirect_stdout(io.StringIO()) as own:
            print("own")
        print("after")
        return own.getvalue()

    assert run(SHAPES["processes"], talk, 1, ON) == ["own\n"]
    assert outputs() == ["before\nafter\n"]


def test_what_is_no_tasks_own_goes_where_it_went_before(process_shape, run, capfd):
    def talk(id):
        thread = threading.Thread(target=print, args=("a thread of it",))
        thread.start()
        thread.join()
        os.write(1, b"the descriptor\n")
        print("the task")

    run(process_shape, talk, 1, ON)

    assert outputs() == ["the task\n"]
    assert sorted(capfd.readouterr().out.splitlines()) == ["a thread of it", "the descriptor"]


def test_the_stand_in_is_a_stream_like_any_other(process_shape, run):
    def look(id):
        sys.stdout.writelines(["a", "b"])
        print("c", flush=True)
        with pytest.raises(TypeError):
            sys.stdout.write(b"x")
        return sys.stdout.encoding, sys.stdout.isatty(), sys.stdout.writable(), sys.stdout.fileno()

    assert run(process_shape, look, 1, ON) == [("utf-8", False, True, 1)]
    assert outputs() == ["abc\n"]


def test_the_output_is_in_records_that_are_handed_over(make_config):
    run = wd.launch(make_config(SHAPES["processes"], lambda id: print("x", id), 5, ON), keep_records=False)
    assert {log["task_id"]: (log["output"], log["metadata"]) for log in run} == {
        id: (f"x {id}\n", {}) for id in range(1, 6)
    }


def test_the_output_is_in_a_journal_too_and_in_the_logs_of_the_run_that_goes_on(run, tmp_path):
    path = tmp_path / "run.db"

    def talk(id, metadata):
        metadata["id"] = id
        print("x", id)

    for top in ({"journal": path}, {"journal": path}):
        run(SHAPES["threads"], talk, 2, ON, top=top)
        for logs in (wd.get_logs(), wd.read_journal(path)):
            assert [log["output"] for log in logs] == ["x 1\n", "x 2\n"]
            assert [log["metadata"] for log in logs] == [{"id": 1}, {"id": 2}]
