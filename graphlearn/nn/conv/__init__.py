"""Convolutions: what a node learns from its neighbours."""

from graphlearn.nn.conv.dense_pair import DensePairConv
from graphlearn.nn.conv.hetero_sage import HeteroSAGEConv
from graphlearn.nn.conv.kl_wl import KLConv, LabelEmbedding
from graphlearn.nn.conv.temporal_sage import TemporalSAGEConv

__all__ = ["DensePairConv", "HeteroSAGEConv", "KLConv", "LabelEmbedding", "TemporalSAGEConv"]
