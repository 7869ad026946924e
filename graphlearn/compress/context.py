"""The nodes around which a teacher is asked for its preferences."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from graphlearn.errors import check_positive, unknown_name
from graphlearn.ops.csr import csr_from_edge_index
from graphlearn.ops.csr_check import check_pairs, check_range

MODES = ("nb", "rw")


class ContextSampler:
    """Draws context nodes for anchors: near ones by random walks, and ones from anywhere.

    All walks of all anchors step at once. Mode ``"nb"``: ``repeats`` walks of ``hops`` steps; mode ``"rw"``: one walk
    of ``repeats * hops`` steps. Every node on the way counts, as often as it is met. Then ``ns_rate`` times as many
    nodes are drawn uniformly from the whole graph, neighbours among them. The anchor itself is masked wherever it is
    met; a walk from a node without neighbours stays there, so its near contexts are masked.

    Source: the sampler of Guo et al., "Linkless Link Prediction via Relational Distillation", arXiv:2210.05801. Unlike
    there, edges may come in any order.

    Args:
        edge_index: Edges, walked from source to target; an undirected graph holds each in both directions.
        num_nodes: N, > 0.
        hops: Steps of a walk, > 0.
        repeats: Walks of an anchor, > 0.
        ns_rate: Random contexts for each near one, >= 0.
        mode: ``"nb"`` or ``"rw"``.

    Attributes:
        width: m, the number of contexts of an anchor: ``hops * repeats * (1 + ns_rate)``.

    Shapes:
        - ``edge_index``: ``[2, E]`` int64
        - ``anchors``: ``[a]`` int64
        - returns the contexts ``[a, m]`` int64, near ones first, and their mask ``[a, m]`` bool, False on the anchor

    Raises:
        UnknownNameError: If ``mode`` is none of the two.
        ValueError: If a number is out of its range, or ``edge_index`` has another shape or names nodes that are not
            there.
    """

    def __init__(
        self,
        edge_index: Tensor,
        num_nodes: int,
        *,
        hops: int = 2,
        repeats: int = 3,
        ns_rate: int = 1,
        mode: Literal["nb", "rw"] = "nb",
    ) -> None:
        if mode not in MODES:
            raise unknown_name("way to walk", mode, MODES)
        check_positive(num_nodes=num_nodes, hops=hops, repeats=repeats)
        if ns_rate < 0:
            raise ValueError(f"'ns_rate' must be >= 0, got {ns_rate}.")
        check_pairs("edge_index", edge_index, "E")
        check_range("'edge_index'", edge_index, num_nodes)
        self.num_nodes = num_nodes
        self.walks, self.steps = (repeats, hops) if mode == "nb" else (1, repeats * hops)
        self.random = hops * repeats * ns_rate
        self.width = hops * repeats + self.random
        self.rowptr, self.col = csr_from_edge_index(edge_index.flip(0), num_nodes)

    def __call__(self, anchors: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        here = anchors.repeat_interleave(self.walks)
        draws = self._uniform((self.steps, here.numel()), generator, anchors)
        visited = []
        for draw in draws:
            here = self._step(here, draw)
            visited.append(here)
        near = torch.stack(visited, dim=1).view(anchors.numel(), self.walks * self.steps)
        anywhere = self._uniform((anchors.numel(), self.random), generator, anchors).mul_(self.num_nodes).long()
        contexts = torch.cat([near, anywhere], dim=1)
        return contexts, contexts != anchors[:, None]

    def _uniform(self, shape: tuple[int, int], generator: torch.Generator, like: Tensor) -> Tensor:
        # With 53 bits the product with a size below 2^31 is below it, after rounding too.
        return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64).to(like.device)

    def _step(self, here: Tensor, draw: Tensor) -> Tensor:
        """One step of each walk; a node without neighbours is not left."""
        start, degree = self.rowptr[here], self.rowptr[here + 1] - self.rowptr[here]
        if self.col.numel() == 0:
            return here
        place = (start + (draw * degree).long()).clamp_max(self.col.numel() - 1)
        return torch.where(degree > 0, self.col[place], here)
