"""Finds the compiled kernels, if this installation has them."""

from __future__ import annotations

import importlib
import os
from types import ModuleType


def _load() -> ModuleType | None:
    if os.environ.get("GRAPHLEARN_NATIVE", "1") == "0":
        return None
    try:
        return importlib.import_module("graphlearn.native._kernels")
    except ImportError:
        return None


kernels: ModuleType | None = _load()
