"""How much smaller can a GNN get, and what does it cost?    python examples/quantize_gnn.py

A generated graph of communities, a two-layer GraphSAGE trained on it in float32, calibrated in 8 bits without any
training, trained with 4-bit weights, and converted to a model that stores and computes in integers.
"""

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module
from torch_geometric.nn import SAGEConv

from graphlearn.compress.quantize import W4A8, W8A8, calibrate, convert, quantize, size_report


class Net(Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = SAGEConv(channels, 32), SAGEConv(32, classes)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.conv2(self.conv1(x, edge_index).relu(), edge_index)


def communities(num_nodes: int, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Features that say little about the class, and edges of which three in four stay within it."""
    y = torch.randint(classes, (num_nodes,), generator=generator)
    x = F.one_hot(y, classes).float().repeat(1, 8) + 3.0 * torch.randn(num_nodes, 8 * classes, generator=generator)
    order = y.argsort()
    src = torch.randint(num_nodes, (8 * num_nodes,), generator=generator)
    near = order[(order.argsort()[src] + torch.randint(1, 20, src.shape, generator=generator)) % num_nodes]
    far = torch.randint(num_nodes, src.shape, generator=generator)
    dst = torch.where(torch.rand(src.shape, generator=generator) < 0.75, near, far)
    return x, torch.stack([src, dst]), y


def fit(model: Module, x: Tensor, edge_index: Tensor, y: Tensor, train: Tensor, epochs: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(epochs):
        model.train()
        optimizer.zero_grad()
        F.cross_entropy(model(x, edge_index)[train], y[train]).backward()
        optimizer.step()
    model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2_000)
    parser.add_argument("--epochs", type=int, default=60)
    args = parser.parse_args()
    torch.manual_seed(0)
    x, edge_index, y = communities(args.nodes, 6, torch.Generator().manual_seed(0))
    train = torch.arange(args.nodes) % 2 == 0

    plain = Net(x.size(1), 6)
    fit(plain, x, edge_index, y, train, args.epochs)

    calibrated = quantize(plain, W8A8())  # a copy; no training, only ranges
    calibrate(calibrated, [(x, edge_index)])

    trained = quantize(plain, W4A8())
    fit(trained, x, edge_index, y, train, args.epochs // 3)

    integers = convert(trained)
    with torch.no_grad():
        models = {"float32": plain, "W8A8": calibrated.eval(), "W4A8": trained, "integers": integers}
        classes = {name: model(x, edge_index).argmax(dim=1) for name, model in models.items()}
    for name, model in models.items():
        right = (classes[name] == y)[~train].float().mean()
        print(f"{name:9} {size_report(model).weight_bytes:6d} bytes of weights, accuracy {100 * right:.1f} %")
    same = (classes["integers"] == classes["W4A8"]).float().mean()
    print(f"integers and simulation say the same class for {100 * same:.1f} % of the nodes")


if __name__ == "__main__":
    main()
