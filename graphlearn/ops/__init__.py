"""Pure tensor functions: reductions over CSR lists, and the parsing of graphs."""

from graphlearn.ops.csr import csr_from_edge_index, gather_reduce, gather_rows, transpose_csr
from graphlearn.ops.parse import graph_parse

__all__ = ["csr_from_edge_index", "gather_reduce", "gather_rows", "graph_parse", "transpose_csr"]
