"""Heads: the last layer of a model and its loss."""

from graphlearn.nn.head.link import BilinearHead, DotHead, LinkHead, MLPHead
from graphlearn.nn.head.node import NodeHead

__all__ = ["BilinearHead", "DotHead", "LinkHead", "MLPHead", "NodeHead"]
