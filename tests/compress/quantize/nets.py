"""Small models and graphs for the tests of quantised models."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import BatchNorm1d, Linear, Module, ModuleList, ReLU, Sequential
from torch_geometric.nn import EdgeConv, GATConv, GCNConv, GINConv, GraphConv, SAGEConv, global_add_pool

KINDS = ["GCN", "SAGE", "SAGE max", "GAT", "GAT mean", "GIN"]


class Net(Module):
    """Two layers of a kind with batch normalisation between, and a linear layer."""

    def __init__(self, kind: str, channels: int = 12, classes: int = 5) -> None:
        super().__init__()
        width = 16
        self.convs = ModuleList([self.conv(kind, channels, width), self.conv(kind, width, width)])
        self.norm = BatchNorm1d(width)
        self.head = Linear(width, classes)

    @staticmethod
    def conv(kind: str, source: int, width: int) -> Module:
        if kind.startswith("GAT"):
            mean = kind == "GAT mean"
            return GATConv(source, width if mean else width // 4, heads=4, concat=not mean)
        if kind == "GIN":
            layers = Sequential(Linear(source, width), BatchNorm1d(width), ReLU(), Linear(width, width))
            return GINConv(layers, train_eps=True)
        if kind == "SAGE max":
            return SAGEConv(source, width, aggr="max")
        if kind == "Edge":
            return EdgeConv(Sequential(Linear(2 * source, width), ReLU(), Linear(width, width)), aggr="mean")
        return {"GCN": GCNConv, "SAGE": SAGEConv, "Graph": GraphConv}[kind](source, width)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = self.norm(self.convs[0](x, edge_index)).relu()
        return self.head(self.convs[1](x, edge_index).relu())


class GraphNet(Net):
    """Its sum over the nodes of each graph."""

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor, size: int) -> Tensor:
        return global_add_pool(super().forward(x, edge_index), batch, size)


def graph(seed: int = 0, num_nodes: int = 30, channels: int = 12) -> tuple[Tensor, Tensor]:
    """Features, and edges at random: the last node has none, the first many."""
    g = torch.Generator().manual_seed(seed)
    edge_index = torch.randint(num_nodes - 1, (2, 4 * num_nodes), generator=g)
    hub = torch.stack([torch.arange(1, num_nodes - 1), torch.zeros(num_nodes - 2, dtype=torch.int64)])
    return torch.randn(num_nodes, channels, generator=g), torch.cat([edge_index, hub], dim=1)


def net(kind: str, seed: int = 0) -> Net:
    """A model with weights of its own seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net(kind)
