"""The core that every face shares: a Driver moves tasks from a Source through a Pool to a Sink; floor 4.

    Source ── take ──▶ Pool ── BatchDone, AttemptDone ──▶ Driver ──▶ Sink
       ▲                 │ NotStarted                  │
       └──── put_back ◀──┴──────── put_back_at ◀─────┘   (Retries say whether, and when)
    Timers: each says when it is due, and is looked at then

    driver.py         Driver, and what it asks of a Source, a Sink, Retries and a Timer; pools/base.py has Pool
    shared_driver.py  SharedDriver: other threads make turns too, and give one task past the source to an idle worker

It knows no list, no record, no journal, no screen: those are what a face gives it. `start` drives a bounded list in the
caller's thread (dispatch/); a pool that is kept has a SharedDriver, in a thread of its own and in those that submit.

The room promises: each task that a source gives reaches the sink exactly once, or goes back to the source if it was not
begun; the first reason to stop stands; only `stop`, `ask` and `wake` may be called from other threads and handlers of
signals.
"""

__all__: list[str] = []
