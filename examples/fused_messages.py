"""Can I pass messages without writing them to memory?    python examples/fused_messages.py --nodes 20000

`gather_reduce` inside a plain PyG model: the same numbers as PyG's SAGEConv from the same weights, then a
short training. No database is involved.
"""

import argparse
import time

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import SAGEConv

from graphlearn.ops import csr_from_edge_index, gather_reduce


class FusedSAGEConv(torch.nn.Module):
    """GraphSAGE with the mean: PyG's parameters and result, without a tensor of one row per edge."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.lin_l = torch.nn.Linear(in_channels, out_channels)
        self.lin_r = torch.nn.Linear(in_channels, out_channels, bias=False)

    def forward(self, x: Tensor, rowptr: Tensor, col: Tensor) -> Tensor:
        return self.lin_l(gather_reduce(x, rowptr, col, "mean")) + self.lin_r(x)


def random_graph(num_nodes: int, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy features of a hidden class, and edges that mostly stay within it: neighbours tell more than features."""
    y = torch.randint(classes, (num_nodes,), generator=generator)
    x = F.one_hot(y, classes) + 2.0 * torch.randn(num_nodes, classes, generator=generator)
    order = y.argsort()  # rank r and rank r + small are usually of one class
    rank = torch.randint(num_nodes, (20 * num_nodes,), generator=generator)
    step = torch.randint(num_nodes // 20, rank.shape, generator=generator)
    return x, torch.stack([order[rank], order[(rank + step) % num_nodes]]), y


def milliseconds(step, repeats: int = 5) -> float:
    step()
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - start) / repeats * 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=20_000)
    args = parser.parse_args()
    torch.manual_seed(0)
    x, edge_index, y = random_graph(args.nodes, classes=5, generator=torch.Generator().manual_seed(0))
    rowptr, col = csr_from_edge_index(edge_index, args.nodes)

    wide = torch.randn(args.nodes, 64)
    theirs, ours = SAGEConv(64, 64), FusedSAGEConv(64, 64)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(wide, rowptr, col), theirs(wide, edge_index), rtol=1e-4, atol=1e-5)
    print(f"the same numbers as SAGEConv on {edge_index.size(1):,} edges")
    print(f"forward + backward   SAGEConv {milliseconds(lambda: theirs(wide, edge_index).sum().backward()):7.1f} ms")
    print(f"                     fused    {milliseconds(lambda: ours(wide, rowptr, col).sum().backward()):7.1f} ms")

    convs = torch.nn.ModuleList([FusedSAGEConv(5, 32), FusedSAGEConv(32, 5)])
    optimizer = torch.optim.Adam(convs.parameters(), lr=0.01)
    train = torch.rand(args.nodes) < 0.5
    for _ in range(20):
        out = convs[1](convs[0](x, rowptr, col).relu(), rowptr, col)
        optimizer.zero_grad()
        F.cross_entropy(out[train], y[train]).backward()
        optimizer.step()
    accuracy = (out.argmax(-1) == y)[~train].float().mean()
    alone = (x.argmax(-1) == y)[~train].float().mean()
    print(f"test accuracy {accuracy:.3f}; from a node's own features alone {alone:.3f}")


if __name__ == "__main__":
    main()
