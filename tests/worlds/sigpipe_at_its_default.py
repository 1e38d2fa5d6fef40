"""A plugin of pytest for scripts/stress.sh: SIGPIPE is as it is in programs that are not Python, and ends the process.

Command-line tools in Python set it so, in order to end quietly in `tool | head`.
"""

from __future__ import annotations

import signal

signal.signal(signal.SIGPIPE, signal.SIG_DFL)
