"""Relational aggregates and label history: one row of numbers per (entity, seed time), made from the schema alone."""

from graphlearn.features.aggregates import Aggregates, Features, Origin
from graphlearn.features.reader import Reader

__all__ = ["Aggregates", "Features", "Origin", "Reader"]
