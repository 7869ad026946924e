"""One small instance of every public layer, with inputs for it. A new layer adds one case here."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch_frame
from torch import Tensor
from torch_frame import TensorFrame, stype
from torch_frame.data import MultiNestedTensor
from torch_frame.data.stats import StatType

from graphlearn.nn import (
    AgeEncoder,
    BilinearHead,
    DensePairConv,
    DotHead,
    GNPAggregation,
    GraphParsingPooling,
    HeteroSAGEConv,
    KLConv,
    LabelEmbedding,
    MLPHead,
    NodeHead,
    RowEncoder,
    SeedFeatures,
    SegmentAggregation,
    SinceEncoder,
    TemporalSAGEConv,
    WalkPooling,
)

READS, HOLDS = ("papers", "reads", "people"), ("people", "holds", "papers")
EDGES = [READS, HOLDS]


@dataclass(frozen=True)
class Case:
    """How to build a layer and what to give it.

    Args:
        build: A layer with random weights from torch's default generator.
        inputs: Arguments of ``forward`` from a seed.
        join: The arguments that hold those of two calls side by side: a batch of two graphs, or more rows.
        reorder: The same arguments with what is read numbered otherwise, and the order that the output must have then;
            None: as before.
        read: What of the output the checks compare; all of it by default.
    """

    build: Callable[[], torch.nn.Module]
    inputs: Callable[[int], tuple[Any, ...]]
    join: Callable[[tuple[Any, ...], tuple[Any, ...]], tuple[Any, ...]]
    reorder: Callable[[tuple[Any, ...]], tuple[tuple[Any, ...], Tensor | None]]
    read: Callable[[Any], Any] = lambda out: out


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shuffled(size: int) -> Tensor:
    return torch.randperm(size, generator=generator(9))


def rows(seed: int) -> tuple[TensorFrame]:
    """Four rows with a number, a category, a date and a set each, some cells missing."""
    g = generator(seed)
    size = torch.tensor([0, 2, 1, 1])
    feats = {
        stype.numerical: torch.randn(4, 2, generator=g),
        stype.categorical: torch.randint(-1, 3, (4, 1), generator=g, dtype=torch.int32),
        stype.timestamp: torch.tensor([2001, 3, 4, 5, 6, 7, 8], dtype=torch.int16).repeat(4, 1, 1),
        stype.multicategorical: MultiNestedTensor(
            4, 1, torch.randint(3, (4,), generator=g), torch.cat([size[:1] * 0, size.cumsum(0)])
        ),
    }
    feats[stype.numerical][1, 0] = torch.nan
    feats[stype.timestamp][2] = -1
    return (TensorFrame(feats, ROW_NAMES),)


ROW_NAMES = {
    stype.numerical: ["x", "y"],
    stype.categorical: ["kind"],
    stype.timestamp: ["made"],
    stype.multicategorical: ["tags"],
}
ROW_STATS = {
    "x": {StatType.QUANTILES: [-2.0, -1.0, 0.0, 1.0, 2.0]},
    "y": {StatType.QUANTILES: [-2.0, -1.0, 0.0, 1.0, 2.0]},
    "kind": {StatType.COUNT: (["a", "b", "<other>"], [2, 1, 0])},
    "made": {StatType.YEAR_RANGE: [1990, 2000]},
    "tags": {StatType.MULTI_COUNT: (["a", "b", "<other>"], [2, 1, 0])},
}


def graph(seed: int) -> tuple[dict[str, Tensor], dict[tuple[str, str, str], tuple[Tensor, Tensor]]]:
    """Vectors of 5 papers and 4 people, and lists of neighbours; the last person reads nothing."""
    g = generator(seed)
    x = {"papers": torch.randn(5, 3, generator=g), "people": torch.randn(4, 3, generator=g)}
    return x, {
        READS: (torch.tensor([0, 2, 3, 6, 6]), torch.randint(5, (6,), generator=g)),
        HOLDS: (torch.tensor([0, 0, 1, 2, 4, 5]), torch.randint(4, (5,), generator=g)),
    }


def temporal_graph(seed: int) -> tuple[Any, ...]:
    x, csr = graph(seed)
    age = {name: torch.rand(len(value), 2, generator=generator(seed + 50)) for name, value in x.items()}
    return x, age, {name: value.clone() for name, value in x.items()}, {e: (p, c, c) for e, (p, c) in csr.items()}


def join_dicts(a: dict[str, Tensor], b: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.cat([a[name], b[name]]) for name in a}


def join_csr(x: dict[str, Tensor], a: dict[Any, Any], b: dict[Any, Any]) -> dict[Any, Any]:
    """Two sets of lists side by side; ``x``: the vectors of the first, whose number shifts the positions."""
    joined = {}
    for e, (ptr, *cols) in a.items():
        other, *more = b[e]
        joined[e] = (
            torch.cat([ptr, other[1:] + ptr[-1]]),
            *(torch.cat([p, q + len(x[e[0]])]) for p, q in zip(cols, more, strict=True)),
        )
    return joined


def renumbered(x: dict[str, Tensor], csr: dict[Any, Any]) -> tuple[dict[str, Tensor], dict[Any, Any]]:
    """Sources in another order, and each list the other way round."""
    order = {name: shuffled(len(value)) for name, value in x.items()}
    moved = {}
    for e, (ptr, *cols) in csr.items():
        entry = torch.cat([torch.arange(int(a), int(b)).flip(0) for a, b in itertools.pairwise(ptr)])
        moved[e] = (ptr, *(order[e[0]].argsort()[col[entry]] for col in cols))
    return {name: value[order[name]] for name, value in x.items()}, moved


def reorder_sage(args: tuple[Any, ...]) -> tuple[tuple[Any, ...], None]:
    # Destinations are the first nodes of their type, so only types that are no destination could move: none here.
    x, csr = args
    flipped = {}
    for e, (ptr, col) in csr.items():
        entry = torch.cat([torch.arange(int(a), int(b)).flip(0) for a, b in itertools.pairwise(ptr)])
        flipped[e] = (ptr, col[entry])
    return (x, flipped), None


def reorder_temporal(args: tuple[Any, ...]) -> tuple[tuple[Any, ...], None]:
    x, age, own, csr = args
    moved, lists = renumbered(x, csr)
    ages = {name: value[shuffled(len(value))] for name, value in age.items()}
    return (moved, ages, own, lists), None


def reorder_rows(args: tuple[Any, ...]) -> tuple[tuple[Any, ...], Tensor]:
    order = shuffled(len(args[0]))
    return (args[0][order],), order


def dates(seed: int) -> tuple[Tensor, Tensor]:
    """Two dates of four rows, one of them missing, and four times."""
    g = generator(seed)
    date = torch.randint(1, 12, (4, 2, 7), generator=g)
    date[..., 0] += 1990
    date[1, 0] = -1
    return date, torch.randint(10**15, (4,), generator=g)


def reorder_dates(args: tuple[Any, ...]) -> tuple[tuple[Any, ...], Tensor]:
    order = shuffled(len(args[0]))
    return tuple(arg[order] for arg in args), order


def features(seed: int) -> tuple[Tensor]:
    """Three features of four seeds, one of them missing."""
    x = torch.randn(4, 3, generator=generator(seed))
    x[1, 2] = torch.nan
    return (x,)


def plain_graph(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors of 7 nodes, the last of them isolated, their edges, and one graph."""
    edge_index = torch.tensor([[0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 5, 5]])
    return torch.randn(7, 3, generator=generator(seed)), edge_index, torch.zeros(7, dtype=torch.int64)


