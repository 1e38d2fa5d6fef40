"""What Dask says where it does not know any more what it was given, in all versions that we take."""

from __future__ import annotations

import asyncio
import concurrent.futures

import pytest

from worker_dispatcher.pools.dask.link import _is_loss


class FutureCancelledError(Exception):
    """As in distributed since 2024."""


@pytest.mark.parametrize("kind", [asyncio.CancelledError, concurrent.futures.CancelledError, FutureCancelledError])
def test_a_future_that_was_cancelled_there_is_a_loss(kind: type[BaseException]) -> None:
    assert _is_loss(kind("run_batch-1"))


@pytest.mark.parametrize("error", [KeyError("run_batch-1"), ImportError("no such module"), OSError()])
def test_what_a_batch_has_raised_is_none(error: Exception) -> None:
    assert not _is_loss(error)
