"""The danger box: the only room that starts, talks to, kills and reaps processes; floor 2.

    this process                     fork server                      worker
    ServerStarter ── START ───────▶  fork, pass its pidfd back ─────▶ own session, own group,
      sentinel (pidfd)  ◀─ STARTED     waits for the children         parent-death signal, then
      status            ◀─ EXITED      kills the group, reaps         the entry it was told
    Channel ◀───────────────── frames, both ways, private ──────────▶ Channel
    SharedStatus  ◀──── shared memory that survives the worker ─────▶ SharedStatus

A command (command.py) is no worker: a child of this process in a session of its own, with a guard beside it that kills
its group once this process has died.

Promises: a channel's parent end never blocks; a worker never outlives its pool's connection, its fork server
or the parent process; a group is killed only while its leader's id cannot have been given to another.
Owners: a pool owns its starter, channels and shared statuses; the fork server is one per process and ends with it.
"""
