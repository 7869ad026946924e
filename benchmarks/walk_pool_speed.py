"""How many times faster than the dense computation is WalkPool's training step?    python benchmarks/walk_pool_speed.py

A step of the whole model, official classifier included, on a batch of 32 links of each network, against the form of the
authors' code written from its formula: for the graph with and without the link, a row of zeros and ones per node is
passed along the edges, one channel for each node of the largest subgraph. Same weights, batch, optimiser and process.
Memory is the growth of a process of its own over its step. Then: subgraphs cut per second, against PyG's
`k_hop_subgraph` in a loop.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from common import SEAL_HOPS, emit, seal_links, summary, versions
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import k_hop_subgraph, softmax, to_undirected

from graphlearn.models import WalkPoolLinkPredictor
from graphlearn.native import kernels
from graphlearn.nn import WalkPooling
from graphlearn.sampling import EnclosingSubgraph


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("GRAPHLEARN_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    parser.add_argument("--source", type=Path, default=data / "seal")
    parser.add_argument("--networks", nargs="+", default=["USAir", "Celegans", "NS", "Power"], choices=list(SEAL_HOPS))
    parser.add_argument("--what", nargs="+", default=["step", "memory", "extraction"])
    parser.add_argument("--links", type=int, default=32, help="in a batch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="one small network, two links")
    parser.add_argument("--no-store", action="store_true", help="only print")
    parser.add_argument("--memory-of", choices=["ours", "dense"], help="measure this way only, for one network")
    args = parser.parse_args()
    if args.tiny:
        args.networks, args.links, args.repeats = ["NS"], 4, 2
    torch.set_num_threads(args.threads)
    if args.memory_of:
        print(json.dumps(memory_here(args)))
        return
    store = None if args.tiny or args.no_store else "walk_pool_speed"
    for network in args.networks:
        rows = {"step": step_row, "memory": memory_row, "extraction": extraction_row}
        for what in args.what:
            row = {"network": network, "links": args.links, **rows[what](args, network)}
            emit({"case": f"{network}, {what}", **row, **versions()}, store)


class DensePooling(WalkPooling):
    """The authors' form of the pooling: same weights, same vector."""

    def forward(self, x, edge_index, batch, candidate, edge_mask=None, *, rowptr=None):  # type: ignore[no-untyped-def]
        num_nodes, num_graphs = x.size(0), candidate.size(1)
        size = torch.bincount(batch, minlength=num_graphs)
        local = torch.arange(num_nodes) - (size.cumsum(0) - size)[batch]
        ones = x.new_zeros(num_nodes, int(size.max())).scatter_(1, local[:, None], 1.0)
        src, dst = edge_index
        parts: dict[str, list[Tensor]] = {name: [] for name in ("graph", "omega", "node+", "node-", "link+", "link-")}
        for q, k in zip(*self._queries_and_keys(x), strict=True):
            logit = (q[src] * k[dst]).sum(-1)
            parts["omega"].append(logit[~edge_mask].sigmoid().view(num_graphs, 2).sum(1, keepdim=True))
            sides = {"+": softmax(logit, dst, num_nodes=num_nodes)}
            kept = softmax(logit[edge_mask], dst[edge_mask], num_nodes=num_nodes)
            sides["-"] = torch.zeros_like(logit).index_put((edge_mask.nonzero().squeeze(1),), kept)
            trace: dict[str, list[Tensor]] = {}
            for sign, prob in sides.items():
                state, node, link, trace[sign] = ones, [], [], []
                for length in range(1, self.walk_length + 2):
                    message = prob[:, None] * state[src]  # [E, nodes of the largest subgraph]
                    state = torch.zeros_like(state).index_add(0, dst, message)
                    if length > 1:
                        own = state.gather(1, local[:, None]).squeeze(1)
                        node.append(own[candidate].sum(0))
                        link.append(state[candidate, local[candidate.flip(0)]].sum(0))
                        trace[sign].append(own.new_zeros(num_graphs).index_add(0, batch, own))
                parts[f"node{sign}"].append(torch.stack(node, dim=1))
                parts[f"link{sign}"].append(torch.stack(link, dim=1))
            parts["graph"].append(torch.stack(trace["+"], dim=1) - torch.stack(trace["-"], dim=1))
        return torch.cat([part for values in parts.values() for part in values], dim=1)


def make(args: argparse.Namespace, network: str) -> tuple[EnclosingSubgraph, Tensor, Tensor, Tensor]:
    """Cuts subgraphs of a network's first split; half of a batch's links are edges."""
    num_nodes, links = seal_links(args.source, network, 1)
    seen = to_undirected(links["train_pos"])
    graph = Data(x=torch.ones(num_nodes, 16), edge_index=seen, num_nodes=num_nodes)
    pairs = []
    for sign in ("pos", "neg"):
        every = links[f"train_{sign}"]
        order = torch.randperm(every.size(1), generator=torch.Generator().manual_seed(0))
        pairs.append(every[:, order])
    return EnclosingSubgraph(graph, SEAL_HOPS[network]), seen, *pairs


