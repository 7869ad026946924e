"""Pure tensor functions: reductions over CSR lists, tuples of nodes and labelled copies."""

from graphlearn.ops.copies import copy_rows, share_states
from graphlearn.ops.csr import csr_from_edge_index, gather_reduce, gather_rows, transpose_csr
from graphlearn.ops.tuples import node_tuples, power_graph, sample_tuples

__all__ = [
    "copy_rows",
    "csr_from_edge_index",
    "gather_reduce",
    "gather_rows",
    "node_tuples",
    "power_graph",
    "sample_tuples",
    "share_states",
    "transpose_csr",
]
