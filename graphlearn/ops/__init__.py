"""Pure tensor functions: reductions over CSR lists."""

from graphlearn.ops.csr import csr_from_edge_index, gather_reduce, gather_rows, transpose_csr

__all__ = ["csr_from_edge_index", "gather_reduce", "gather_rows", "transpose_csr"]
