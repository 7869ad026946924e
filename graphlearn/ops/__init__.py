"""Pure tensor functions: reductions over lists and segments (of small integers too), walks, distances, parsing,
tuples of nodes and copies."""

from graphlearn.ops.attention import entry_dot, list_softmax
from graphlearn.ops.copies import copy_rows, share_states
from graphlearn.ops.csr import csr_from_edge_index, gather_reduce, gather_rows, transpose_csr
from graphlearn.ops.distance import drnl_labels, pair_distances
from graphlearn.ops.gcn import gcn_sum
from graphlearn.ops.parse import graph_parse
from graphlearn.ops.quantized import (
    QuantizedRows,
    gather_reduce_quantized,
    gather_reduce_requantized,
    quantize_rows,
)
from graphlearn.ops.segment import Segments, segment_logsumexp, segment_reduce, segment_softmax
from graphlearn.ops.tuples import node_tuples, power_graph, sample_tuples
from graphlearn.ops.walk import WalkProfile, dense_walk_profile, pair_walks, walk_profile

__all__ = [
    "QuantizedRows",
    "Segments",
    "WalkProfile",
    "copy_rows",
    "csr_from_edge_index",
    "dense_walk_profile",
    "drnl_labels",
    "entry_dot",
    "gather_reduce",
    "gather_reduce_quantized",
    "gather_reduce_requantized",
    "gather_rows",
    "gcn_sum",
    "graph_parse",
    "list_softmax",
    "node_tuples",
    "pair_distances",
    "pair_walks",
    "power_graph",
    "quantize_rows",
    "sample_tuples",
    "segment_logsumexp",
    "segment_reduce",
    "segment_softmax",
    "share_states",
    "transpose_csr",
    "walk_profile",
]
