"""Pure tensor functions: reductions over CSR lists and over segments."""

from graphlearn.ops.csr import csr_from_edge_index, gather_reduce, gather_rows, transpose_csr
from graphlearn.ops.segment import Segments, segment_logsumexp, segment_reduce, segment_softmax

__all__ = [
    "Segments",
    "csr_from_edge_index",
    "gather_reduce",
    "gather_rows",
    "segment_logsumexp",
    "segment_reduce",
    "segment_softmax",
    "transpose_csr",
]
