"""Clusters that cannot be reached, or used, in our words."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from worker_dispatcher.errors import RunError
from worker_dispatcher.execute import describe

__all__ = ["reach", "strange"]

_REACH = 3.0  # seconds that a scheduler may take to answer


def reach(address: str) -> None:
    """Raises RunError at once where nobody listens: Dask would try for some time."""
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    if parts.scheme not in ("tcp", "tls"):  # such as within one process: what that takes only Dask knows
        return
    try:
        socket.create_connection((parts.hostname or "", parts.port or 8786), timeout=_REACH).close()
    except OSError as error:
        text = f"no Dask scheduler answers at {address} ({error}); is it running, and is this its address?"
        raise RunError(text) from error


def strange(address: str, error: BaseException) -> RunError:
    kind, message, _ = describe(error)
    if isinstance(error, ImportError):
        text = f"cannot import worker_dispatcher ({message}); install it there, in the same version as here"
        return RunError(f"the Dask worker {address} {text}")
    return RunError(f"the Dask worker {address} did not answer: {kind}: {message[:500]}")
