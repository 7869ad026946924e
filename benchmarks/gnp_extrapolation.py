"""Does a learned norm find the pooling that a task needs?    python benchmarks/gnp_extrapolation.py --seeds 3

Trained on small graphs and narrow ranges, tested on larger ones: only the right pooling goes on being right there.
*max_degree* of a graph, weighted *shortest_path* length between two nodes at most three edges apart, *harmonic* mean of
a set, and for every node whether it is *reachable* in three hops. Every task by the best of all fixed combinations of
neighbour and graph pooling out of sum, mean, max and min (an oracle: chosen by its own test error), by PyG's learned
power mean and softmax, by GNP, and by GNP whose orders are then rounded to known poolings, the rest trained on for a
quarter of the steps (*gnp_snapped*). MAPE in percent on the test set; for reachability percent of nodes that are wrong.
The model of the best step on a validation set of the train distribution is judged. One protocol for all poolings of a
task; sets, which cost little, get four times as many steps.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from common import emit, versions
from torch import Tensor
from torch.nn import Linear, Module, ModuleList, ReLU, Sequential
from torch_geometric.nn.aggr import PowerMeanAggregation, SoftmaxAggregation

from graphlearn.nn.aggr import GNPAggregation, SegmentAggregation

FIXED = ("sum", "mean", "max", "min")
TASKS = ("max_degree", "shortest_path", "harmonic", "reachable")
HOPS = 3


@dataclass(frozen=True)
class Graphs:
    """Many graphs side by side. ``edge_index`` runs both ways and is sorted by destination; ``y`` per graph or node."""

    x: Tensor
    edge_index: Tensor
    weight: Tensor
    batch: Tensor
    num_graphs: int
    y: Tensor


def make(task: str, count: int, low: int, high: int, widest: float, seed: int) -> Graphs:
    """``count`` graphs of ``low`` to ``high`` nodes, and weights or values in [1, ``widest``]."""
    g = torch.Generator().manual_seed(seed)
    sizes = torch.randint(low, high, (count,), generator=g)
    slots = high - 1  # every graph is padded to as many nodes, and cut at the end
    real = torch.arange(slots) < sizes[:, None]  # [G, S]
    # Erdos-Renyi of many densities (few edges where the task is about distances), and a path that connects all nodes.
    dense = 3.0 / sizes if task in ("shortest_path", "reachable") else 0.1 + 0.7 * torch.rand(count, generator=g)
    upper = torch.rand(count, slots, slots, generator=g).triu(1)
    adjacent = (upper > 0) & (upper < dense[:, None, None])
    adjacent |= torch.ones(slots, slots).diagonal(1).diag_embed(1).bool() if slots > 1 else False
    if task == "harmonic":
        adjacent &= False
    adjacent = (adjacent | adjacent.mT) & real[:, :, None] & real[:, None, :]
    weights = (1 + (widest - 1) * torch.rand(count, slots, slots, generator=g)).triu(1)
    weights = weights + weights.mT
    values = 1 + (widest - 1) * torch.rand(count, slots, generator=g)
    start = torch.zeros(count, slots)
    start[:, 0] = 1.0  # nodes are drawn alike but for the path, on which the first one is an end
    number = real.flatten().cumsum(0).view(count, slots) - 1
    graph, dst, src = adjacent.nonzero(as_tuple=True)
    x, y = _features(task, adjacent, weights, values, start, real)
    if task == "shortest_path":
        x, y = _with_goal(x, y, start, real, g)
    return Graphs(
        x[real],
        torch.stack([number[graph, src], number[graph, dst]]),
        weights[graph, dst, src][:, None] if task == "shortest_path" else torch.zeros(len(graph), 0),
        torch.arange(count)[:, None].expand(count, slots)[real],
        count,
        y[real] if task == "reachable" else y,
    )


def _features(
    task: str, adjacent: Tensor, weights: Tensor, values: Tensor, start: Tensor, real: Tensor
) -> tuple[Tensor, Tensor]:
    """What nodes know ``[G, S, F]``, and the target."""
    if task == "max_degree":
        return torch.ones_like(values)[..., None], adjacent.sum(-1).amax(-1).float()
    if task == "harmonic":
        return values[..., None], real.sum(-1) / (real / values).sum(-1)
    if task == "reachable":
        seen = start.bool()
        for _ in range(HOPS):
            seen = seen | (adjacent & seen[:, None, :]).any(-1)
        return start[..., None], seen.float()
    far = torch.where(start > 0, 0.0, torch.inf)
    step = weights.masked_fill(~adjacent, torch.inf)
    for _ in range(HOPS):
        far = torch.minimum(far, (step + far[:, None, :]).amin(-1))
    return start[..., None], far


def _with_goal(x: Tensor, far: Tensor, start: Tensor, real: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Marks one node in reach as the goal; the target is the way to it."""
    possible = (far.isfinite() & real & (start == 0)).float()
    goal = torch.multinomial(possible, 1, generator=g)
    mark = torch.zeros_like(far).scatter_(1, goal, 1.0)
    return torch.cat([x, mark[..., None]], dim=-1), far.gather(1, goal).squeeze(1)


