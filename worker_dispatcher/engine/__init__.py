"""Jobs that depend on each other: Engine, its jobs and their conditions; floor 6.

    submit, cancel ─────▶ Dispatcher ── events ──▶ Board: entries, watches, ready heaps, timer heap, free slots
    ends of attempts ──▶     │      ◀─ commands ──     (no clock, no IO, no lock, no code of the user)
    time (Keeper) ──────▶    │
                             ├─▶ Workers: a WorkerPool for each place where jobs run
                             └─▶ JobFuture, callbacks, who waits

    engine.py      Engine, the public face             settings.py   EngineSetting; what is wrong with a job
    job.py         Job; kinds.py: those of this machine                  future.py   JobFuture; futures in arguments
    subprocess_job.py  commands                        webapp_job.py  web servers
    sentinel.py    jobs that submit others, on time    crontab.py   the times of a crontab
    generators.py  jobs that give values one by one    tether.py    to one in a process
    jobs.py        Jobs: all of an engine, by status   conditions.py what a job may wait for
    slips.py       what is easily given in the place of something else
    status.py      the one table of moves              board.py      which jobs there are, and which may begin
    events.py      what the board is told, and says
    watches.py     a condition as the board keeps it   cycles.py     whether jobs wait for each other in a circle
    dispatcher.py  events in, commands carried out     waiting.py    who waits for jobs to end
    users.py       calls of the user's code
    workers.py     the pools                           relay.py      threads that go from one job to the next
    store.py       jobs on disk, before anybody is told          rows.py     a row for each, and its seal
    rerun.py       ended jobs of a store are pending again
    resume.py      what a store has comes back         pickled.py    a job as it is pickled
    keeper.py      the thread of time, and of conditions of the user's own
    lifetime.py    engines at the end of the program
    launcher.py    functions of which each call is a job             default.py    the engine of these
    dask_job.py    DaskJob, and a cluster as workers
    pictures.py    the graph for mermaid and graphviz  table.py      the jobs as a table, once or live
    errors.py      what can go wrong                   log.py        the log

Threads: those of the pools; one keeper and one for callbacks, each once it is needed. Whoever feeds the board carries
out what it says, unless another thread is at that: then that one does. So the end of a job begins the next ones in the
thread that hears of it, and nothing waits for a turn.

The room promises: nothing is asked again and again but conditions of the user's own; each job that has not ended
runs, or waits for something that has a name; a slot is taken and given back in one place; a callback is called after
the status has changed, and cannot change it; with a store, what somebody is told is on disk before.
"""

from __future__ import annotations

from worker_dispatcher.engine.dask_job import DaskJob as DaskJob
from worker_dispatcher.engine.engine import Engine as Engine
from worker_dispatcher.engine.errors import DependencyCycle as DependencyCycle
from worker_dispatcher.engine.errors import ExecutorError as ExecutorError
from worker_dispatcher.engine.errors import InvalidStateError as InvalidStateError
from worker_dispatcher.engine.errors import JobNotFoundError as JobNotFoundError
from worker_dispatcher.engine.errors import StoreError as StoreError
from worker_dispatcher.engine.errors import UpstreamFailed as UpstreamFailed
from worker_dispatcher.engine.future import JobFuture as JobFuture
from worker_dispatcher.engine.job import Job as Job
from worker_dispatcher.engine.jobs import Jobs as Jobs
from worker_dispatcher.engine.jobs import JobStore as JobStore
from worker_dispatcher.engine.kinds import LocalJob as LocalJob
from worker_dispatcher.engine.kinds import ProcessJob as ProcessJob
from worker_dispatcher.engine.kinds import ThreadJob as ThreadJob
from worker_dispatcher.engine.launcher import launcher as launcher
from worker_dispatcher.engine.sentinel import CronJob as CronJob
from worker_dispatcher.engine.sentinel import SentinelJob as SentinelJob
from worker_dispatcher.engine.sentinel import every as every
from worker_dispatcher.engine.settings import EngineSetting as EngineSetting
from worker_dispatcher.engine.subprocess_job import SubprocessJob as SubprocessJob
from worker_dispatcher.engine.webapp_job import WebappJob as WebappJob
from worker_dispatcher.osproc.command import CommandFailed as CommandFailed
from worker_dispatcher.retry import Backoff as Backoff
