"""Layers: they know tensors only, and are usable without a database."""

from graphlearn.nn.aggr import GNPAggregation, SegmentAggregation
from graphlearn.nn.conv import HeteroSAGEConv, TemporalSAGEConv
from graphlearn.nn.encoder import AgeEncoder, RowEncoder, SeedFeatures, SinceEncoder
from graphlearn.nn.head import NodeHead
from graphlearn.nn.pool import GraphParsingPooling, WalkPooling

__all__ = [
    "AgeEncoder",
    "GNPAggregation",
    "GraphParsingPooling",
    "HeteroSAGEConv",
    "NodeHead",
    "RowEncoder",
    "SeedFeatures",
    "SegmentAggregation",
    "SinceEncoder",
    "TemporalSAGEConv",
    "WalkPooling",
]
