"""Pooling: from the nodes of a graph to one vector."""

from graphlearn.nn.pool.walk_pool import WalkPooling

__all__ = ["WalkPooling"]
