"""Recommendation: two towers, the ways inside a source's own tree, or both."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import LayerNorm, Linear, Module
from torch_frame import TensorFrame
from torch_geometric.data import HeteroData

from graphlearn.errors import unknown_name
from graphlearn.graph.statistics import Statistics
from graphlearn.models.paths import PathScorer, Reached, hops_to
from graphlearn.models.rdl import EncoderFactory, ModelConfig, RelationalEncoder, edge_types_of
from graphlearn.schema.schema import Schema
from graphlearn.typing import NodeType

RANKERS = ("two-tower", "id-gnn", "fused")
"""Kinds of :class:`Ranker`."""

#: Newest neighbours per hop; items further away than the last hop are not reached.
_FAN_OUT = (16, 8, 4, 4)
#: Hops of the item tower: what names the item, and what those rows name.
_ITEM_HOPS = 2


@dataclass(frozen=True)
class Sources:
    """What a model knows of the sources of a batch.

    Attributes:
        vector: ``[B, channels + 1]``, its last column 1.
        reached: The items in their trees, or None of two towers alone.
        gate: How much these count, ``[B, 1]``.
    """

    vector: Tensor
    reached: Reached | None
    gate: Tensor


class Ranker(Module):
    r"""Scores items for sources.

    .. math:: s_{ui} = \langle z_u, z_i \rangle + b_i + 2 \sigma(g_u)\, p_{ui}

    with :math:`z_u, z_i, b_i` from the towers, two :class:`RelationalEncoder` with one tree for the source and one for
    the item, and :math:`p_{ui}` from the ways that lead to the item inside the source's tree (:class:`PathScorer`), 0
    where there is none. ``two-tower`` leaves the ways out, ``id-gnn`` the towers, ``fused`` weighs them with a
    learned :math:`g_u` of each source, whose tower then also reads what all its ways say together. An item enters
    with its rows and with how often it was named lately, not with a vector of its own: one that is new is scored by its
    columns.

    Source: towers of Robinson et al., "RelBench", arXiv:2407.20060; ``id-gnn`` of You et al., arXiv:2101.10320;
    ``fused`` in the spirit of Yuan et al., "ContextGNN", arXiv:2411.19513, which takes the pair's score instead of the
    towers' where there is one. Differs in adding the two, and without vectors of single items.

    Args:
        schema: Tables and keys.
        statistics: Of the rows, as fitted when the graph was built.
        source_table: Table of the sources.
        item_table: Table of the items.
        kind: One of :data:`RANKERS`.
        config: Sizes; the source's tree is as deep as it has numbers of neighbours.
        num_item_features: Columns that tell how often an item was named.
        encoder: Makes the row encoder of a table, see :class:`RelationalEncoder`.

    Raises:
        UnknownNameError: If there is no such kind.
    """

    def __init__(
        self,
        schema: Schema,
        statistics: Statistics,
        source_table: str,
        item_table: str,
        kind: str,
        config: ModelConfig,
        *,
        num_item_features: int = 0,
        encoder: EncoderFactory | None = None,
    ) -> None:
        super().__init__()
        if kind not in RANKERS:
            raise unknown_name("kind of ranking", kind, RANKERS)
        self.kind, self.config = kind, config
        self.source_table, self.item_table = source_table, item_table
        self.source = RelationalEncoder(schema, statistics, source_table, config, encoder=encoder)
        self.item: RelationalEncoder | None = None
        self.paths: PathScorer | None = None
        channels = config.channels
        if kind != "id-gnn":
            hops = config.num_neighbors[:_ITEM_HOPS]
            sizes = replace(
                config, num_neighbors=hops, dropout=0.0, row_dropout=0.0, num_features=num_item_features,
                feature_dropout=0.0,
            )  # fmt: skip
            self.item = RelationalEncoder(schema, statistics, item_table, sizes, encoder=encoder)
            self.source_norm, self.lin_source = LayerNorm(channels), Linear(channels, channels)
            self.item_norm, self.lin_item = LayerNorm(channels), Linear(channels, channels)
            self.lin_bias = Linear(channels, 1)
        if kind != "two-tower":
            ages = self.source.age.out_channels
            depth = len(config.num_neighbors)
            self.paths = PathScorer(channels, ages, self.source.edge_types, item_table, depth)
            self.lin_gate = Linear(channels, 1)
            self.lin_ways = Linear(channels, channels)

    def sources(
        self,
        batch: HeteroData,
        rows: dict[NodeType, TensorFrame],
        times: dict[NodeType, Tensor],
        dated: dict[NodeType, Tensor] | None = None,
    ) -> Sources:
        """Of a batch of sources, see :meth:`RelationalModel.forward`."""
        x = self.source.encode_rows(rows)
        seen = self.source.look(batch, times, dated)
        root = self.source.vectors(batch, rows, x, seen)
        one = root.new_ones(len(root), 1)
        reached = None if self.paths is None else self.paths(batch, root, x, seen.age)
        if self.item is None:
            return Sources(one, reached, one)
        if reached is not None:
            root = root + self.lin_ways(reached.together(len(root)))
        gate = one if reached is None else 2 * self.lin_gate(root).sigmoid()
        return Sources(torch.cat([self._tower(root, "source"), one], dim=1), reached, gate)

    def items(
        self,
        batch: HeteroData,
        rows: dict[NodeType, TensorFrame],
        times: dict[NodeType, Tensor],
        dated: dict[NodeType, Tensor] | None = None,
    ) -> Tensor:
        """Of a batch of items, whose product with those of sources is the towers' score, ``[I, channels + 1]``."""
        assert self.item is not None
        vector = self.item.vectors(batch, rows, self.item.encode_rows(rows), self.item.look(batch, times, dated))
        return torch.cat([self._tower(vector, "item"), self.lin_bias(vector)], dim=1)

    def _tower(self, vector: Tensor, side: str) -> Tensor:
        norm, lin = (self.source_norm, self.lin_source) if side == "source" else (self.item_norm, self.lin_item)
        out: Tensor = lin(norm(vector)) / self.config.channels**0.25  # so that products have a spread of about 1
        return out


#: A logarithm of nothing that can be added to.
_NEVER = -1e30


def tree_sizes(schema: Schema, source_table: str, item_table: str) -> tuple[int, ...]:
    """Neighbours per hop of a source's tree: as many hops as lead to an item, at least two and at most four."""
    distance = hops_to(item_table, edge_types_of(schema)).get(source_table, 2)
    return _FAN_OUT[: max(distance, 2)]


def sampled_softmax(score: Tensor, positive: Tensor, owner: Tensor, true: Tensor, log_weight: Tensor) -> Tensor:
    r"""Mean over pairs that came true of how little their share of the softmax over all items is.

    .. math:: L = -\frac1P \sum_{(u, i)} \log \frac{e^{s_{ui}}}{e^{s_{ui}} + \sum_{j \in C_u} w_j e^{s_{uj}}}

    with :math:`C_u` the columns but those that came true for u too, and :math:`w_j` how many items stand behind a
    column that was drawn.

    Shapes:
        - ``score``: ``[B, C]``;  ``positive``: ``[P]`` scores of the pairs;  ``owner``: ``[P]`` their rows
        - ``true``: ``[B, C]`` bool;  ``log_weight``: ``[B, C]`` or ``[C]``, -inf for columns that do not count
        - returns a scalar
    """
    # Where nothing else is left the sum has no logarithm, and -inf no slope.
    others = (score + log_weight.clamp_min(_NEVER)).masked_fill(true, _NEVER).logsumexp(dim=1)
    return F.softplus(others[owner] - positive).mean()
