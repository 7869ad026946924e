"""What do labels let a network tell apart, and count?    python benchmarks/kl_expressive.py

Two protocols, which are different things; each row names its own.

- *separation* (default): networks with random weights, float64, several seeds. A pair of graphs is separated if a
  network gives them outputs that differ by more than 1e-8 of their size; the same graph with its nodes renumbered must
  stay below that. Nothing is trained: it asks what the network can see. EXP and CEXP: the 600 pairs; CSL: graphs
  of different classes; SR25: all 105 pairs. l = 0 beside it is the base, which fails (on half of CEXP; the
  other half needs no labels).
- *accuracy* (`--accuracy EXP CEXP CSL SR25`): 10-fold cross-validation, the pairs of EXP and CEXP kept together, no
  choice by test accuracy (the last epoch counts). EXP and CEXP: all weights are trained. CSL and SR25: a linear head
  on a network whose other weights stay random, which is enough for graphs without features. SR25 has one graph per
  class, so what is reported is, as in the literature, the accuracy on the training graphs. Finished folds are in the
  results file and are skipped when it is started again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, emit, versions
from torch import Tensor
from torch.nn import Linear, ReLU, Sequential
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GINConv

from graphlearn.models import KLGNN, LabelTuples
from graphlearn.nn import KLConv

DATA = Path(os.environ.get("GRAPHLEARN_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data") / "expressiveness"


def read_pairs(name: str, limit: int | None = None) -> list[Data]:
    """The graphs of EXP.txt or CEXP.txt, two by two; with a limit, so many from the whole file."""
    lines = (DATA / f"{name}.txt").read_text().splitlines()
    graphs, at = [], 1
    for _ in range(int(lines[0])):
        size, label = map(int, lines[at].split())
        rows = [list(map(int, line.split())) for line in lines[at + 1 : at + 1 + size]]
        pairs = [(u, v) for v, row in enumerate(rows) for u in row[2:]]
        x = torch.nn.functional.one_hot(torch.tensor([row[0] for row in rows]), 2).float()
        graphs.append(Data(x=x, edge_index=torch.tensor(pairs).t().contiguous(), y=torch.tensor([label])))
        at += 1 + size
    if limit is None:
        return graphs
    every = max(1, len(graphs) // limit)
    return [graphs[i] for first in range(0, len(graphs) - 1, 2 * every) for i in (first, first + 1)][:limit]


def read_csl() -> list[Data]:
    with np.load(DATA / "csl.npz") as file:
        edges, ptr, sizes, label = (torch.from_numpy(file[k]) for k in ("edge_index", "edge_ptr", "num_nodes", "y"))
    return [
        Data(x=torch.ones(int(n), 1), edge_index=edges[:, ptr[i] : ptr[i + 1]].long(), y=label[i : i + 1].long())
        for i, n in enumerate(sizes)
    ]


def read_sr25() -> list[Data]:
    graphs = []
    for i, line in enumerate((DATA / "sr251256.g6").read_text().split()):
        size = ord(line[0]) - 63
        bits = [ord(c) - 63 >> k & 1 for c in line[1:] for k in range(5, -1, -1)]  # upper triangle, column by column
        pairs = [(u, v) for v in range(size) for u in range(v)]
        one = torch.tensor([pair for pair, bit in zip(pairs, bits, strict=False) if bit]).t()
        edge_index = torch.cat([one, one.flip(0)], dim=1)
        graphs.append(Data(x=torch.ones(size, 1), edge_index=edge_index, y=torch.tensor([i])))
    return graphs


READ = {"EXP": lambda: read_pairs("EXP"), "CEXP": lambda: read_pairs("CEXP"), "CSL": read_csl, "SR25": read_sr25}
LABELS = {"EXP": 1, "CEXP": 1, "CSL": 1, "SR25": 2}
BASE = {"EXP": "relu", "CEXP": "relu", "CSL": "sine", "SR25": "sine"}
CLASSES = {"EXP": 2, "CEXP": 2, "CSL": 10, "SR25": 15}


def mlp(size: int, channels: int, out: int) -> Sequential:
    return Sequential(Linear(size, channels), ReLU(), Linear(channels, out))


class Sine(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sin()


def network(size: int, out: int, tuples: LabelTuples, layers: int, channels: int, base: str) -> KLGNN:
    """*sine*: PyG's GIN with sines. Sums over regular graphs are so much alike that ReLUs would be linear for all of
    their nodes, with random weights and for long in training. *relu*: KLConv."""
    if base == "relu":
        return KLGNN(
            [KLConv(channels) for _ in range(layers)], channels, tuples=tuples, encoder=Linear(size, channels),
            copy_net=mlp(channels, channels, channels), head=mlp(channels, channels, out), node_pool="mean",
        )  # fmt: skip
    return KLGNN(
        [GINConv(Sequential(Linear(channels, channels), Sine())) for _ in range(layers)], channels, tuples=tuples,
        encoder=Linear(size, channels), copy_net=Sequential(Linear(channels, channels), Sine()),
        head=Linear(channels, out),
    )  # fmt: skip


def separation(name: str, graphs: list[Data], l: int, args: argparse.Namespace) -> dict[str, object]:  # noqa: E741 - the paper's letter
    start = time.process_time()
    tuples = LabelTuples(l, order=args.order, num_rounds=args.layers)
    generator = torch.Generator().manual_seed(0)
    moved = [renumbered(graph, generator) for graph in graphs]
    ready = [[tuples(graph) for graph in group] for group in (graphs, moved)]
    label = torch.cat([graph.y for graph in graphs])
    if name in ("EXP", "CEXP"):
        first = torch.arange(0, len(graphs), 2)
        a, b = first, first + 1
    else:
        a, b = torch.combinations(torch.arange(len(graphs)), 2).t()
        a, b = a[label[a] != label[b]], b[label[a] != label[b]]
    apart = torch.zeros(len(a), dtype=torch.bool)
    parts = range(0, len(graphs), 50)
    noise = 0.0
    for seed in range(args.seeds):
        torch.manual_seed(seed)
        net = network(graphs[0].x.size(1), 16, tuples, args.layers, 16, "sine").double()
        with torch.no_grad():
            out, again = (torch.cat([predict(net, group[i : i + 50]) for i in parts]) for group in ready)
        scale = out.abs().max()
        noise = max(noise, float((out - again).abs().max() / scale))
        apart |= (out[a] - out[b]).abs().amax(dim=1) / scale > 1e-8
    assert noise < 1e-9, f"the output changes by {noise} of its size with the numbers of the nodes"
    return {
        "protocol": "separation", "data": name, "l": l, "order": args.order, "base": "sine",
        "layers": args.layers, "pairs": len(a),
        "separated_percent": round(100 * float(apart.float().mean()), 2), "seeds": args.seeds,
        "renumbering_changes": noise, "cpu_s": round(time.process_time() - start, 1),
    }  # fmt: skip


def renumbered(graph: Data, generator: torch.Generator) -> Data:
    order = torch.randperm(graph.num_nodes, generator=generator)
    return Data(x=graph.x[order], edge_index=order.argsort()[graph.edge_index], y=graph.y)


def predict(net: KLGNN, graphs: list[Data]) -> Tensor:
    batch = Batch.from_data_list(graphs)
    return net(batch.x.to(next(net.parameters()).dtype), batch.edge_index, batch=batch.batch, copies=batch.copies)


def folds(name: str, graphs: list[Data]) -> list[list[int]]:
    """The test graphs of each of 10 folds: pairs together, classes spread evenly."""
    generator = torch.Generator().manual_seed(0)
    group = torch.arange(len(graphs)) // 2 if name in ("EXP", "CEXP") else torch.arange(len(graphs))
    label = torch.cat([graph.y for graph in graphs])
    order = torch.randperm(int(group.max()) + 1, generator=generator)
    if name == "CSL":
        order = order[label[order].argsort(stable=True)]
    fold = torch.empty_like(order)
    fold[order] = torch.arange(len(order)) % 10
    return [(fold[group] == k).nonzero().flatten().tolist() for k in range(10)]


def accuracy(name: str, graphs: list[Data], fold: int | None, args: argparse.Namespace) -> dict[str, object]:
    """Trains on all graphs but those of a fold (None: on all), and tests on those (on all)."""
    start, l = time.process_time(), LABELS[name]  # noqa: E741 - the paper's letter
    tuples = LabelTuples(l, order=args.order, num_rounds=args.layers)
    test = list(range(len(graphs))) if fold is None else folds(name, graphs)[fold]
    train = test if fold is None else sorted(set(range(len(graphs))) - set(test))
    ready = [tuples(graph) for graph in graphs]
    torch.manual_seed(0)
    net = network(graphs[0].x.size(1), CLASSES[name], tuples, args.layers, args.channels, BASE[name])
    fit = train_head if BASE[name] == "sine" else train_all
    epochs, loss = fit(net, ready, train, args)
    with torch.no_grad():
        right = sum(
            int((predict(net, [ready[i] for i in part]).argmax(dim=1) == torch.cat([graphs[i].y for i in part])).sum())
            for part in (test[i : i + 50] for i in range(0, len(test), 50))
        )
    return {
        "protocol": "accuracy on training graphs" if fold is None else "10-fold accuracy", "data": name, "l": l,
        "order": args.order, "base": BASE[name], "layers": args.layers, "channels": args.channels, "fold": fold,
        "epochs": epochs, "train_loss": round(loss, 5), "test_graphs": len(test),
        "accuracy_percent": round(100 * right / len(test), 2), "cpu_s": round(time.process_time() - start, 1),
    }  # fmt: skip


def train_head(net: KLGNN, ready: list[Data], train: list[int], args: argparse.Namespace) -> tuple[int, float]:
    """The linear head alone, on vectors scaled by the training graphs; what stands before it stays as drawn."""
    net.double()
    head, net.head = net.head, torch.nn.Identity()
    with torch.no_grad():
        x = torch.cat([predict(net, [ready[i] for i in train[k : k + 50]]) for k in range(0, len(train), 50)])
    mean, scale = x.mean(dim=0), x.std(dim=0)
    x, y = (x - mean) / scale, torch.cat([ready[i].y for i in train])
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(args.epochs):
        loss = torch.nn.functional.cross_entropy(head(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():  # the scaling becomes part of the head
        head.bias -= (head.weight / scale) @ mean
        head.weight /= scale
    net.head = head
    return args.epochs, float(loss.detach())


def train_all(net: KLGNN, ready: list[Data], train: list[int], args: argparse.Namespace) -> tuple[int, float]:
    """Every weight, on batches of pairs: partners stand side by side, so that a step sees what tells them apart."""
    optimizer = torch.optim.Adam(net.parameters(), lr=args.lr)
    generator = torch.Generator().manual_seed(0)
    units = torch.tensor(train).view(-1, 2)
    epoch, loss = 0, float("inf")
    while epoch < args.epochs and loss > args.stop:
        epoch, total = epoch + 1, 0.0
        for chosen in units[torch.randperm(len(units), generator=generator)].flatten().split(2 * args.batch_size):
            batch = Batch.from_data_list([ready[i] for i in chosen.tolist()])
            out = net(batch.x, batch.edge_index, batch=batch.batch, copies=batch.copies)
            step_loss = torch.nn.functional.cross_entropy(out, batch.y)
            optimizer.zero_grad()
            step_loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            total += float(step_loss.detach()) * len(chosen)
        loss = total / len(train)
        print(f"epoch {epoch}: loss {loss:.4f}", file=sys.stderr, flush=True)
    return epoch, loss


def done(name: str, args: argparse.Namespace) -> set[int | None]:
    """The folds that the results file holds for these settings."""
    path = RESULTS / "kl_expressive.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    wanted = {"data": name, "order": args.order, "base": BASE[name], "layers": args.layers, "channels": args.channels}
    return {row["fold"] for row in rows if "fold" in row and wanted.items() <= row.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="*", default=list(READ), choices=list(READ), help="for separation")
    parser.add_argument("--accuracy", nargs="*", default=[], choices=list(READ))
    parser.add_argument("--order", default="all", choices=["all", "none"])
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--stop", type=float, default=0.002, help="training loss at which training ends")
    parser.add_argument("--batch-size", type=int, default=8, help="pairs of graphs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="few graphs and epochs, nothing stored")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    torch.set_num_threads(1)
    store = None if args.tiny or args.no_store else "kl_expressive"
    if args.tiny:
        args.layers, args.seeds, args.epochs = 3, 1, 2
        args.accuracy = ["SR25"]
    for name in args.data if args.tiny or not args.accuracy else []:
        graphs = READ[name]()[: 4 if args.tiny else None]
        for l in (0, LABELS[name]):  # noqa: E741 - the paper's letter
            emit({**separation(name, graphs, l, args), **versions()}, store)
    for name in args.accuracy:
        graphs = READ[name]()[: 4 if args.tiny else None]
        finished = done(name, args) if store else set()
        for fold in [None] if name == "SR25" else range(10):
            if fold not in finished:
                emit({**accuracy(name, graphs, fold, args), **versions()}, store)


if __name__ == "__main__":
    main()
