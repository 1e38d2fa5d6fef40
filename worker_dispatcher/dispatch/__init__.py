"""One bounded run, from a checked config to its records; floor 5.

    Config ─▶ plan ─▶ Plan = Schedule (when) x Shape (where) + limits
                        │
    task.list ─▶ TaskList ─▶ TaskSource ── take ──▶ pool          the pool's own room: pools/
                   one draw each  ▲                   │ events
                                  └── put back ── Driver ──▶ Recorder ── complete ──▶ Records ─▶ results, logs, info
                                     (retries)   (core/)                                Run, what the user holds
    with a journal:  TaskList ─▶ ResumedTasks (less what it has)     JournalRecorder: record, commit, then complete

    plan.py       what a config means on this machine, and whether it can be sent to processes
    schedule.py   when tasks may start; load.py  in frequency mode
    tasklist.py   the user's list, drawn from once; source.py  which task is next: what came back, then fresh ones
    bounded.py    BoundedRun: the source, the sink and the timers of a run, and the pool it is driven through
    recorder.py   the sink: how tasks end is recorded and counted; journal_recorder.py  in the journal first
    resume.py     what is left of a list and a schedule of which an earlier run did a part
    failures.py   another attempt, or what the run raises; why a run may end early
    execution.py  from the first task to the end, in one thread: BoundedRun, on_all_done, the warning at the end
    run.py        the handle of it: results, logs, info, wait, cancel, iteration
    record_stream.py  for a run that keeps no records: each goes to whoever iterates it
    abort.py      checks that end a load while it goes on     interrupt.py  Ctrl-C as a request
    banner.py     the one place that prints  summary.py  what it prints at the end
    progress_display.py  the progress of a run, looked at by the clock, and where it is shown
    progress_stats.py    what there is to see of it

Threads: `start` drives in the caller's thread, and has no other of its own. `launch` drives in one helper thread.
An iterable without a length is advanced in the caller's thread, and the driver gets a helper thread, so that a
`next()` that blocks holds up no deadline; a launched run draws in a thread of its own, which it can leave behind. The
records are written by the driving thread only; from other threads and signal handlers come only `stop`, `wake` and
the hand-over of drawn items (IteratorFeed, under its lock).

The room promises: each task that was drawn is completed exactly once, in whatever way the run ends; what was done stays
readable after an interrupt or an error; a failed task is tried again without holding up another; the pool is closed
before the run ends.

Load by the clock: the source lets go of a task shortly before it is due, and a worker waits for the moment itself, so
that neither the driver nor a channel is between the clock and the task. A dropped task is completed after that.

To add a schedule: a curve or a pacing, and one branch in `timed_schedule`, all in load.py.
"""
