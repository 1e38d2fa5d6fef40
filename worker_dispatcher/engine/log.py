"""The log of the engine: `logging.getLogger("worker_dispatcher.engine")`."""

from __future__ import annotations

import logging

logger = logging.getLogger("worker_dispatcher.engine")
