"""reports: what a run's records say, as pure functions; floor 2.

    logs (dicts) ──Rows.from_logs──┐
                                   ├── Rows ── tps_of_rows ── a dict of plain numbers ── check ── Verdict
    a Run's columns ─from_columns──┘    └───── compare (two Rows) ── Comparison

    verdict      when a result is a success; the only place that asks bool() of a user's object
    rows         the columns everything below reads; malformed rows are counted and left out here
    summary      the numbers of one window: rate, times, counts
    intervals    the run cut into intervals, all of them in one pass
    peak         the best window between whole seconds, exactly
    rate         the best window of any bounds; steady rate; tasks in flight
    percentiles  nearest rank: always an observed value
    failures     errors grouped by type
    tps          get_tps: puts the above together
    check        thresholds ("p99<300ms") for tests and CI
    compare      two runs side by side

No thread, clock or file is used here, and nothing is printed: who wants lines passes `emit`. numpy is imported by the
modules that compute, not by this package, so that importing the library stays cheap.
"""

__all__: list[str] = []
