"""What a worker has imported while it ran, for the workers after it."""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

from worker_dispatcher.execute import catch
from worker_dispatcher.osproc.channel import Channel
from worker_dispatcher.pools.protocol.frames import IMPORTED

__all__ = ["Imports"]


class Imports:
    """Since it was made: before the user's function is loaded."""

    def __init__(self) -> None:
        self._before, self._place = len(sys.modules), _place()

    def tell(self, channel: Channel) -> None:
        """Send the names. A module that was imported in a place that the worker has made first is not told of: it may
        look at the variables, or be found in the folders, that were set for it."""
        if len(sys.modules) > self._before and _place() == self._place and (names := list(self._names())):
            catch(channel.send, IMPORTED, [marshal.dumps(names)])

    def _names(self) -> Iterator[str]:
        # To touch each name that was there before would have the page copied that it is on.
        new = list(islice(reversed(sys.modules), len(sys.modules) - self._before))
        for name in reversed(new):
            if name.partition(".")[0] != "worker_dispatcher":
                spec: Any = getattr(sys.modules.get(name), "__spec__", None)
                if getattr(spec, "has_location", False) and spec.name == name:
                    yield name


def _place() -> tuple[Any, ...]:
    return dict(os.environb), list(sys.path), catch(os.getcwd)[0]
