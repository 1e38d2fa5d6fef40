"""What a worker has imported while it ran, for the workers after it."""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Iterator
from typing import Any

from worker_dispatcher.execute import catch
from worker_dispatcher.osproc.channel import Channel
from worker_dispatcher.pools.protocol.frames import IMPORTED

__all__ = ["Imports"]


class Imports:
    """Since it was made: before the user's function is loaded."""

    def __init__(self) -> None:
        self._before, self._place = set(sys.modules), _place()

    def tell(self, channel: Channel) -> None:
        """Send the names. A module that was imported in a place that the worker has made first is not told of: it may
        look at the variables, or be found in the folders, that were set for it."""
        if len(sys.modules) > len(self._before) and _place() == self._place and (names := list(self._names())):
            catch(channel.send, IMPORTED, [marshal.dumps(names)])

    def _names(self) -> Iterator[str]:
        for name, module in sys.modules.copy().items():
            if name not in self._before and name.partition(".")[0] != "worker_dispatcher":
                spec: Any = getattr(module, "__spec__", None)
                if getattr(spec, "has_location", False) and spec.name == name:
                    yield name


def _place() -> tuple[Any, ...]:
    return dict(os.environ), list(sys.path), catch(os.getcwd)[0]
