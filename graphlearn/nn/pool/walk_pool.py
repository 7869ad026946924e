"""WalkPool: a link is told from a non-link by the random walks around it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Linear, Module

from graphlearn.errors import check_positive, first_three
from graphlearn.ops.attention import entry_dot, list_softmax
from graphlearn.ops.csr import csr_from_edge_index
from graphlearn.ops.csr_check import check_pairs
from graphlearn.ops.walk import WalkProfile, dense_walk_profile, pair_walks, walk_profile


class WalkPooling(Module):
    r"""Pools the subgraph around each candidate link into return and transfer probabilities of a learned random walk.

    .. math::
        w_{y \to x} = \frac{\langle \mathbf{q}_y, \mathbf{k}_x \rangle}{\sqrt{d}}, \qquad
        P^{+}_{xy} = \frac{\exp(w_{y \to x})}{\sum_{u \in N^{+}(x)} \exp(w_{u \to x})}, \qquad
        P^{-} \text{ likewise over } N^{-}(x)

    where :math:`N^{+}` has the candidate link {i, j} and :math:`N^{-}` has not, and
    :math:`\mathbf{q}, \mathbf{k}` are two-layer perceptrons of x. Per head and for :math:`\tau = 2, \dots, L + 1`:

    .. math::
        \mathrm{node}^{\pm} = (P^{\pm})^\tau_{ii} + (P^{\pm})^\tau_{jj}, \quad
        \mathrm{link}^{\pm} = (P^{\pm})^\tau_{ij} + (P^{\pm})^\tau_{ji}, \quad
        \mathrm{graph} = \operatorname{tr}(P^{+})^\tau - \operatorname{tr}(P^{-})^\tau,

    and once :math:`\omega = \sigma(w_{i \to j}) + \sigma(w_{j \to i})`. The vector is ``[graph, omega, node+, node-,
    link+, link-]``, each part by head, then by length. Nothing is propagated but the indicators of i and j:
    :func:`~graphlearn.ops.walk.walk_profile` has the identity, which is exact. Costs ``O(H (L + d) E)`` time and
    ``O(H (L + d) N + H E)`` memory. Half precision computes its walks in float32.

    Source: Pan, Shi, Dokmanic, "Neural Link Prediction with Walk Pooling", arXiv:2110.04375.
    Differs from the paper: omega is the sum of two sigmoids and the first layer of the perceptrons is shared by the
    heads, both as in the authors' code; the candidate counts once in :math:`N^{+}`, whether it is stored or not.

    Args:
        in_channels: Size of a node's vector.
        hidden_channels: Size d of queries and keys.
        heads: Number H of walks learned side by side.
        walk_length: Number L of lengths that are read, from 2 on.
        dropout: Share of hidden units of the perceptrons zeroed in training.

    Shapes:
        - ``x``: ``[N, in_channels]`` float;  ``edge_index``: ``[2, E]`` int64, both directions of every edge, no edge
          twice;  ``batch``: ``[N]`` int64, the graph of each node
        - ``candidate``: ``[2, B]`` int64, the two different nodes of the link of each graph, numbered as ``x``
        - ``edge_mask``: ``[E]`` bool, False on the candidates; found from ``candidate`` if not given
        - ``rowptr``: ``[N + 1]`` int64, start of each target's edges if ``edge_index[1]`` is sorted; saves the sort
        - returns ``[B, heads * (5 * walk_length + 1)]``; no candidates give no rows; a node without edges but the
          candidate has a row of zeros in P-, so its walks end

    Raises:
        ValueError: If an argument of the constructor is not > 0, ``dropout`` is not in [0, 1), or a shape or dtype is
            not as above. On a CPU also if an index is out of range, the ends of a candidate are equal or in different
            graphs, or two candidates are in one graph.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int = 32,
        *,
        heads: int = 2,
        walk_length: int = 7,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, hidden_channels=hidden_channels, heads=heads, walk_length=walk_length)
        if not 0 <= dropout < 1:
            raise ValueError(f"'dropout' must be in [0, 1), got {dropout}.")
        self.in_channels, self.hidden_channels = in_channels, hidden_channels
        self.heads, self.walk_length, self.dropout = heads, walk_length, dropout
        self.lin_query = Linear(in_channels, hidden_channels)
        self.lin_query_heads = Linear(hidden_channels, heads * hidden_channels)
        self.lin_key = Linear(in_channels, hidden_channels)
        self.lin_key_heads = Linear(hidden_channels, heads * hidden_channels)

    @property
    def out_channels(self) -> int:
        """Size of a graph's vector."""
        return self.heads * (5 * self.walk_length + 1)

    def extra_repr(self) -> str:
        return f"heads={self.heads}, walk_length={self.walk_length}, dropout={self.dropout}"

    def reset_parameters(self) -> None:
        for lin in (self.lin_query, self.lin_query_heads, self.lin_key, self.lin_key_heads):
            lin.reset_parameters()

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        batch: Tensor,
        candidate: Tensor,
        edge_mask: Tensor | None = None,
        *,
        rowptr: Tensor | None = None,
    ) -> Tensor:
        self._check(x, edge_index, batch, candidate, edge_mask, rowptr)
        if edge_mask is None:
            edge_mask = not_candidates(edge_index, candidate, x.size(0))
        if rowptr is None:
            order = edge_index[1].argsort(stable=True)
            edge_index, edge_mask = edge_index[:, order], edge_mask[order]
            rowptr = csr_from_edge_index(edge_index, x.size(0))[0]
        query, key = self._queries_and_keys(x)
        omega, cross, walks = [], [], []
        for q, k in zip(query, key, strict=True):  # heads
            logit = entry_dot(q, k, rowptr, edge_index[0])
            prob, log_total = list_softmax(logit, rowptr, edge_index[1], edge_mask)
            walks.append(pair_walks(prob, rowptr, edge_index[0], candidate, self.walk_length + 1))
            # [2, B]: the weight of the step from the other end; an end without other edges has total -inf, so c = 1.
            step = (q[candidate.flip(0)] * k[candidate]).sum(-1)
            omega.append(step.sigmoid().sum(0))
            cross.append((step - log_total[candidate]).sigmoid().t())
        profile = walk_profile(torch.stack(walks), torch.stack(cross))
        return self._vector(profile, torch.stack(omega)).to(x.dtype)

    def forward_dense(self, x: Tensor, edge_index: Tensor, batch: Tensor, candidate: Tensor) -> Tensor:
        """The same vector from whole powers of whole matrices, ``O(H L B n^3)``: the definition, to test against.

        Here n is the number of nodes of the largest graph. ``batch`` must not decrease.
        """
        num_graphs, num_nodes = candidate.size(1), x.size(0)
        size = torch.bincount(batch, minlength=num_graphs)
        local = torch.arange(num_nodes, device=x.device) - (size.cumsum(0) - size)[batch]
        src, dst = edge_index[:, not_candidates(edge_index, candidate, num_nodes)]
        width = int(size.max())
        linked = x.new_zeros(num_graphs, width, width, dtype=torch.bool)
        linked[batch[dst], local[dst], local[src]] = True
        graph, pair = torch.arange(num_graphs, device=x.device), local[candidate]
        profiles, omegas = [], []
        for q, k in zip(*self._queries_and_keys(x), strict=True):  # heads
            q_local, k_local = (v.new_zeros(num_graphs, width, v.size(1)) for v in (q, k))
            q_local[batch, local], k_local[batch, local] = q, k
            weight = k_local @ q_local.transpose(1, 2)  # [B, n, n]: row x, column y
            masked = weight.masked_fill(~linked, -torch.inf)
            largest = masked.amax(-1, keepdim=True)
            share = (masked - largest.masked_fill(largest == -torch.inf, 0.0)).exp()
            minus = share / share.sum(-1, keepdim=True).clamp_min(1.0)
            step = torch.stack([weight[graph, pair[a], pair[1 - a]] for a in (0, 1)])
            total = torch.stack([masked[graph, pair[a]].logsumexp(-1) for a in (0, 1)])
            profiles.append(dense_walk_profile(minus, (step - total).sigmoid().t(), pair, self.walk_length + 1))
            omegas.append(step.sigmoid().sum(0))
        stacked = {n: torch.stack([getattr(p, n) for p in profiles]) for n in WalkProfile.__dataclass_fields__}
        return self._vector(WalkProfile(**stacked), torch.stack(omegas))

    def _queries_and_keys(self, x: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Per head ``[N, d]``, queries divided by the root of d."""
        found = []
        for first, second, scale in (
            (self.lin_query, self.lin_query_heads, 1.0 / math.sqrt(self.hidden_channels)),
            (self.lin_key, self.lin_key_heads, 1.0),
        ):
            hidden = F.dropout(F.leaky_relu(first(x), 0.2), self.dropout, self.training)
            out = scale * second(hidden).view(-1, self.heads, self.hidden_channels).transpose(0, 1).contiguous()
            found.append((out.float() if out.dtype in (torch.float16, torch.bfloat16) else out).unbind(0))
        return found[0], found[1]

    def _vector(self, profile: WalkProfile, omega: Tensor) -> Tensor:
        node, link = [profile.node_plus, profile.node_minus], [profile.link_plus, profile.link_minus]
        parts = [profile.graph, omega[..., None], *node, *link]
        return torch.cat([part.transpose(0, 1).flatten(1) for part in parts], dim=1)  # each [H, B, L or 1]

    def _check(
        self,
        x: Tensor,
        edge_index: Tensor,
        batch: Tensor,
        candidate: Tensor,
        edge_mask: Tensor | None,
        rowptr: Tensor | None,
    ) -> None:
        if x.dim() != 2 or x.size(1) != self.in_channels or not x.is_floating_point():
            found = f"{x.dtype} {list(x.shape)}"
            raise ValueError(f"'x' must be a float tensor of shape [N, {self.in_channels}], got {found}.")
        check_pairs("edge_index", edge_index, "E")
        check_pairs("candidate", candidate, "B")
        if batch.dim() != 1 or batch.numel() != x.size(0) or batch.dtype != torch.int64:
            found = f"{batch.dtype} {list(batch.shape)}"
            raise ValueError(f"'batch' must be int64 [{x.size(0)}], the graph of each row of 'x', got {found}.")
        if edge_mask is not None and (edge_mask.dtype != torch.bool or edge_mask.shape != edge_index.shape[1:]):
            found = f"{edge_mask.dtype} {list(edge_mask.shape)}"
            raise ValueError(f"'edge_mask' must be bool [{edge_index.size(1)}], one value per edge, got {found}.")
        if rowptr is not None and rowptr.numel() != x.size(0) + 1:
            raise ValueError(
                f"'rowptr' must have {x.size(0) + 1} numbers, the rows of 'x' and one, got {list(rowptr.shape)}."
            )
        if x.device.type == "cpu":  # elsewhere the values are not waited for
            _check_values(x.size(0), edge_index, batch, candidate)


def not_candidates(edge_index: Tensor, candidate: Tensor, num_nodes: int) -> Tensor:
    """False on the edges, in either direction, that join the two ends of a candidate; ``[E]`` bool."""
    other = candidate.new_full((num_nodes,), -1)
    other[candidate.flatten()] = candidate.flip(0).flatten()
    return other[edge_index[0]] != edge_index[1]


def _check_values(num_nodes: int, edge_index: Tensor, batch: Tensor, candidate: Tensor) -> None:
    for name, index in (("edge_index", edge_index), ("candidate", candidate)):
        if index.numel() and (int(index.min()) < 0 or int(index.max()) >= num_nodes):
            wrong = index[(index < 0) | (index >= num_nodes)]
            raise ValueError(
                f"'{name}' must name rows 0 to {num_nodes - 1} of 'x', but {wrong.numel()} of its {index.numel()} "
                f"numbers do not (first: {first_three(wrong[:3].tolist())})."
            )
    owner = batch[candidate[0]]
    again = torch.zeros_like(owner, dtype=torch.bool)
    order = owner.argsort(stable=True)
    again[order[1:]] = owner[order[1:]] == owner[order[:-1]]
    for what, wrong in (
        ("has two equal ends; a link joins two different nodes", candidate[0] == candidate[1]),
        ("joins two graphs; both ends must be in one graph of 'batch'", owner != batch[candidate[1]]),
        ("has a graph that another one has; give each a copy of the graph", again),
    ):
        if wrong.any():
            where = wrong.nonzero().flatten()
            shown = first_three(where[:3].tolist())
            raise ValueError(f"'candidate' {what}: {where.numel()} of {wrong.numel()} do (first: {shown}).")
