"""Packages that only some outputs need: loaded when asked for, or one sentence about what to install."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["load"]


def load(module: str, extra: str, purpose: str) -> Any:
    """The module; ImportError that names the extra where its package is not there."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        text = f"{purpose} needs {package}, which is not there: pip install 'worker-dispatcher[{extra}]'"
        raise ImportError(text, name=package) from error
