"""Degree-Quant: nodes with many neighbours stay unrounded now and then while a model is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from graphlearn.errors import UsageError


class Protection:
    """Which rows the quantisers of a model leave as they are, in training only. Shared by all of them."""

    def __init__(self) -> None:
        self.keep: Tensor | None = None

    def of(self, x: Tensor, name: str) -> Tensor | None:
        """The rows of ``x`` to keep.

        Raises:
            UsageError: If the mask was made for another number of nodes.
        """
        if self.keep is not None and x.size(0) != self.keep.numel():
            raise UsageError(
                f"{name} got {x.size(0)} rows, but {self.keep.numel()} nodes are protected."
                " Protect the nodes of the batch that the model gets, in their order."
            )
        return self.keep


def protection(
    edge_index: Tensor,
    num_nodes: int,
    batch: Tensor | None = None,
    num_graphs: int = 1,
    *,
    low: float = 0.0,
    high: float = 0.1,
) -> Tensor:
    r"""How likely each node is to be protected.

    .. math:: p_v = l + (h - l) \, F(d_v), \quad F(d) = |\{u : d_u \le d\}| / n

    where d is the in-degree and F its distribution within the graph of the node: large sums of hubs set the ranges of
    everyone else, so they are left out now and then. All graphs of a batch are ranked by one sort, ``O(N log N + E)``.
    Give the edges that the model is trained on, and no others.

    Source: Tailor et al., "Degree-Quant: Quantization-Aware Training for Graph Neural Networks", arXiv:2008.05000.

    Args:
        edge_index: Edges of the training graph.
        num_nodes: Number of nodes.
        batch: Graph of each node.
        num_graphs: Number of graphs.
        low: Probability of the lowest degree, almost.
        high: Probability of the highest degree.

    Shapes:
        - ``edge_index``: ``[2, E]`` int64;  ``batch``: ``[N]`` int64
        - returns ``[N]`` float32

    Raises:
        UsageError: If not ``0 <= low <= high <= 1``.
    """
    if not 0.0 <= low <= high <= 1.0:
        raise UsageError(f"'low' and 'high' must be probabilities with low <= high, got {low} and {high}.")
    if num_nodes == 0:
        return torch.zeros(0, device=edge_index.device)
    degree = torch.zeros(num_nodes, dtype=torch.int64, device=edge_index.device)
    degree.scatter_add_(0, edge_index[1], torch.ones_like(edge_index[1]))
    graph = torch.zeros_like(degree) if batch is None else batch
    # One number per (graph, degree), so that one sort ranks all graphs; degrees are below E + 1.
    key = graph * (edge_index.size(1) + 1) + degree
    ordered = key.sort().values
    below = torch.searchsorted(ordered, key, right=True)  # nodes of earlier graphs, and those of degree <= d
    size = torch.zeros(num_graphs, dtype=torch.int64, device=key.device).scatter_add_(0, graph, torch.ones_like(graph))
    first = size.cumsum(0) - size
    share = (below - first[graph]) / size[graph]
    return low + (high - low) * share


@contextmanager
def protected(model: torch.nn.Module, probability: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """While this is open, the quantisers of ``model`` keep rows drawn with these probabilities, if in training.

    One mask for all layers, drawn on entering: open it once for each forward pass.

    Args:
        model: What :func:`graphlearn.compress.quantize.quantize` gave.
        probability: See :func:`protection`.
        generator: Draws the mask.

    Shapes:
        - ``probability``: ``[N]`` float, N the number of nodes that the layers get
        - gives ``[N]`` bool, the mask

    Raises:
        UsageError: If nothing in the model is quantised.
    """
    found = {
        id(value): value for value in (getattr(m, "protection", None) for m in model.modules()) if value is not None
    }
    if not found:
        raise UsageError("the model has no quantised layer to protect nodes in: give it to quantize() first.")
    keep = torch.rand(probability.shape, generator=generator, device=probability.device) < probability
    for shared in found.values():
        shared.keep = keep
    try:
        yield keep
    finally:
        for shared in found.values():
            shared.keep = None
