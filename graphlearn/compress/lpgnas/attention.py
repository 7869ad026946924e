"""How a block weighs its edges: eight kinds, from none to a small network per edge."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from graphlearn.ops import Segments, csr_from_edge_index, gather_rows, segment_softmax
from graphlearn.ops.csr_torch import entries_to_rows

ATTENTION = {"none": 0, "gcn": 0, "linear": 1, "gat": 2, "sym-gat": 2, "cosine": 2, "gatv2": 3, "gene-linear": 3}
"""The kinds, with the number of learned vectors of each."""

PER_EDGE = ("cosine", "gatv2", "gene-linear")
"""The kinds whose vectors are multiplied once per edge, not once per node."""


@dataclass(frozen=True)
class Edges:
    """Edges by destination, with a loop at each node, made once for all layers.

    Attributes:
        src: ``[E]`` int64.
        dst: ``[E]`` int64, in order.
        segments: The edges into each node.
    """

    src: Tensor
    dst: Tensor
    segments: Segments

    @classmethod
    def of(cls, edge_index: Tensor, num_nodes: int) -> Edges:
        """From PyG's ``[2, E]``. A loop that is there already counts as one more edge."""
        loop = torch.arange(num_nodes, device=edge_index.device).expand(2, -1)
        rowptr, src = csr_from_edge_index(torch.cat([edge_index, loop], dim=1), num_nodes)
        dst = entries_to_rows(rowptr, src.numel())
        return cls(src, dst, Segments(rowptr, None, dst))


def coefficients(kind: str, h: Tensor, vectors: Tensor | None, edges: Edges) -> Tensor | None:
    r"""The weight of each edge, for each head; ``None`` for kind ``"none"``, where all are 1.

    ``gcn`` is :math:`1/\sqrt{d_i d_j}`, with d the number of edges into a node. The others are a softmax over the
    edges into node i of

    .. math::
        \text{linear:}\;& \tanh(\mathbf{a}^\top \mathbf{h}_j) \qquad
        \text{gat:}\; \mathrm{leaky}(\mathbf{b}^\top \mathbf{h}_i + \mathbf{a}^\top \mathbf{h}_j) \\
        \text{sym-gat:}\;& \mathrm{gat}_{ij} + \mathrm{gat}_{ji} \qquad
        \text{cosine:}\; \cos(\mathbf{b} \circ \mathbf{h}_i,\, \mathbf{a} \circ \mathbf{h}_j) \\
        \text{gatv2:}\;& \mathbf{c}^\top \mathrm{leaky}(\mathbf{b} \circ \mathbf{h}_i + \mathbf{a} \circ \mathbf{h}_j)
        \qquad
        \text{gene-linear:}\; \mathbf{c}^\top \tanh(\mathbf{b} \circ \mathbf{h}_i + \mathbf{a} \circ \mathbf{h}_j)

    Source: the kinds are those of Gao et al., "Graph Neural Architecture Search", IJCAI 2020, and of Brody et al.,
    arXiv:2105.14491. Differs from them: cosine, gatv2 and gene-linear have a vector per side instead of a matrix.

    Shapes:
        - ``h``: ``[N, H, D]`` float;  ``vectors``: ``[V, H * D]``, V of :data:`ATTENTION`: a, b, c
        - returns ``[E, H]``, of ``gcn`` ``[E, 1]``
    """
    if kind == "none":
        return None
    if kind == "gcn":
        root = edges.segments.rowptr.diff().to(h.dtype).rsqrt()
        return (root[edges.src] * root[edges.dst])[:, None]
    assert vectors is not None, kind
    parts = vectors.view(-1, *h.shape[1:])
    if kind in PER_EDGE:
        logit = _per_edge(kind, h, parts, edges)
    else:
        side = (h[None] * parts[:, None]).sum(dim=-1)  # [V, N, H]
        src = gather_rows(side[0], edges.src)
        if kind == "linear":
            logit = src.tanh()
        else:
            logit = F.leaky_relu(src + gather_rows(side[1], edges.dst), 0.2)
            if kind == "sym-gat":
                turned = gather_rows(side[0], edges.dst) + gather_rows(side[1], edges.src)
                logit = logit + F.leaky_relu(turned, 0.2)
    return segment_softmax(logit, edges.segments)


def _per_edge(kind: str, h: Tensor, parts: Tensor, edges: Edges) -> Tensor:
    src, dst = h * parts[0], h * parts[1]
    if kind == "cosine":
        src, dst = F.normalize(src, dim=-1), F.normalize(dst, dim=-1)
    src = gather_rows(src.flatten(1), edges.src).view(-1, *h.shape[1:])
    dst = gather_rows(dst.flatten(1), edges.dst).view_as(src)
    if kind == "cosine":
        return (src * dst).sum(dim=-1)
    both = src + dst
    both = F.leaky_relu(both, 0.2) if kind == "gatv2" else both.tanh()
    return (both * parts[2]).sum(dim=-1)
