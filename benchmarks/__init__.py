"""Benchmarks: one question per file, the same harness and the same work for everybody.

    harness.py   what is measured and how: fresh processes, interleaved repeats, medians, JSON
    goals.py     what each row is to reach, as data, and the table that says whether it did
    measure.py   one measurement, in a process of its own
    rivals.py    the contestants as one-line adaptors
    floor.py     the bare idea in pure Python: what is physically there to be had
    trivial.py, cpu.py, arrays.py, naps.py, async_naps.py   the tasks, in modules that load fast
    a_noop.py .. n_import.py   one question each: `python -m benchmarks.a_noop`
    growth.py    how cost grows with tasks, workers and payload: curves

`sh scripts/bench.sh` runs all of them. ray and dask take part where they are installed.
"""
