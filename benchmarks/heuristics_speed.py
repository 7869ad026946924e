"""How many times faster than scipy's sparse products are heuristics of links?    python benchmarks/heuristics_speed.py

Common neighbours, Adamic-Adar and resource allocation of pairs of a graph whose degrees follow a power law. Half of the
pairs are links, the other half joins random nodes. Two peers, both in blocks of pairs, on the same CSR matrix: `gather`
takes the rows of both ends, the columns of one weighted once for all, multiplies them entry by entry and adds up each
row; `product` gets these rows as a product with the pairs' incidence instead. Same scores, asserted.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
from common import emit, interleaved_ms, summary, versions
from torch import Tensor

from graphlearn.ops.heuristics import adamic_adar, common_neighbors, resource_allocation
from graphlearn.ops.neighbors import NeighborLists

SCORES = {"cn": common_neighbors, "aa": adamic_adar, "ra": resource_allocation}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--edges", type=int, default=20_000_000, help="entries of the matrix, both directions counted")
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--block", type=int, default=20_000, help="pairs that scipy takes at a time")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="where graphlearn scores; scipy is on the CPU")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    if args.tiny:
        args.nodes, args.edges, args.pairs, args.block, args.repeats = 500, 6_000, 400, 150, 2
    torch.set_num_threads(args.threads)
    store = None if args.tiny or args.no_store else "heuristics_speed"

    generator = torch.Generator().manual_seed(args.seed)
    graph = NeighborLists.from_edge_index(random_links(args.nodes, args.edges // 2, generator), args.nodes)
    pairs = chosen_pairs(graph, args.pairs, generator)
    matrix = sp.csr_array(
        (np.ones(len(graph.col)), graph.col.numpy(), graph.rowptr.numpy()), shape=(args.nodes, args.nodes)
    )
    on_device = NeighborLists(graph.rowptr.to(args.device), graph.col.to(args.device))
    asked = pairs.to(args.device)
    for name, score in SCORES.items():
        # what scipy needs besides the matrix is made once and not timed
        weighted = sp.csr_array((weights(graph, name)[matrix.indices], matrix.indices, matrix.indptr), matrix.shape)
        steps: dict[str, Callable[[], object]] = {
            "graphlearn": lambda score=score: score(on_device, asked),
            "scipy gather": lambda weighted=weighted: by_gather(matrix, weighted, pairs, args.block),
            "scipy product": lambda weighted=weighted: by_product(matrix, weighted, pairs, args.block),
        }
        ours = score(on_device, asked).cpu().numpy()
        for peer in (by_gather, by_product):
            np.testing.assert_allclose(ours, peer(matrix, weighted, pairs, args.block), rtol=1e-9)
        times = interleaved_ms(steps, args.device, warmup=1, repeats=args.repeats)
        found = {step: summary(ms) for step, ms in times.items()}
        fastest = min(found["scipy gather"]["median_ms"], found["scipy product"]["median_ms"])
        emit(
            {
                "case": name, **{k: v for k, v in vars(args).items() if k not in ("tiny", "no_store")},
                "edges": len(graph.col), "largest_degree": int(graph.degree().max()), **found,
                "times_faster_than_the_faster_peer": round(fastest / found["graphlearn"]["median_ms"], 2),
                **versions(args.device),
            },
            store,
        )  # fmt: skip


def random_links(num_nodes: int, num_links: int, generator: torch.Generator) -> Tensor:
    """Both ends follow a power law, node i drawn with a probability like i ** -0.5; ``[2, num_links]``, none twice."""
    found = torch.empty(0, dtype=torch.int64)
    label = torch.randperm(num_nodes, generator=generator)  # hubs are not neighbours in memory
    while len(found) < num_links:
        draw = torch.rand(2, num_links + num_links // 4, generator=generator, dtype=torch.float64)
        ends = label[(draw.square() * num_nodes).long()]
        low, high = ends.min(dim=0).values, ends.max(dim=0).values
        found = torch.cat([found, (low * num_nodes + high)[low != high]]).unique()
    found = found[torch.randperm(len(found), generator=generator)[:num_links]]
    return torch.stack([found // num_nodes, found % num_nodes])


def chosen_pairs(graph: NeighborLists, num_pairs: int, generator: torch.Generator) -> Tensor:
    """Half of them links, half random, in random order; ``[2, num_pairs]``."""
    entry = torch.randint(len(graph.col), (num_pairs // 2,), generator=generator)
    linked = torch.stack([torch.searchsorted(graph.rowptr, entry, right=True) - 1, graph.col[entry].long()])
    free = torch.randint(graph.num_nodes, (2, num_pairs - num_pairs // 2), generator=generator)
    pairs = torch.cat([linked, free], dim=1)
    return pairs[:, torch.randperm(num_pairs, generator=generator)]


def weights(graph: NeighborLists, name: str) -> np.ndarray:
    degree = graph.degree().double().clamp_min(1)
    table = {"cn": torch.ones_like(degree), "aa": degree.clamp_min(2).log().reciprocal(), "ra": degree.reciprocal()}
    return table[name].numpy()


def by_gather(matrix: sp.csr_array, weighted: sp.csr_array, pairs: Tensor, block: int) -> np.ndarray:
    """Rows of both ends, multiplied entry by entry."""
    out = []
    for src, dst in zip(pairs[0].split(block), pairs[1].split(block), strict=True):
        out.append(matrix[src.numpy()].multiply(weighted[dst.numpy()]).sum(axis=1))
    return np.concatenate(out)


def by_product(matrix: sp.csr_array, weighted: sp.csr_array, pairs: Tensor, block: int) -> np.ndarray:
    """The product of the pairs' incidence with the matrix gives the rows of one end; then as above."""
    out = []
    for src, dst in zip(pairs[0].split(block), pairs[1].split(block), strict=True):
        rows = np.arange(len(src) + 1)
        first, second = (
            sp.csr_array((np.ones(len(end)), end.numpy(), rows), shape=(len(end), matrix.shape[0])) @ table
            for end, table in ((src, matrix), (dst, weighted))
        )
        out.append(first.multiply(second).sum(axis=1))
    return np.concatenate(out)


if __name__ == "__main__":
    main()
