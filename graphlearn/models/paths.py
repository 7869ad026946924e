"""Scores of the items inside a source's own tree, from the ways that lead to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import LayerNorm, Linear, Module, ModuleDict
from torch_geometric.data import HeteroData

from graphlearn.ops.csr_torch import entries_to_rows
from graphlearn.typing import EdgeType, NodeType


@dataclass(frozen=True)
class Reached:
    """The copies of items in the trees of a batch; an item that several ways lead to is there several times.

    Attributes:
        seed: Whose tree each is in, int64 ``[P]``.
        item: Its row, int64 ``[P]``.
        pull: What speaks for and against it, log weights ``[P, 2]``.
        state: Of the way that leads there, ``[P, channels]``.
        weight: Log weight of the state in what the ways say together, ``[P, 1]``.
    """

    seed: Tensor
    item: Tensor
    pull: Tensor
    state: Tensor
    weight: Tensor

    def together(self, size: int) -> Tensor:
        r"""What all ways of each source say, ``[size, channels]``: a mean by weight, drawn to 0 where there are few.

        .. math:: \frac{\sum_w e^{c_w} h_w}{1 + \sum_w e^{c_w}}
        """
        share = self.weight.exp()
        total = self.state.new_zeros(size, self.state.size(1)).index_add(0, self.seed, share * self.state)
        return total / (1 + share.new_zeros(size, 1).index_add(0, self.seed, share))

    def scores(self, seed: Tensor, column: Tensor, size: tuple[int, int]) -> Tensor:
        r"""The pairs' scores as a matrix of that size: 0 where no way leads.

        .. math:: s_{ui} = \log\Bigl(1 + \sum_{w: u \to i} e^{a_w}\Bigr) - \log\Bigl(1 + \sum_{w: u \to i} e^{b_w}\Bigr)

        Args:
            seed: Row of the matrix for each copy, ``[P]``.
            column: Column of each copy, ``[P]``; the number of columns for those that are not asked about.
            size: Rows and columns.
        """
        rows, columns = size
        total = self.pull.new_zeros(rows * (columns + 1), 2)
        total = total.index_add(0, seed * (columns + 1) + column, self.pull.exp())
        both = total.log1p().view(rows, columns + 1, 2)[:, :columns]
        return both[..., 0] - both[..., 1]


class PathScorer(Module):
    r"""Follows each way from a source through its tree, and says what a way to an item speaks for.

    A tree is all ways from its root, none with a beginning that another ends in; so one state per copy of a row, made
    from that of the copy before it, is one state per way:

    .. math:: h_c = \mathrm{ReLU}\bigl(\mathrm{LN}(W_r h_{p} + U_T x_c + A_T\, \mathrm{age}_c)\bigr)

    for the copy c, of a row of table T, below p through the relation r. The root's state is its vector. Only ways that
    can still reach an item are followed.

    Source: the identity-marked GNN of You et al., "Identity-aware Graph Neural Networks", arXiv:2101.10320, whose mark
    on the root is here the beginning of each way; and the pairs of Yuan et al., "ContextGNN", arXiv:2411.19513. Differs
    in reading each way by itself.

    Args:
        channels: Size of vectors.
        age_channels: Size of ages.
        edge_types: Of the tree.
        item_table: Table of the items.
        depth: Hops of the tree.

    Shapes:
        - ``root``: ``[B, channels]``;  ``x``: per table ``[R, channels]``;  ``age``: per table ``[n, age_channels]``
    """

    def __init__(
        self, channels: int, age_channels: int, edge_types: Iterable[EdgeType], item_table: NodeType, depth: int
    ) -> None:
        super().__init__()
        self.edge_types, self.item_table, self.depth = sorted(edge_types), item_table, depth
        self._distance = hops_to(item_table, self.edge_types)
        followed = [e for e in self.edge_types if self._distance.get(e[0], depth) < depth]
        self._key = {edge_type: f"e{i}" for i, edge_type in enumerate(followed)}
        tables = sorted({e[0] for e in followed})
        self._table = {name: f"t{i}" for i, name in enumerate(tables)}
        self.lin_root = Linear(channels, channels)
        self.lin_edge = ModuleDict({key: Linear(channels, channels) for key in self._key.values()})
        self.lin_row = ModuleDict({key: Linear(channels, channels, bias=False) for key in self._table.values()})
        self.lin_age = ModuleDict({key: Linear(age_channels, channels, bias=False) for key in self._table.values()})
        self.norm = ModuleDict({key: LayerNorm(channels) for key in self._table.values()})
        self.out = Linear(channels, 3)

    def reset_parameters(self) -> None:
        for modules in (self.lin_edge, self.lin_row, self.lin_age, self.norm):
            for module in modules.values():
                assert isinstance(module, (Linear, LayerNorm))
                module.reset_parameters()
        self.lin_root.reset_parameters()
        self.out.reset_parameters()

    def forward(
        self, batch: HeteroData, root: Tensor, x: dict[NodeType, Tensor], age: dict[NodeType, Tensor]
    ) -> Reached:
        """What the ways in the trees of a batch say."""
        rows = {name: self.lin_row[key](x[name]) for name, key in self._table.items()}
        state = {batch.seed_type: torch.relu(self.lin_root(root))}
        seeds, items, pulls = [], [], []
        begin = {name: batch[name].num_sampled_nodes[0] for name in x}
        for hop in range(self.depth):
            below: dict[NodeType, list[Tensor]] = {}
            first = dict(begin)
            for edge_type in self.edge_types:
                source, _, destination = edge_type
                store = batch[edge_type]
                size = store.num_sampled_edges[hop]
                here = slice(first[source], first[source] + size)
                first[source] += size
                if self._distance.get(source, self.depth) >= self.depth - hop or destination not in state:
                    continue
                start = sum(batch[destination].num_sampled_nodes[:hop])
                stop = start + batch[destination].num_sampled_nodes[hop]
                above = entries_to_rows(store.rowptr[start : stop + 1] - store.rowptr[start], size)
                key = self._table[source]
                step = self.lin_edge[self._key[edge_type]](state[destination])[above]
                step = step + rows[source][batch[source].inverse[here]] + self.lin_age[key](age[source][here])
                below.setdefault(source, []).append(torch.relu(self.norm[key](step)))
                if source == self.item_table:
                    seeds.append(batch[source].batch[here])
                    items.append(batch[source].n_id[here])
                    pulls.append(below[source][-1])
            begin = {name: begin[name] + batch[name].num_sampled_nodes[hop + 1] for name in begin}
            state = {name: torch.cat(parts) for name, parts in below.items()}
        if not pulls:
            none = torch.zeros(0, dtype=torch.int64, device=root.device)
            return Reached(none, none, root.new_zeros(0, 2), root.new_zeros(0, root.size(1)), root.new_zeros(0, 1))
        states = torch.cat(pulls)
        said = self.out(states).clamp_max(_MOST_PULL)
        return Reached(torch.cat(seeds), torch.cat(items), said[:, :2], states, said[:, 2:])


#: Beyond it a sum of exponentials of many ways would no longer fit into float32.
_MOST_PULL = 30.0


def hops_to(item_table: NodeType, edge_types: Iterable[EdgeType]) -> dict[NodeType, int]:
    """From each table the fewest steps down a tree to a row of ``item_table``; tables without a way are left out."""
    known, edges = {item_table: 0}, list(edge_types)
    while True:
        found = {
            destination: 1 + min(known[s] for s, _, d in edges if d == destination and s in known)
            for source, _, destination in edges
            if source in known and destination not in known
        }
        if not found:
            return known
        known |= found
