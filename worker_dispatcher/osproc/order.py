"""What a worker is told at its start. Apart from child.py, which the parent loads only where it forks itself."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["order_for"]

_LIMITS = ("NOFILE", "AS", "CORE", "CPU", "DATA", "FSIZE", "STACK")


def order_for(entry: str, *, fresh: bool, environment: dict[str, str], imports: Sequence[str] = ()) -> dict[str, Any]:
    """What a worker is told at its start: the parent's path, environment, folder, umask and limits as they are now.

    entry: 'module:function', called as function(socket_fd, slate_fd); fresh: in a new interpreter.
    environment: variables set on top of the parent's own; imports: modules that it will need besides.
    """
    umask = _umask()
    try:
        folder = os.getcwd()
    except OSError:
        folder = "/"
    return {
        "entry": entry,
        "imports": list(imports),
        "fresh": fresh,
        "path": list(map(str, sys.path)),
        "prefix": (sys.prefix, sys.exec_prefix),
        "executable": sys.executable,
        "site": any("__editable__" in str(getattr(finder, "__module__", "")) for finder in sys.meta_path),
        "environment": {**os.environ, **environment},
        "folder": folder,
        "umask": umask,
        "limits": {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in _LIMITS},
        "argv": list(map(str, sys.argv[:1])),
    }


def _umask() -> int:
    # Read without setting it, which would be seen by other threads for a moment.
    with open("/proc/self/status") as lines:
        for line in lines:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o022
