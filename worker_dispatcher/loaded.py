"""Modules that this process has, without importing them; floor 0."""

from __future__ import annotations

import sys
from types import ModuleType

__all__ = ["loaded"]


def loaded(name: str) -> ModuleType | None:
    """A module that has been imported, or None. One that another thread is just importing is not there yet: what it
    will hold is missing still."""
    module = sys.modules.get(name)
    return None if getattr(getattr(module, "__spec__", None), "_initializing", False) else module
