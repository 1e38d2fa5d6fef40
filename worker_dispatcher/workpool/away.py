"""What another executor calls for a task that was sent away; loaded where that runs it, maybe in another process."""

from __future__ import annotations

import os
import pickle
from contextvars import copy_context
from typing import Any

from worker_dispatcher.awaiting import settled
from worker_dispatcher.clock import now
from worker_dispatcher.execute import catch, failure_from
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.records import Failure
from worker_dispatcher.workpool.calling import PoolCall, pool_here


class Report(NamedTuple):
    """How a task went that was away. failure: None if it succeeded; took: seconds."""

    result: Any
    failure: Failure | None
    took: float


def run_away(call: PoolCall, number: int, item: Any, home: int) -> Report:
    """Run a task of a pool of the process `home`, here; a coroutine to its end. What the task raises is in the report:
    what comes out of the executor beside it is a word about the executor."""
    call = call._replace(config=call.config._replace(pool=pool_here()))
    context, caller, began = copy_context(), call.caller(), now()
    result, error = catch(context.run, lambda: settled(caller(number, item, {})))
    took, failure = now() - began, None
    if error is not None:
        failure = failure_from(call, error)
        if os.getpid() == home:
            failure = failure._replace(traceback="")  # the exception has it
        # One that cannot be loaded would break an executor in processes.
        elif catch(_travel, failure.exception)[1] is not None:
            failure = failure._replace(exception=None)
    del error  # it holds this frame, and would hold itself
    return Report(result, failure, took)


def _travel(error: BaseException | None) -> None:
    pickle.loads(pickle.dumps(error))
