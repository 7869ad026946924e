"""Splits a graph as a service meets it: links that are not yet known, and nodes that come later."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graphlearn.compress.distill import DistillData
from graphlearn.compress.student import take_rows
from graphlearn.errors import check_positive
from graphlearn.ops.csr_check import check_pairs, check_range
from graphlearn.sampling.free_pairs import FreePairs


@dataclass(frozen=True)
class ProductionSplit:
    """What is known before new nodes come, what is known when they are there, and the links to find.

    Before: everything is numbered among the old nodes, row ``old_nodes[i]`` of the whole graph being node i, so that
    nothing made from these tensors can tell of a new node. Afterwards and in the test: numbers of the whole graph.

    Attributes:
        old_nodes: The nodes that are there from the start, increasing, ``[N_old]`` int64.
        new_nodes: The others, ``[N_new]`` int64.
        train_edge_index: Graph of the training, both directions, ``[2, E]``, old numbers.
        train: Its links, each once, ``[2, L]``, old numbers.
        val: Links of validation, in no graph of the training, ``[2, V]``, old numbers.
        val_negatives: As many pairs of old nodes that are no links, ``[2, V]``, old numbers.
        inference_edge_index: Graph when new nodes are there: all links but those of the test, both directions.
        test_old_old: Links of the test between old nodes, ``[2, *]``.
        test_old_new: Between an old node and a new one.
        test_new_new: Between new nodes.
        test_negatives: Pairs of any nodes that are no links; all kinds of test links are ranked among them.
    """

    old_nodes: Tensor
    new_nodes: Tensor
    train_edge_index: Tensor
    train: Tensor
    val: Tensor
    val_negatives: Tensor
    inference_edge_index: Tensor
    test_old_old: Tensor
    test_old_new: Tensor
    test_new_new: Tensor
    test_negatives: Tensor

    @property
    def test(self) -> Tensor:
        """Test links of all kinds, ``[2, T]``."""
        return torch.cat([self.test_old_old, self.test_old_new, self.test_new_new], dim=1)

    def distill_data(self, x: Tensor) -> DistillData:
        """What a student may see, from the features of all nodes: rows of old nodes, and links among them."""
        rows = take_rows(x, self.old_nodes)
        return DistillData(rows, self.train_edge_index, self.train, self.val, self.val_negatives)


class ProductionLinkSplit:
    """Sets nodes aside as new, and links of each kind as the test.

    Of the links between old nodes, between old and new ones, and between new ones, the share ``test_ratio`` each is the
    test. Of those between old nodes another ``extra_ratio`` becomes known together with the new nodes: it is in the
    graph of inference only. Of what remains between old nodes, ``val_ratio`` is validation, and the rest trains. The
    graph of inference holds all links but those of the test. Links are undirected; repeated ones count once and
    self-links are left out.

    Source: the setting called production in Guo et al., "Linkless Link Prediction via Relational Distillation",
    arXiv:2210.05801. Differs from its code: links of validation are not in the graph that trains.

    Args:
        new_node_ratio: Share of the nodes that are new, in (0, 1).
        test_ratio: Share of the links of each kind that is the test, in (0, 1); also the number of its negatives, as a
            share of all links.
        val_ratio: Share of the remaining links between old nodes, in (0, 1).
        extra_ratio: Share of the links between old nodes that becomes known later, in [0, 1).
        seed: Of all draws.

    Raises:
        ValueError: If a share is out of its range. When called, if ``edge_index`` is not ``[2, E]`` int64 or names
            nodes that are not there, or no link is left to train with.
    """

    def __init__(
        self,
        new_node_ratio: float = 0.1,
        test_ratio: float = 0.1,
        *,
        val_ratio: float = 0.1,
        extra_ratio: float = 0.1,
        seed: int = 0,
    ) -> None:
        check_positive(new_node_ratio=new_node_ratio, test_ratio=test_ratio, val_ratio=val_ratio)
        for name, value in (("new_node_ratio", new_node_ratio), ("val_ratio", val_ratio)):
            if value >= 1:
                raise ValueError(f"'{name}' must be < 1, got {value}.")
        if extra_ratio < 0 or test_ratio + extra_ratio >= 1:
            raise ValueError(
                f"'extra_ratio' must be >= 0 and leave links to train with, got {extra_ratio} beside "
                f"test_ratio={test_ratio}. Their sum must be < 1."
            )
        self.new_node_ratio, self.test_ratio = new_node_ratio, test_ratio
        self.val_ratio, self.extra_ratio, self.seed = val_ratio, extra_ratio, seed

    def __call__(self, edge_index: Tensor, num_nodes: int) -> ProductionSplit:
        check_pairs("edge_index", edge_index, "E")
        check_range("'edge_index'", edge_index, num_nodes)
        generator, device = torch.Generator().manual_seed(self.seed), edge_index.device
        links = undirected_links(edge_index)
        links = links[:, torch.randperm(links.size(1), generator=generator).to(device)]
        order = torch.randperm(num_nodes, generator=generator).to(device)
        num_new = round(self.new_node_ratio * num_nodes)
        new_nodes, old_nodes = order[:num_new].sort().values, order[num_new:].sort().values
        is_new = torch.zeros(num_nodes, dtype=torch.bool, device=device)
        is_new[new_nodes] = True
        kind = is_new[links].sum(dim=0)
        test, known = zip(*(self._cut(links[:, kind == ends], self.test_ratio) for ends in range(3)), strict=True)
        # The extra share is one of all links between old nodes, as that of the test is.
        extra, early = self._cut(known[0], self.extra_ratio / (1.0 - self.test_ratio))
        val, train = self._cut(early, self.val_ratio)
        if train.size(1) == 0 or val.size(1) == 0:
            raise ValueError(
                f"{links.size(1)} links leave {train.size(1)} to train and {val.size(1)} to validate with, of "
                f"{int((kind == 0).sum())} between old nodes. Take smaller shares, or a larger graph."
            )
        place = torch.zeros(num_nodes, dtype=torch.int64, device=device)
        place[old_nodes] = torch.arange(old_nodes.numel(), device=device)
        among_old = FreePairs(place[links[:, kind == 0]], old_nodes.numel())
        test_negatives = round(self.test_ratio * links.size(1))
        return ProductionSplit(
            old_nodes=old_nodes,
            new_nodes=new_nodes,
            train_edge_index=both_directions(place[train]),
            train=place[train],
            val=place[val],
            val_negatives=among_old.draw(val.size(1), generator),
            inference_edge_index=both_directions(torch.cat([train, val, extra, known[1], known[2]], dim=1)),
            test_old_old=test[0],
            test_old_new=test[1],
            test_new_new=test[2],
            test_negatives=FreePairs(links, num_nodes).draw(test_negatives, generator),
        )

    @staticmethod
    def _cut(links: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """The first ``share`` of the links, which are in a random order, and the others."""
        count = round(share * links.size(1))
        return links[:, :count], links[:, count:]


def undirected_links(edge_index: Tensor) -> Tensor:
    """Each link of an undirected graph once, the smaller node first, without self-links; ``[2, L]``."""
    low, high = edge_index.min(dim=0).values, edge_index.max(dim=0).values
    pairs = torch.stack([low, high])[:, low < high]
    found: Tensor = torch.unique(pairs, dim=1)
    return found


def both_directions(links: Tensor) -> Tensor:
    """``[2, L]`` links as ``[2, 2 L]`` edges."""
    return torch.cat([links, links.flip(0)], dim=1)
