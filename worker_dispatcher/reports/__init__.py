"""reports: what a run's records say, as pure functions; floor 2.

    logs (dicts) ──── LogReader ────┐            ┌── get_tps ── a dict of plain numbers ── check ── Verdict
                                    ├──── Rows ──┤
    a Run's columns ─ RecordsReader ┘            └── compare (two Rows) ── Comparison

    a run, logs or a file ── RunData (a reader, and what else is known) ── ReportData ── Report ── outputs

    verdict      when a result is a success; the only place that asks bool() of a user's object
    rows         the columns everything below reads; malformed rows are counted and left out here
    window_numbers  of one window: rate, times, counts; percentiles by nearest rank: always an observed value
    intervals    the run cut into intervals, all of them in one pass
    peak         the best window between whole seconds, exactly
    rate         the best window of any bounds; steady rate; tasks in flight
    sessions     those of a journal, with the pauses between them left out
    readers      what is read of all logs, from dicts or from a run's columns
    failure_groups  failures by type, and by type and line of code
    keeping      what is kept of a result where nobody will read it whole
    tps          get_tps: puts the above together
    check        thresholds ("p99<300ms") for tests and CI
    compare      two runs side by side, and limits on what may change from one to the other

    run_data     the logs and what else is known of a run; columns beside those of Rows
    timeline     the run in bins: rates, percentiles and tasks in flight over time; the histogram; who did what
    health       whether the load generator itself was the bottleneck
    safe_text    other people's values as short, harmless text
    report_data  all of that for one run, computed once
    report       Report, which users hold; outputs/ writes it down

No thread or clock is used here, only Report opens files, and nothing is printed: who wants lines passes `emit`. numpy
is imported by the modules that compute, not by this package, so that importing the library stays cheap.
"""
