"""Packages that only some outputs need: loaded when asked for, or one sentence about what to install."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

__all__ = ["FORMS", "load"]

# Form of output: the module that makes it, the extra that brings it, how a message calls the form.
FORMS: Mapping[str, tuple[str, str, str]] = {
    "html": ("plotly.offline", "report", "an HTML report"),
    "png": ("matplotlib.figure", "report", "a PNG report"),
    "xlsx": ("xlsxwriter", "xlsx", "an xlsx report"),
}


def load(form: str) -> Any:
    """The module that makes one of FORMS; ImportError that names the extra where its package is not there."""
    module, extra, purpose = FORMS[form]
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        text = f"{purpose} needs {package}, which is not there: pip install 'worker-dispatcher[{extra}]'"
        raise ImportError(text, name=package) from error
