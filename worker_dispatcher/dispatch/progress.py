"""When the progress of a run is looked at and shown: by the clock, so that it costs the same for any list."""

from __future__ import annotations

import math
from collections.abc import Callable

from worker_dispatcher.clock import now
from worker_dispatcher.dispatch.figures import Figures, figures_of
from worker_dispatcher.dispatch.plan import Plan
from worker_dispatcher.dispatch.screens import Screen, open_screen
from worker_dispatcher.dispatch.source import TaskSource
from worker_dispatcher.records import Ledger
from worker_dispatcher.tracebacks import is_foreign

__all__ = ["Progress"]

_PATIENCE = 0.5  # seconds before anything is shown: a run that is over by then needs no bar, and pays for none
_SHARE = 20  # a look that took a while is followed by so many times that without one


class Progress:
    """Shows how a run goes. Whatever happens to the display, the run goes on: it is given up without a word.

    Used by the driver's thread only. due: when to look next (monotonic). keep: the last state stays in sight.
    """

    def __init__(self, plan: Plan, source: TaskSource, ledger: Ledger, *, keep: bool) -> None:
        self._plan, self._source, self._ledger, self._keep = plan, source, ledger, keep
        self._screen: Screen | None = None
        self._figures: Figures | None = None
        self.due = math.inf

    def prepare(self) -> None:
        """Before the time of a load begins: loads what showing takes, so that this makes no task late."""
        self._try(self._open)

    def begin(self) -> None:
        """The first tasks may start."""
        self._figures = figures_of(self._plan, self._ledger, now())
        self.due = now() + _PATIENCE

    def look(self) -> None:
        """Show how the run stands."""
        if self._screen is None:
            self._try(self._open)
        began = now()
        self._try(lambda: self._look(began))
        if self._screen is not None:
            ended = now()
            self.due = ended + max(self._screen.every, _SHARE * (ended - began))

    def _look(self, at: float) -> None:
        if self._screen is not None and self._figures is not None:
            due = self._source.fresh_due()
            overdue = self._source.crowd(at - due) if due <= at else 0
            self._figures.take(at, overdue, asking=due < math.inf)
            self._screen.show(self._figures.view(at))

    def _open(self) -> None:
        self._screen = open_screen()
        self.due = math.inf  # for good, if there is none

    def close(self, *, whole: bool) -> None:
        """The run is over. whole: it did not end early. Idempotent."""
        self._try(lambda: self._close(whole))
        self._screen, self.due = None, math.inf

    def _close(self, whole: bool) -> None:
        if self._screen is not None and self._figures is not None:
            self._figures.take(now(), 0, asking=False)
            never = max(0, (self._plan.tasks or 0) - len(self._ledger))
            view = self._figures.view(now(), None if whole else never)
            done = view.total if whole and view.total is not None else view.done
            self._screen.close(view._replace(done=done), keep=self._keep)

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # a terminal that is gone, a full disk, a notebook's kernel: not the run's affair
            if is_foreign(error):
                raise
            screen, self._screen, self.due = self._screen, None, math.inf
            if screen is not None:
                self._try(screen.give_up)