class Net(Module):
    """Rounds of ``h_i = pool of MLP(h_i, h_j, x_i, w_ij)``, a pooling of ``MLP(h_i, x_i)``, a linear layer.

    A set has no rounds and is pooled as it is: a layer before would have to bend its values and back.
    """

    def __init__(self, task: str, width: int, pool: Callable[[str], Module]) -> None:
        super().__init__()
        rounds = {"max_degree": 1, "harmonic": 0}.get(task, HOPS)
        size = 2 if task == "shortest_path" else 1
        sizes = [size] + [width] * rounds
        extra = 1 if task == "shortest_path" else 0
        self.message = ModuleList(_mlp(2 * s + size + extra, width) for s in sizes[:-1])
        self.pool = ModuleList(pool("neighbours") for _ in range(rounds))
        self.read = None if task == "reachable" else pool("graph")
        self.last = Sequential(Linear(width + size, width), ReLU()) if rounds else None
        self.out = Linear(sizes[-1], 1)

    def forward(self, data: Graphs) -> Tensor:
        h, (src, dst) = data.x, data.edge_index
        for message, pool in zip(self.message, self.pool, strict=True):
            sent = message(torch.cat([h[dst], h[src], data.x[dst], data.weight], dim=-1))
            h = pool(sent, dst, dim_size=len(h))
        if self.last is not None:
            h = self.last(torch.cat([h, data.x], dim=-1))
        if self.read is not None:
            h = self.read(h, data.batch, dim_size=data.num_graphs)
        return self.out(h).squeeze(-1)


def _mlp(size: int, width: int) -> Sequential:
    return Sequential(Linear(size, width), ReLU(), Linear(width, width), ReLU())


def ways() -> dict[str, Callable[[str], Module]]:
    """Poolings by name."""
    found: dict[str, Callable[[str], Module]] = {
        "gnp": lambda place: GNPAggregation(1.0, 0.5, sign="gate"),
        "gnp_snapped": lambda place: GNPAggregation(1.0, 0.5, sign="gate"),
        "power_mean": lambda place: PowerMeanAggregation(learn=True),
        "softmax": lambda place: SoftmaxAggregation(learn=True),
    }
    for near, whole in itertools.product(FIXED, FIXED):
        found[f"{near}/{whole}"] = lambda place, near=near, whole=whole: SegmentAggregation(
            near if place == "neighbours" else whole
        )
    return found


def error(task: str, out: Tensor, y: Tensor) -> float:
    """Percent."""
    if task == "reachable":
        return 100 * float(((out > 0) != (y > 0.5)).float().mean())
    return 100 * float(((out - y).abs() / y).mean())


def loss_of(task: str, out: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(out, y) if task == "reachable" else F.mse_loss(out, y)


def trained(
    task: str, name: str, pool: Callable[[str], Module], data: dict[str, Graphs], args: argparse.Namespace, seed: int
) -> tuple[float, Net]:
    """The test error of one training, and the model."""
    torch.manual_seed(seed)
    steps = 4 * args.steps if task == "harmonic" else args.steps
    model = fit(task, Net(task, args.width, pool), data, args, steps)
    if name == "gnp_snapped":
        for module in model.modules():
            if isinstance(module, GNPAggregation):
                module.snap_()
                module.requires_grad_(False)
        model = fit(task, model, data, args, steps // 4)
    with torch.no_grad():
        return error(task, model(data["test"]), data["test"].y), model


def fit(task: str, model: Net, data: dict[str, Graphs], args: argparse.Namespace, steps: int) -> Net:
    """The model at its best step."""
    orders = [p for pool in (*model.pool, model.read) if pool is not None for p in pool.parameters() if p.requires_grad]
    weights = [p for name, p in model.named_parameters() if not name.startswith(("pool.", "read."))]
    groups = [{"params": weights}, {"params": orders, "lr": args.order_lr}]
    optimizer = torch.optim.Adam([group for group in groups if group["params"]], lr=args.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, kept = float("inf"), copy.deepcopy(model)
    for step in range(steps):
        loss = loss_of(task, model(data["train"]), data["train"].y)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        if step % 10 == 9:
            with torch.no_grad():
                found = float(loss_of(task, model(data["val"]), data["val"].y))
            if found < best:
                best, kept = found, copy.deepcopy(model)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--graphs", type=int, default=96)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--order-lr", type=float, default=0.05, help="of p, q and the like, for every learned pooling")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="+", help="these poolings alone, such as gnp or sum/max")
    parser.add_argument("--tiny", action="store_true", help="few graphs and steps, nothing stored")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    if args.tiny:
        args.graphs, args.steps, args.seeds = 10, 10, 1
    for task in args.tasks:
        data = {
            "train": make(task, args.graphs, 6, 15, 5.0, 0),
            "val": make(task, args.graphs, 6, 15, 5.0, 1),
            "test": make(task, args.graphs, 20, 40, 10.0, 2),
        }
        results: dict[str, list[float]] = {}
        for name, pool in ways().items():
            if args.only and name not in args.only:
                continue
            if task in ("harmonic", "reachable") and "/" in name and len(set(name.split("/"))) > 1:
                continue  # only one kind of pooling takes part
            start = time.perf_counter()
            runs = [trained(task, name, pool, data, args, seed) for seed in range(args.seeds)]
            results[name] = [round(found, 3) for found, _ in runs]
            learned = [m.named_equivalent() for m in runs[0][1].modules() if isinstance(m, GNPAggregation)]
            emit(
                {
                    "case": f"{task} {name}", "error_percent": results[name],
                    "median": round(statistics.median(results[name]), 3), "learned": learned or None,
                    "seconds": round(time.perf_counter() - start, 1),
                    **{k: getattr(args, k) for k in ("graphs", "steps", "width", "lr", "order_lr", "seeds")},
                    **versions(),
                },
                None if args.tiny or args.no_store else "gnp_extrapolation",
            )  # fmt: skip
        fixed = {name: statistics.median(found) for name, found in results.items() if "/" in name}
        if fixed and not args.only:
            oracle = min(fixed, key=lambda name: fixed[name])
            row = {name: statistics.median(results[name]) for name in results if "/" not in name}
            summary = {"case": f"{task} summary", "oracle": oracle, "oracle_error": fixed[oracle], **row, **versions()}
            emit(summary, None if args.tiny or args.no_store else "gnp_extrapolation")


if __name__ == "__main__":
    main()
