"""Convolutions: what a node learns from its neighbours."""

from graphlearn.nn.conv.hetero_sage import HeteroSAGEConv
from graphlearn.nn.conv.temporal_sage import TemporalSAGEConv

__all__ = ["HeteroSAGEConv", "TemporalSAGEConv"]
