"""Heads: the last layer of a model and its loss."""

from graphlearn.nn.head.node import NodeHead

__all__ = ["NodeHead"]
