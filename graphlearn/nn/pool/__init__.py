"""Pooling: fewer nodes, or one vector per graph."""

from graphlearn.nn.pool.graph_parsing import GraphParsingPooling
from graphlearn.nn.pool.walk_pool import WalkPooling

__all__ = [
    "GraphParsingPooling",
    "WalkPooling",
]
