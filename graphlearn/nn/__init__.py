"""Layers: they know tensors only, and are usable without a database."""

from graphlearn.nn.conv import HeteroSAGEConv, TemporalSAGEConv
from graphlearn.nn.encoder import AgeEncoder, RowEncoder, SinceEncoder
from graphlearn.nn.head import NodeHead
from graphlearn.nn.pool import WalkPooling

__all__ = [
    "AgeEncoder",
    "HeteroSAGEConv",
    "NodeHead",
    "RowEncoder",
    "SinceEncoder",
    "TemporalSAGEConv",
    "WalkPooling",
]
