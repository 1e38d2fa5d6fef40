"""What is on disk of a run, so that the same call again runs only what is missing; floor 2.

    task.list ──> Journal.seen(first, items) ──> Recorded: ended ok in an earlier run, not run again
                                │ the rest
                                v
    driver <── pool   record_run / record_one ──> commit() within 50 ms ──> only now is a task reported
                                                       │
                                                 one sqlite file in WAL mode ──> read_journal(path), at any time

* `journal.py`      Journal: what the driver talks to, from one thread at a time
* `file.py`         the file: created whole, refused if it is not of its form, locked while in use; other rooms' too
* `form.py`         the form of a journal's
* `row_format.py`   one row for a run of tasks: packed columns, a pickle, large buffers in pieces, two seals
* `fingerprint.py`  which function, and a digest of every item
* `reading.py`      read_journal: the records as `get_logs()` would give them

Promises. What `commit` returned survives a kill -9 of anything; against power loss, what was written up to the last
checkpoint does, and what is lost after it is lost whole. Nothing of a file is unpickled before its application id,
version, schema, function and the seal of the row have been found right; the seals are keyed per file, so they find
damage and mixed-up files, but not a forger who writes the whole file: a file that others may write is refused.
Opening a journal writes nothing to it until the first record.
"""
