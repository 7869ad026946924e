"""Layers: they know tensors only, and are usable without a database."""

from graphlearn.nn.conv import DensePairConv, HeteroSAGEConv, KLConv, LabelEmbedding, TemporalSAGEConv
from graphlearn.nn.encoder import AgeEncoder, RowEncoder, SinceEncoder
from graphlearn.nn.head import NodeHead

__all__ = [
    "AgeEncoder",
    "DensePairConv",
    "HeteroSAGEConv",
    "KLConv",
    "LabelEmbedding",
    "NodeHead",
    "RowEncoder",
    "SinceEncoder",
    "TemporalSAGEConv",
]
