"""How many labels does it take to count a triangle or a 4-cycle?    python examples/kl_substructures.py --graphs 800

A message passing network cannot count triangles: without labels every node of a regular graph looks like every other.
With all sets of l nodes labelled, each copy cut down to what they induce, l = 3 counts triangles and l = 4 also
4-cycles. All data are generated. `--figure FILE` draws the errors (needs matplotlib).
"""

import argparse

import torch
from torch import Tensor
from torch.nn import Linear, Module, Sequential

from graphlearn.models import KLGNN, LabelTuples
from graphlearn.nn import KLConv

SIZE, CHANNELS, LABELS = 8, 32, (0, 1, 2, 3, 4)


class Sine(Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sin()


def random_graphs(count: int) -> Tensor:
    upper = (torch.rand(count, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) < 0.4).triu(1).double()
    return upper + upper.transpose(1, 2)


def counts(adjacency: Tensor) -> dict[str, Tensor]:
    """From closed walks of length 3 and 4."""
    square, degree = adjacency @ adjacency, adjacency.sum(dim=2)
    fours = square.pow(2).sum(dim=(1, 2)) - degree.sum(dim=1) - 2 * (degree * (degree - 1)).sum(dim=1)
    return {"triangles": (square * adjacency).sum(dim=(1, 2)) / 6, "4-cycles": fours / 8}


def features(adjacency: Tensor, labels: int) -> Tensor:
    """The sums over the copies of each graph, by a network with random weights: what a linear layer can count from."""
    torch.manual_seed(0)
    local = {"order": "none", "hops": 0} if labels else {}
    net = KLGNN(
        [KLConv(CHANNELS, norm=False) for _ in range(2)], CHANNELS, tuples=LabelTuples(labels, **local),
        copy_net=Sequential(Linear(CHANNELS, CHANNELS), Sine()), copy_pool="sum",
    ).double()  # fmt: skip
    edge_index = adjacency.reshape(-1, SIZE).nonzero().t()
    edge_index[1] += edge_index[0] // SIZE * SIZE
    nodes = adjacency.size(0) * SIZE
    with torch.no_grad():
        return net(torch.ones(nodes, CHANNELS).double(), edge_index, batch=torch.arange(nodes) // SIZE)


def error(x: Tensor, y: Tensor) -> float:
    """Of a linear fit to the first half, on the second half, in standard deviations of the counts."""
    half, x = len(x) // 2, torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
    fit = torch.linalg.lstsq(x[:half], y[:half, None], rcond=1e-10, driver="gelsd").solution
    return float(((x[half:] @ fit)[:, 0] - y[half:]).abs().mean() / y[half:].std())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--graphs", type=int, default=800)
    parser.add_argument("--figure")
    args = parser.parse_args()
    adjacency = random_graphs(args.graphs)
    wanted = counts(adjacency)
    errors: dict[str, list[float]] = {name: [] for name in wanted}
    for labels in LABELS:
        x = features(adjacency, labels)
        for name, y in wanted.items():
            errors[name].append(error(x, y))
        print(f"l = {labels}: " + ", ".join(f"{name} {errors[name][-1]:.4f}" for name in wanted))
    if args.figure:
        draw(errors, args.figure)


def draw(errors: dict[str, list[float]], path: str) -> None:
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(figsize=(6, 3), layout="constrained")
    for shift, (name, values) in zip((-0.2, 0.2), errors.items(), strict=True):
        bars = axes.bar([label + shift for label in LABELS], values, width=0.38, label=name)
        axes.bar_label(bars, fmt=lambda v: f"{v:.2f}" if v >= 0.005 else "0", fontsize=8)
    axes.set(xlabel="labels of a copy", ylabel="error / spread of the counts", xticks=LABELS)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    plt.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
