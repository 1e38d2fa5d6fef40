"""How far a map or a group is, shown as the progress of a run is."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

from worker_dispatcher.clock import now
from worker_dispatcher.execute import catch
from worker_dispatcher.units import clock_text, speed_text
from worker_dispatcher.workpool.future import SUCCEEDED, TaskFuture

if TYPE_CHECKING:
    from worker_dispatcher.core.driver import Timer
    from worker_dispatcher.dispatch.progress_display import Screen
    from worker_dispatcher.dispatch.progress_stats import View

_PATIENCE = 0.5  # seconds before anything is shown: what is over by then needs no bar


class EndsShown:
    """Shows how many tasks of how many have ended: a timer of the pool's driver. total: tasks so far; whole: no more
    will come, and the last end closes it. Whatever happens to the display, the tasks go on: it is given up without a
    word.

    Shared, under _mutex: all but due. due: when to look next (monotonic).
    """

    def __init__(self, timers: list[Timer], total: int = 0, *, whole: bool = False) -> None:
        self.total, self._whole, self._timers = total, whole, timers
        self._began = now()
        self.due = self._began + _PATIENCE
        self._done = self._failed = 0
        self._screen: Screen | None = None
        self._mutex = threading.Lock()
        timers.append(self)

    def ended(self, future: TaskFuture) -> None:
        """One of its tasks has ended. From any thread."""
        with self._mutex:
            self._done += 1
            self._failed += future.state != SUCCEEDED
            if self._whole and self._done >= self.total:
                self._close()

    def look(self) -> None:
        self.due = math.inf  # for good, if there is nowhere to show it
        with self._mutex:
            catch(self._show, now())

    def close(self) -> None:
        """Leave the last state in sight, and give the terminal back. Idempotent."""
        with self._mutex:
            self._close()

    def _close(self) -> None:
        if self in self._timers:
            self._timers.remove(self)
        screen, self._screen, self.due = self._screen, None, math.inf
        if screen is not None:
            _, error = catch(lambda: screen.close(self._view(now()), keep=True))
            if error is not None:
                catch(screen.give_up)

    def _show(self, at: float) -> None:
        if self not in self._timers:
            return
        if self._screen is None:
            from worker_dispatcher.dispatch.progress_display import open_screen

            self._screen = open_screen()
        if self._screen is not None:
            self._screen.show(self._view(at))
            self.due = now() + self._screen.every

    def _view(self, at: float) -> View:
        from worker_dispatcher.dispatch.progress_stats import View

        done, total, elapsed = self._done, max(self.total, self._done), at - self._began
        rate = done / elapsed if elapsed else 0.0
        left = f"{clock_text((total - done) / rate)} left" if rate and done < total else clock_text(elapsed)
        counts = ((1, done - self._failed, "ok"), (1, self._failed, "failed"))
        ends = [(rank, f"{name} {count:,}") for rank, count, name in counts if count]
        return View(done, total, elapsed, ((0, f"{done:,}/{total:,}"), (2, speed_text(rate)), (3, left), *ends))
