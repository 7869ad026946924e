"""Pure tensor functions: reductions over CSR lists and over segments, and the parsing of graphs."""

from graphlearn.ops.csr import csr_from_edge_index, gather_reduce, gather_rows, transpose_csr
from graphlearn.ops.parse import graph_parse
from graphlearn.ops.segment import Segments, segment_logsumexp, segment_reduce, segment_softmax

__all__ = [
    "Segments",
    "csr_from_edge_index",
    "gather_reduce",
    "gather_rows",
    "graph_parse",
    "segment_logsumexp",
    "segment_reduce",
    "segment_softmax",
    "transpose_csr",
]
