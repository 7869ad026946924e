"""Is a graph one ring or two?    python examples/graph_parsing.py --figure parsed.png

Every node has two neighbours, so what convolutions see is the same in both. A Graph Parsing Network merges nodes until
one is left of each connected part, and learns to tell them. The figure shows how one graph is parsed: nodes of one
colour become one node of the next level, and the width of an edge is its score.
"""

import argparse
import math

import torch
import torch.nn.functional as F
from torch_geometric.data import Batch, Data

from graphlearn.models import GraphParsingNetwork
from graphlearn.typing import PoolOutput


def rings(sizes: list[int], generator: torch.Generator) -> Data:
    """Rings side by side, with a place for each node."""
    edges, place, first = [], [], 0
    for number, size in enumerate(sizes):
        node = torch.arange(size)
        edges.append(torch.stack([node, (node + 1) % size]) + first)
        angle = 2 * math.pi * node / size
        place.append(torch.stack([angle.cos() + 2.4 * number, angle.sin()], dim=1))
        first += size
    x = torch.randn(first, 4, generator=generator)
    return Data(x=x, edge_index=torch.cat(edges, dim=1), pos=torch.cat(place), y=torch.tensor([len(sizes) - 1]))


def draw(place: torch.Tensor, levels: list[PoolOutput], path: str) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(levels) + 1, figsize=(4.4 * len(levels) + 4.4, 2.9))
    colors = plt.get_cmap("tab20").colors
    for number, level in enumerate(levels):
        for (u, v), score in zip(level.scored.t().tolist(), level.edge_score.tolist(), strict=True):
            inside = level.cluster[u] == level.cluster[v]
            color = colors[int(level.cluster[u]) % 20] if inside else "0.8"
            axes[number].plot(*place[[u, v]].t().tolist(), color=color, linewidth=1 + 4 * score, zorder=1)
        shown = [colors[cluster % 20] for cluster in level.cluster.tolist()]
        axes[number].scatter(*place.t().tolist(), c=shown, s=120, zorder=2, edgecolors="black")
        axes[number].set_title(f"level {number + 1}: {len(place)} nodes in {len(level.root)} clusters")
        total = torch.zeros(len(level.root), 2).index_add(0, level.cluster, place)
        place = total / level.cluster.bincount()[:, None]  # a cluster stands in the middle of its nodes
    axes[-1].scatter(*place.t().tolist(), c="black", s=120)
    axes[-1].set_title(f"what remains: {len(place)}")
    for axis in axes:
        axis.set(xticks=[], yticks=[], xlim=(-1.2, 3.6), ylim=(-1.2, 1.2), aspect="equal")
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--graphs", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--figure", help="where to write the picture; needs matplotlib")
    args = parser.parse_args()
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    graphs = [rings([12] if i % 2 else [6, 6], generator) for i in range(args.graphs)]
    half = len(graphs) // 2
    train, test = Batch.from_data_list(graphs[:half]), Batch.from_data_list(graphs[half:])

    model = GraphParsingNetwork(4, 32, out_channels=2, num_layers=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(args.epochs):
        loss = F.cross_entropy(model(train.x, train.edge_index, train.batch, train.num_graphs), train.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    model.eval()
    shown = rings([10, 10], generator)
    with torch.no_grad():
        right = model(test.x, test.edge_index, test.batch, test.num_graphs).argmax(dim=1) == test.y
        levels = model.parse(shown.x, shown.edge_index)
    sizes = [shown.num_nodes, *(len(level.root) for level in levels)]
    print(f"{100 * right.float().mean():.0f} % of the test graphs are right")
    print("two rings of ten, parsed: " + " -> ".join(str(size) for size in sizes) + " nodes")
    if args.figure:
        draw(shown.pos, levels, args.figure)


if __name__ == "__main__":
    main()