def training_steps(
    args: argparse.Namespace, network: str
) -> tuple[dict[str, Callable[[], None]], Data, dict[str, Any]]:
    batch, y = batch_of(args, network, args.links)
    steps, models = {}, {}
    for way in ("ours", "dense"):
        torch.manual_seed(0)
        model = WalkPoolLinkPredictor(16)
        if way == "dense":
            model.pool.__class__ = DensePooling
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-5, fused=True)
        steps[way] = partial(step, model, optimizer, batch, y)
        models[way] = model
    return steps, batch, models


def batch_of(args: argparse.Namespace, network: str, links: int) -> tuple[Data, Tensor]:
    cutter, _, positive, negative = make(args, network)
    half = links // 2
    batch = cutter(torch.cat([positive[:, :half], negative[:, :half]], dim=1))
    return batch, torch.cat([torch.ones(half), torch.zeros(half)])


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, b: Data, y: Tensor) -> None:
    optimizer.zero_grad()
    score = model(b.x, b.edge_index, b.batch, b.candidate, b.edge_mask, rowptr=b.rowptr)
    F.binary_cross_entropy_with_logits(score, y).backward()
    optimizer.step()


def step_row(args: argparse.Namespace, network: str) -> dict[str, Any]:
    steps, batch, models = training_steps(args, network)
    few, errors = batch_of(args, network, links=4)[0], {}
    for dtype in (torch.float32, torch.float64):
        g = torch.Generator().manual_seed(1)
        x = torch.randn(few.num_nodes, models["ours"].pool.in_channels, generator=g, dtype=torch.float64).to(dtype)
        rest = (few.edge_index, few.batch, few.candidate, few.edge_mask)
        with torch.no_grad():
            found = [m.pool.to(dtype).eval()(x, *rest, rowptr=few.rowptr) for m in models.values()]
        errors[str(dtype).removeprefix("torch.")] = float((found[0] - found[1]).abs().max())
        for m in models.values():
            m.pool.float().train()
    # The dense step takes many seconds where subgraphs are large: once for five of ours.
    times = measured({"ours": steps["ours"], "dense": steps["dense"]}, {"ours": 5, "dense": 1}, args.repeats)
    return {
        "nodes": batch.num_nodes, "edges": batch.edge_index.size(1), "largest_error_of_4_links": errors, **times
    }  # fmt: skip


def measured(steps: dict[str, Callable[[], None]], turns: dict[str, int], repeats: int) -> dict[str, Any]:
    """Times of two ways in turn, and their ratio. On a busy machine the processor's time says more than the clock's."""
    ours, other = steps
    wall: dict[str, list[float]] = {way: [] for way in steps}
    cpu: dict[str, list[float]] = {way: [] for way in steps}
    for _ in range(3):
        steps[ours]()
    for _ in range(repeats):
        for way, step in steps.items():
            for _ in range(turns[way]):
                start, busy = time.perf_counter(), time.process_time()
                step()
                cpu[way].append(1e3 * (time.process_time() - busy))
                wall[way].append(1e3 * (time.perf_counter() - start))
    found: dict[str, Any] = {}
    for name, times in (("", wall), (", cpu", cpu)):
        found |= {f"{way}{name}": summary(taken) for way, taken in times.items()}
        ratio = statistics.median(times[other]) / statistics.median(times[ours])
        found[f"{other}/{ours}{name}"] = round(ratio, 2)
    return found


def memory_row(args: argparse.Namespace, network: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for way in ("ours", "dense"):
        command = [sys.executable, __file__, "--memory-of", way, "--networks", network, "--source", str(args.source)]
        command += ["--links", str(args.links), "--threads", str(args.threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        row[way] = json.loads(done.stdout.splitlines()[-1])
    grown = {way: max(row[way]["grown_mib"], 1.0) for way in ("ours", "dense")}
    return {**row, "dense/ours": round(grown["dense"] / grown["ours"], 2)}


def memory_here(args: argparse.Namespace) -> dict[str, float]:
    steps, _, _ = training_steps(args, args.networks[0])
    before = peak_mib()
    steps[args.memory_of]()
    return {"grown_mib": round(peak_mib() - before, 1), "peak_mib": round(peak_mib(), 1)}


def peak_mib() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage gives starts from the peak of the process that started this one
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def extraction_row(args: argparse.Namespace, network: str) -> dict[str, Any]:
    cutter, seen, positive, negative = make(args, network)
    count = 5 * args.links
    links = torch.cat([positive[:, :count], negative[:, :count]], dim=1)

    def ours() -> None:
        for some in links.split(args.links, dim=1):
            cutter(some)

    def peer() -> None:
        for pair in links.t():
            k_hop_subgraph(pair, cutter.num_hops, seen, relabel_nodes=True, num_nodes=cutter.num_nodes)

    batch = cutter(links)
    times = measured({"ours": ours, "peer": peer}, {"ours": 5, "peer": 1}, args.repeats)
    per_s = {f"{way}_links_per_s": round(1e3 * links.size(1) / times[way]["median_ms"]) for way in ("ours", "peer")}
    return {
        "native": kernels is not None, "hops": cutter.num_hops, "cut": links.size(1),
        "nodes_per_link": round(batch.num_nodes / links.size(1), 1),
        "edges_per_link": round(batch.edge_index.size(1) / links.size(1), 1),
        **times, **per_s,
    }  # fmt: skip


if __name__ == "__main__":
    main()
