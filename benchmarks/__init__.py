"""Benchmarks: one question per file, the same harness and the same work for everybody.

    harness.py   what is measured and how: fresh processes, interleaved repeats, medians, JSON
    measure.py   one measurement, in a process of its own
    rivals.py    the contestants as one-line adaptors
    floor.py     the bare idea in pure Python: what is physically there to be had
    trivial.py, cpu.py, arrays.py   the tasks, in modules that load fast
    a_noop.py .. j_first_result.py   one question each: `python -m benchmarks.a_noop`

`sh scripts/bench.sh` runs all of them.
"""
