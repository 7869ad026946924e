"""Pure tensor functions: reductions over CSR lists, attention on them, walks and distances around pairs of nodes."""

from graphlearn.ops.attention import entry_dot, list_softmax
from graphlearn.ops.csr import csr_from_edge_index, gather_reduce, gather_rows, transpose_csr
from graphlearn.ops.distance import drnl_labels, pair_distances
from graphlearn.ops.gcn import gcn_sum
from graphlearn.ops.walk import WalkProfile, dense_walk_profile, pair_walks, walk_profile

__all__ = [
    "WalkProfile",
    "csr_from_edge_index",
    "dense_walk_profile",
    "drnl_labels",
    "entry_dot",
    "gather_reduce",
    "gather_rows",
    "gcn_sum",
    "list_softmax",
    "pair_distances",
    "pair_walks",
    "transpose_csr",
    "walk_profile",
]
