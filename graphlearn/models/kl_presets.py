"""Named members of the k,l family, with layers, encoder and head chosen."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch.nn import Linear, ReLU, Sequential

from graphlearn.models.kl_gnn import KLGNN, PER_NODE, Task
from graphlearn.models.label_tuples import LabelTuples
from graphlearn.nn.conv.kl_wl import KLConv


def _stack(in_channels: int, channels: int, out_channels: int, edge_dim: int | None, num_layers: int) -> dict[str, Any]:
    return {
        "base": [KLConv(channels, edge_dim=edge_dim) for _ in range(num_layers)],
        "channels": channels,
        "encoder": Linear(in_channels, channels),
        "copy_net": Sequential(Linear(channels, channels), ReLU(), Linear(channels, channels)),
        "head": Sequential(Linear(channels, channels), ReLU(), Linear(channels, out_channels)),
    }


class IDGNN(KLGNN):
    r"""A network that knows one node by name: (1,1), a copy per node and its surroundings.

    .. math:: \mathbf{y} = h\Bigl(\frac{1}{n} \sum_a g\bigl(\sum_{v \in \mathcal{N}_r(a)} M(\mathbf{x} +
        \mathbf{E}_{[v = a]}, \mathbf{A})_v\bigr)\Bigr)

    Source: Zhou et al., "From Relational Pooling to Subgraph GNNs", arXiv:2305.04963, where it is (1,1); the idea of
    You et al., "Identity-aware Graph Neural Networks", arXiv:2101.10320. Differs from both: layers of
    :class:`~graphlearn.nn.KLConv`.

    Args:
        in_channels: Columns of x.
        channels: Size of states.
        out_channels: Size of the result.
        num_layers: Rounds.
        edge_dim: Columns of the edge features; None: without.
        hops: Radius r of the surroundings; None: the whole graph.
        task: ``"graph"``, ``"node"`` or ``"first"`` (the state of the named node itself).

    Shapes:
        - as :class:`KLGNN`
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        *,
        num_layers: int = 4,
        edge_dim: int | None = None,
        hops: int | None = None,
        task: Task = "graph",
    ) -> None:
        tuples = LabelTuples(1, hops=hops, per_node=PER_NODE[task])
        super().__init__(**_stack(in_channels, channels, out_channels, edge_dim, num_layers), tuples=tuples, task=task)


class PairLabelGNN(KLGNN):
    r"""A network that knows two nodes at a time by name: (1,2), for what 3-WL cannot tell apart.

    .. math:: \mathbf{y} = h\bigl(\mathrm{mean}_{a, b}\; g(\sum_v M(\mathbf{x} + \mathbf{E}_{\mathrm{label}_{a,b}},
        \mathbf{A})_v)\bigr)

    over the pairs up to ``max_distance`` apart, each in both orders.

    Source: Zhou et al., "From Relational Pooling to Subgraph GNNs", arXiv:2305.04963, where it is (1,2). Differs:
    layers of :class:`~graphlearn.nn.KLConv`, and the differences of :class:`KLGNN`.

    Args:
        in_channels: Columns of x.
        channels: Size of states.
        out_channels: Size of the result.
        num_layers: Rounds.
        edge_dim: Columns of the edge features; None: without.
        max_distance: Largest distance of a pair; None: all pairs.
        order: As :class:`LabelTuples` has it.

    Shapes:
        - as :class:`KLGNN`
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        *,
        num_layers: int = 4,
        edge_dim: int | None = None,
        max_distance: int | None = 3,
        order: Literal["all", "none"] = "all",
    ) -> None:
        among: Literal["all", "distance"] = "all" if max_distance is None else "distance"
        super().__init__(
            **_stack(in_channels, channels, out_channels, edge_dim, num_layers),
            tuples=LabelTuples(2, among=among, max_distance=max_distance or 1, order=order),
        )


class MoleculeKL(KLGNN):
    r"""What the paper trains on molecules: (1,4) on sampled sets of four atoms near each other.

    .. math:: \mathbf{y} = h\bigl(\mathrm{mean}_{a \in S}\; g(\sum_v M(\mathbf{x} + \mathbf{E}_{\mathrm{label}_a},
        \mathbf{A})_v)\bigr)

    S is a random share of the sets of four nodes with distances up to 3 inside one community, in a random order; drawn
    anew in each pass, so results vary between passes: average several.

    Source: Zhou et al., "From Relational Pooling to Subgraph GNNs", arXiv:2305.04963. Differs: one branch with the
    labels in its input; one order per set instead of the mean over 24; mean over copies; the differences of
    :class:`LabelTuples`.

    Args:
        in_channels: Columns of x.
        channels: Size of states.
        out_channels: Size of the result.
        generator: Where the sets are drawn from.
        num_layers: Rounds.
        edge_dim: Columns of the edge features; None: without.
        rate: Share of the sets in each pass.

    Shapes:
        - as :class:`KLGNN`
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        *,
        generator: torch.Generator,
        num_layers: int = 6,
        edge_dim: int | None = None,
        rate: float = 0.1,
    ) -> None:
        super().__init__(
            **_stack(in_channels, channels, out_channels, edge_dim, num_layers),
            tuples=LabelTuples(4, among="cluster", order="sample", rate=rate, generator=generator),
        )
