"""Short ways to run one attempt."""

from __future__ import annotations

import inspect
import json
import math

from worker_dispatcher.call import Call
from worker_dispatcher.call_style import CallStyle
from worker_dispatcher.config.signature import CALLBACK_NAMES, TASK_NAMES, call_style
from worker_dispatcher.execute import AttemptResult, catch, describe, run_tasks
from worker_dispatcher.pools.runners.task_queue import Slot
from worker_dispatcher.task_span import TaskSpan


def call_of(function, on_done=None, **options):
    if on_done is not None:
        options |= {"on_done": on_done, "on_done_style": call_style(on_done, CALLBACK_NAMES)}
    takes_nothing = inspect.isfunction(function) and not inspect.signature(function).parameters
    return Call(function, CallStyle() if takes_nothing else call_style(function, TASK_NAMES), **options)


def tried(function, task="item", **options):
    call = call_of(function, **options)
    return attempt(call, call.caller(), 7, task)


def attempt(call, caller, task_id, task):
    """A run of one task, as `AttemptResult`."""
    went = TaskSpan()
    slot = Slot(1, [0], [0.0], [0.0], [0], [0])
    limits = {"timeout": None, "stop_at": math.inf, "until": math.inf, "forked": [False]}
    run_tasks(call, caller, iter([(1, task_id, task)]), slot, went, None, **limits)
    assert went.seqs == [1]
    return AttemptResult(went.starts[0], went.ends[0], went.results[0], *went.apart.get(0, (None, None)))


def raises(error):
    def ask(given):
        raise error

    return ask


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def told(error):
    description, broken = catch(describe, raised(error))
    fine = broken is None  # not in the assertion itself: pytest cannot show the oddest of them
    assert fine
    assert [type(text) for text in description] == [str, str, str]
    json.dumps(description).encode("ascii")
    "".join(description).encode("utf-8")
    return description
