"""How exactly does a labelled network count subgraphs?    python benchmarks/kl_counting.py

Triangles, 4-cycles and tailed triangles (subgraphs, not only induced ones) of whole random graphs with 10 nodes and
edge probability 0.3: 1,500 to train, 2,500 to test. Trained with Adam; then the last, linear layer is fitted again by
least squares on the training graphs. Error: mean absolute error on test over the standard deviation of the counts on
test; the bar is 0.01. *base*: no labels. *node*: a copy per labelled node (1,1). *local*: every set of 3 (triangles) or
4 nodes labelled, a copy being the subgraph that they induce, as in the paper's code for counting. One seed a row.
"""

from __future__ import annotations

import argparse
import itertools
import time

import torch
from common import emit, versions
from torch import Tensor
from torch.nn import Linear, ReLU, Sequential

from graphlearn.models import KLGNN, LabelTuples
from graphlearn.nn import KLConv
from graphlearn.ops.copies import SharedStates

SIZE, SHARE = 10, 0.3
NAMES = ("triangles", "4-cycles", "tailed triangles")


def random_graphs(count: int, generator: torch.Generator) -> Tensor:
    """Adjacency matrices ``[count, SIZE, SIZE]``."""
    upper = (torch.rand(count, SIZE, SIZE, generator=generator) < SHARE).triu(1).double()
    return upper + upper.transpose(1, 2)


def counts(adjacency: Tensor) -> Tensor:
    """``[count, 3]``, from closed walks."""
    square = adjacency @ adjacency
    degree = adjacency.sum(dim=2)
    closed = (square * adjacency).sum(dim=2)  # walks of length 3 from each node back to it
    fours = square.pow(2).sum(dim=(1, 2)) - degree.sum(dim=1) - 2 * (degree * (degree - 1)).sum(dim=1)
    tailed = (closed / 2 * (degree - 2)).sum(dim=1)
    return torch.stack([closed.sum(dim=1) / 6, fours / 8, tailed], dim=1)


def batches(adjacency: Tensor, tuples: LabelTuples, size: int) -> list[tuple[Tensor, Tensor, SharedStates]]:
    """Fixed batches: the graphs of each share the states that they have in common."""
    found = []
    for part in adjacency.split(size):
        edge_index = part.reshape(-1, SIZE).nonzero().t()
        edge_index[1] += edge_index[0] // SIZE * SIZE
        x = torch.ones(part.size(0) * SIZE, 1, dtype=torch.float64)
        ptr = torch.arange(part.size(0) + 1) * SIZE
        assert tuples.num_rounds is not None
        found.append((x, edge_index, tuples.states(edge_index, ptr, tuples.num_rounds, x, None)))
    return found


class Sine(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sin()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", nargs="*", default=["base", "node", "local"], choices=["base", "node", "local"])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", action="store_true", help="few graphs and epochs, nothing stored")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sizes, batch_size = ([1500, 2500], 125) if not args.tiny else ([20, 10], 10)
    if args.tiny:
        args.epochs, args.modes = 2, ["local"]
    graphs = random_graphs(sum(sizes), torch.Generator().manual_seed(0)).split(sizes)
    for mode, k in itertools.product(args.modes, range(len(NAMES))):
        labelled = {"base": 0, "node": 1, "local": 3 if k == 0 else 4}[mode]
        local = {"order": "none", "hops": 0} if mode == "local" else {}
        tuples = LabelTuples(labelled, num_rounds=args.layers, **local)
        ready = [batches(part, tuples, batch_size) for part in graphs]
        labels = [counts(part)[:, k] for part in graphs]
        row = {"what": NAMES[k], "mode": mode, **train(ready, labels, tuples, batch_size, args)}
        emit({**row, **versions()}, None if args.tiny or args.no_store else "kl_counting")


Ready = list[tuple[Tensor, Tensor, SharedStates]]


def train(
    ready: list[Ready], labels: list[Tensor], tuples: LabelTuples, size: int, args: argparse.Namespace
) -> dict[str, object]:
    start = time.process_time()
    torch.manual_seed(args.seed)
    base = [KLConv(args.channels, norm=False) for _ in range(args.layers)]
    # Sines stay apart for the few kinds of local copies, where ReLUs of such sums fall together; for the many kinds of
    # whole copies ReLUs learn better.
    act = Sine() if tuples.hops == 0 else ReLU()
    copy_net = Sequential(Linear(args.channels, args.channels), act, Linear(args.channels, args.channels), act)
    net = KLGNN(
        base, args.channels, tuples=tuples, encoder=Linear(1, args.channels), copy_net=copy_net,
        head=Linear(args.channels, 1), copy_pool="sum",
    ).double()  # fmt: skip
    middle, spread = labels[0].mean(), labels[0].std()
    optimizer = torch.optim.Adam(net.parameters(), lr=args.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)
    generator = torch.Generator().manual_seed(args.seed)
    for _ in range(args.epochs):
        for k in torch.randperm(len(ready[0]), generator=generator).tolist():
            x, edge_index, copies = ready[0][k]
            target = (labels[0][k * size : (k + 1) * size] - middle) / spread
            loss = (net(x, edge_index, copies=copies)[:, 0] - target).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        schedule.step()
    net.head = torch.nn.Identity()
    with torch.no_grad():
        seen, unseen = (torch.cat([net(x, e, copies=c) for x, e, c in part]) for part in ready)
    mean, scale = seen.mean(dim=0), seen.std(dim=0).clamp_min(1e-9)
    # The minimum-norm solution, as the copies of a graph leave fewer than `channels` independent sums.
    last = torch.linalg.lstsq((seen - mean) / scale, labels[0][:, None] - middle, rcond=1e-9, driver="gelsd").solution
    error = ((unseen - mean) / scale @ last)[:, 0] + middle - labels[1]
    return {
        "l": tuples.l, "layers": args.layers, "channels": args.channels, "epochs": args.epochs, "seed": args.seed,
        "train_loss": round(float(loss.detach()), 6), "test_error": float(error.abs().mean() / labels[1].std()),
        "cpu_s": round(time.process_time() - start, 1),
    }  # fmt: skip


if __name__ == "__main__":
    main()
