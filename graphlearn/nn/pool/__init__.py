"""Pooling: fewer nodes, or one vector per graph."""

from graphlearn.nn.pool.graph_parsing import GraphParsingPooling

__all__ = ["GraphParsingPooling"]
