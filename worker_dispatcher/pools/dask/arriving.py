"""What tasks log on a cluster, where it reaches the handlers of the program whose tasks they are."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from worker_dispatcher.pools.base import Complaints
from worker_dispatcher.pools.protocol.log_forwarding import Handling

__all__ = ["Arriving"]

_Chunk = tuple[str, Sequence[bytes], Callable[[], object]]


class Arriving(Handling):
    """Records that were fetched from Dask workers. A record gets an attribute `dask_worker`: the address of its own.

    Shared: _chunks. `put` is for the thread of the link; there is one chunk of each Dask worker at most.
    """

    def __init__(self, complaints: Complaints) -> None:
        super().__init__(complaints)
        self._chunks: queue.SimpleQueue[_Chunk | None] = queue.SimpleQueue()

    def put(self, address: str, messages: Sequence[bytes], handled: Callable[[], object]) -> None:
        """handled: called once the handlers have taken all of it, in their thread."""
        self._chunks.put((address, messages, handled))
        self.hear()

    def _messages(self) -> Iterator[tuple[bytes, Mapping[str, Any]]]:
        while (chunk := self._chunks.get()) is not None:
            address, messages, handled = chunk
            for message in messages:
                yield message, {"dask_worker": address}
            handled()

    def _left(self) -> int:
        count = 0
        while not self._chunks.empty():
            chunk = self._chunks.get()
            count += 0 if chunk is None else len(chunk[1])
        return count

    def close(self) -> None:
        """All has been put. Idempotent."""
        self._chunks.put(None)
        self._finish()
