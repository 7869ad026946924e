"""Layers: they know tensors only, and are usable without a database."""

from graphlearn.nn.aggr import GNPAggregation, SegmentAggregation
from graphlearn.nn.conv import DensePairConv, HeteroSAGEConv, KLConv, LabelEmbedding, TemporalSAGEConv
from graphlearn.nn.encoder import AgeEncoder, RowEncoder, SeedFeatures, SinceEncoder
from graphlearn.nn.head import BilinearHead, DotHead, MLPHead, NodeHead
from graphlearn.nn.pool import GraphParsingPooling, WalkPooling

__all__ = [
    "AgeEncoder",
    "BilinearHead",
    "DensePairConv",
    "DotHead",
    "GNPAggregation",
    "GraphParsingPooling",
    "HeteroSAGEConv",
    "KLConv",
    "LabelEmbedding",
    "MLPHead",
    "NodeHead",
    "RowEncoder",
    "SeedFeatures",
    "SegmentAggregation",
    "SinceEncoder",
    "TemporalSAGEConv",
    "WalkPooling",
]
