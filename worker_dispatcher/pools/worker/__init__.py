"""A worker process: what is loaded there, and runs tasks.

    single.py          its life; SingleWorker: the main thread runs the tasks
    grid.py            GridWorker: the main thread feeds a Runner
    early_reports.py   what has ended is told of while the next task runs
    output_capture.py  keeps what a task prints        ending.py  ends as an interpreter does
    surroundings.py    files and a folder for a job    steps.py   a generator, step by step

The room promises: a task is on the slate before it begins; what has ended is sent before another long task begins; a
child that a task forks, and that comes back here, ends at once.
"""

__all__: list[str] = []
