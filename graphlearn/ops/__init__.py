"""Pure tensor functions: reductions over CSR lists and segments, attention, walks and distances, parsing of graphs."""

from graphlearn.ops.attention import entry_dot, list_softmax
from graphlearn.ops.csr import csr_from_edge_index, gather_reduce, gather_rows, transpose_csr
from graphlearn.ops.distance import drnl_labels, pair_distances
from graphlearn.ops.gcn import gcn_sum
from graphlearn.ops.parse import graph_parse
from graphlearn.ops.segment import Segments, segment_logsumexp, segment_reduce, segment_softmax
from graphlearn.ops.walk import WalkProfile, dense_walk_profile, pair_walks, walk_profile

__all__ = [
    "Segments",
    "WalkProfile",
    "csr_from_edge_index",
    "dense_walk_profile",
    "drnl_labels",
    "entry_dot",
    "gather_reduce",
    "gather_rows",
    "gcn_sum",
    "graph_parse",
    "list_softmax",
    "pair_distances",
    "pair_walks",
    "segment_logsumexp",
    "segment_reduce",
    "segment_softmax",
    "transpose_csr",
    "walk_profile",
]