def join_plain(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    size, graphs = len(a[0]), int(a[2][-1]) + 1
    return torch.cat([a[0], b[0]]), torch.cat([a[1], b[1] + size], dim=1), torch.cat([a[2], b[2] + graphs])


def reorder_plain(args: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor]:
    x, edge_index, batch = args
    order = shuffled(len(x))
    return (x[order], order.argsort()[edge_index].flip(1), batch[order]), order


def grouped(seed: int) -> tuple[Any, ...]:
    """Seven rows in four groups, one of them empty and one of a single row: ``x, index, ptr, dim_size``."""
    g = generator(seed)
    x = torch.randn(7, 3, generator=g)
    return x, torch.tensor([2, 0, 3, 0, 2, 0, 2])[torch.randperm(7, generator=g)], None, 4


def join_groups(a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[Any, ...]:
    return torch.cat([a[0], b[0]]), torch.cat([a[1], b[1] + a[3]]), None, a[3] + b[3]


def reorder_groups(args: tuple[Any, ...]) -> tuple[tuple[Any, ...], None]:
    order = shuffled(len(args[0]))
    return (args[0][order], args[1][order], *args[2:]), None


def around_links(seed: int) -> tuple[Tensor, ...]:
    """Two subgraphs of four nodes, a ring each with a candidate across; and vectors of their nodes."""
    ring = torch.tensor([[0, 1, 2, 3, 1, 2, 3, 0, 0, 2], [1, 2, 3, 0, 0, 1, 2, 3, 2, 0]])
    batch = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    x = torch.randn(8, 3, generator=generator(seed))
    return x, torch.cat([ring, ring + 4], dim=1), batch, torch.tensor([[0, 4], [2, 6]])


def join_links(a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[Any, ...]:
    x, edge_index, batch, candidate = b
    shifted = (x, edge_index + len(a[0]), batch + a[3].size(1), candidate + len(a[0]))
    return tuple(torch.cat([p, q], dim=-1 if p.dtype == torch.int64 else 0) for p, q in zip(a, shifted, strict=True))


def reorder_links(args: tuple[Any, ...]) -> tuple[tuple[Any, ...], None]:
    x, edge_index, batch, candidate = args
    order = shuffled(len(x))
    place = order.argsort()
    return (x[order], place[edge_index.flip(1)], batch[order], place[candidate]), None


def reorder_nodes(args: tuple[Any, ...]) -> tuple[tuple[Any, ...], Tensor]:
    """Nodes numbered otherwise, and the edges in another order."""
    x, edge_index, edge_attr = args
    order, edges = shuffled(len(x)), shuffled(len(edge_attr))
    return (x[order], order.argsort()[edge_index][:, edges], edge_attr[edges]), order


def reorder_pairs(args: tuple[Any, ...]) -> tuple[tuple[Any, ...], Tensor]:
    order = shuffled(len(args[0]))
    return tuple(arg[order] for arg in args), order


def ends_of_links(seed: int) -> tuple[Tensor, Tensor]:
    """Vectors of the two ends of four links."""
    g = generator(seed)
    return torch.randn(4, 3, generator=g), torch.randn(4, 3, generator=g)


def link_head(build: Callable[[], torch.nn.Module]) -> Case:
    return Case(
        build=build,
        inputs=ends_of_links,
        join=lambda a, b: (torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])),
        reorder=reorder_pairs,
    )


CASES = {
    "AgeEncoder": Case(
        build=lambda: AgeEncoder(num_decays=3),
        inputs=lambda seed: (torch.randint(10**15, (4,), generator=generator(seed)),),
        join=lambda a, b: (torch.cat([a[0], b[0]]),),
        reorder=reorder_rows,
    ),
    "BilinearHead": link_head(lambda: BilinearHead(3)),
    "DotHead": link_head(DotHead),
    "MLPHead": link_head(lambda: MLPHead(3, 5)),
    "GraphParsingPooling": Case(
        build=lambda: GraphParsingPooling(3),
        inputs=plain_graph,
        join=join_plain,
        reorder=reorder_plain,
        read=lambda out: out.x[out.cluster],  # clusters have no order of their own
    ),
    "GNPAggregation": Case(
        build=lambda: GNPAggregation(1.5, 0.5, channels=3, sign="both", signed="split"),
        inputs=grouped,
        join=join_groups,
        reorder=reorder_groups,
    ),
    "DensePairConv": Case(
        build=lambda: DensePairConv(3),
        inputs=lambda seed: (
            torch.randn(2, 4, 4, 3, generator=generator(seed)),
            torch.tensor([[True] * 4, [True] * 2 + [False] * 2]),
        ),
        join=lambda a, b: (torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])),
        reorder=reorder_pairs,
    ),
    "HeteroSAGEConv": Case(
        build=lambda: HeteroSAGEConv(3, 4, edge_types=EDGES),
        inputs=graph,
        join=lambda a, b: (join_dicts(a[0], b[0]), join_csr(a[0], a[1], b[1])),
        reorder=reorder_sage,
    ),
    "KLConv": Case(
        build=lambda: KLConv(3, edge_dim=2),
        inputs=lambda seed: (
            torch.randn(5, 3, generator=generator(seed)),
            torch.randint(4, (2, 7), generator=generator(seed)),
            torch.randn(7, 2, generator=generator(seed)),
        ),
        join=lambda a, b: (
            torch.cat([a[0], b[0]]),
            torch.cat([a[1], b[1] + len(a[0])], dim=1),
            torch.cat([a[2], b[2]]),
        ),
        reorder=reorder_nodes,
    ),
    "LabelEmbedding": Case(
        build=lambda: LabelEmbedding(3, 2),
        inputs=lambda seed: (torch.randn(4, 3, generator=generator(seed)), torch.tensor([0, 1, 2, 0])),
        join=lambda a, b: (torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])),
        reorder=reorder_dates,
    ),
    "NodeHead": Case(
        build=lambda: NodeHead(3, "multiclass_classification", num_classes=4),
        inputs=lambda seed: (torch.randn(4, 3, generator=generator(seed)),),
        join=lambda a, b: (torch.cat([a[0], b[0]]),),
        reorder=reorder_rows,
    ),
    "RowEncoder": Case(
        build=lambda: RowEncoder(5, ROW_STATS, ROW_NAMES),
        inputs=rows,
        join=lambda a, b: (torch_frame.cat([a[0], b[0]], dim=0),),
        reorder=reorder_rows,
    ),
    "SeedFeatures": Case(
        build=lambda: SeedFeatures(3, 4, dropout=0.0),
        inputs=features,
        join=lambda a, b: (torch.cat([a[0], b[0]]),),
        reorder=reorder_rows,
    ),
    "SegmentAggregation": Case(
        build=lambda: SegmentAggregation("softmax"),
        inputs=grouped,
        join=join_groups,
        reorder=reorder_groups,
    ),
    "SinceEncoder": Case(
        build=lambda: SinceEncoder(3, 2),
        inputs=dates,
        join=lambda a, b: (torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])),
        reorder=reorder_dates,
    ),
    "TemporalSAGEConv": Case(
        build=lambda: TemporalSAGEConv(3, 2, EDGES),
        inputs=temporal_graph,
        join=lambda a, b: (*(join_dicts(p, q) for p, q in zip(a[:3], b[:3], strict=True)), join_csr(a[0], a[3], b[3])),
        reorder=reorder_temporal,
    ),
    "WalkPooling": Case(
        build=lambda: WalkPooling(3, 4, heads=2, walk_length=3, dropout=0.0),  # dropout would differ between calls
        inputs=around_links,
        join=join_links,
        reorder=reorder_links,
    ),
}
