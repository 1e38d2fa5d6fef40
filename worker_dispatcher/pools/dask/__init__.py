"""A Dask cluster as a pool: what tasks run on where one machine is not enough; needs the package distributed.

    driver's thread          thread of the link         Dask             each Dask worker
    DaskPool ─ feed ─▶ Link ─ client.submit(run_batch) ─▶ scheduler ─▶ Host: a pool of this package, driven here
       collect ◀─ replies ◀─────────── gather ◀──────────────────────── Reply

    pool.py      DaskPool, the contract of base.Pool      books.py     what was told of each task, once
    link.py      the client, on an event loop of its own  verdict.py   what becomes of a batch that Dask has lost
    messages.py  what goes both ways, and how it is packed
    calls.py     what Dask calls in a worker              host.py      the part of a pool that is there
    sealing.py   ended tasks, ready to be sent            clocks.py    its clock and ours
    outbox.py   what tasks log, there                     arriving.py  and here
    shares.py   a limit, shared out over its workers      reaching.py  what cannot be reached
    local.py, serve.py   a cluster of one machine, in processes of its own

Dask has the cluster: who is there, who runs what, what is lost with whom. A batch is one Dask task. In each Dask worker
a Host hands the tasks of batches to an ordinary pool (threads of that process, or worker processes of ours beside it),
so that limits, callbacks, hooks and failures are what they are on one machine.

The room promises: what a Reply tells is booked once, however often Dask has run the batch; what is lost is run again;
nothing listens but what Dask needs, on loopback unless an address says otherwise.
"""

__all__: list[str] = []
