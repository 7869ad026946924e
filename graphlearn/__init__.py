"""Relational databases as temporal graphs, and the models that learn on them.

The names below are imported on first use (PEP 562), because plain re-exports would load torch before the command line
can answer ``--help``, and would load DuckDB for a user of ``graphlearn.nn``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphlearn.graph import build_graph
    from graphlearn.predict import Run, load, train
    from graphlearn.sampling import TemporalNeighborSampler
    from graphlearn.schema import Database, Schema, connect
    from graphlearn.tasks import Task

__version__ = "0.1.0"

_HOME = {
    "Database": "graphlearn.schema",
    "Run": "graphlearn.predict",
    "Schema": "graphlearn.schema",
    "Task": "graphlearn.tasks",
    "TemporalNeighborSampler": "graphlearn.sampling",
    "build_graph": "graphlearn.graph",
    "connect": "graphlearn.schema",
    "load": "graphlearn.predict",
    "train": "graphlearn.predict",
}

__all__ = [
    "Database",
    "Run",
    "Schema",
    "Task",
    "TemporalNeighborSampler",
    "__version__",
    "build_graph",
    "connect",
    "load",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'graphlearn' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
