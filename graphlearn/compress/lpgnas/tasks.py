"""What a search is scored on: nodes, links or graphs, behind one small interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import numpy as np
import sklearn.metrics as skm
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Batch, Data

from graphlearn.compress.lpgnas.attention import Edges
from graphlearn.errors import DataError, UsageError, check_positive

Split = Literal["train", "val", "test"]
T = TypeVar("T")


@dataclass(frozen=True)
class Inputs:
    """What a network reads for a split.

    Attributes:
        x: ``[N, F]`` float.
        edge_index: ``[2, E]`` int64.
        edges: The same by destination, with loops.
        batch: ``[N]`` int64, the graph of each node, for one answer per graph.
        num_graphs: Their number.
    """

    x: Tensor
    edge_index: Tensor
    edges: Edges
    batch: Tensor | None = None
    num_graphs: int | None = None

    @classmethod
    def of(cls, data: Data, batch: Tensor | None = None, num_graphs: int | None = None) -> Inputs:
        edges = Edges.of(data.edge_index, int(data.num_nodes))
        return cls(data.x, data.edge_index, edges, batch, num_graphs)


class SearchTask(Protocol):
    """What a search needs to know of a problem.

    Attributes:
        in_channels: Features of a node.
        out_channels: Numbers of an answer.
    """

    in_channels: int
    out_channels: int

    def inputs(self, split: Split) -> Inputs:
        """What the network reads."""

    def loss(self, out: Tensor, split: Split) -> Tensor:
        """How wrong it is, differentiable."""

    def score(self, out: Tensor, split: Split) -> float:
        """How good it is; larger is better."""


class NodeTask:
    """Classes of nodes in one graph, by cross-entropy and accuracy.

    Args:
        data: With ``x``, ``edge_index``, ``y`` ``[N]`` int64, ``train_mask``, ``val_mask`` and, to be scored on it,
            ``test_mask``.

    Raises:
        UsageError: If one of them is missing.
        DataError: If no node is in the train or validation mask.
    """

    def __init__(self, data: Data) -> None:
        _check_has(data, "x", "edge_index", "y", "train_mask", "val_mask")
        self.rows = {
            split: data[f"{split}_mask"].nonzero().squeeze(1)
            for split in ("train", "val", "test")
            if data.get(f"{split}_mask") is not None
        }
        for split in ("train", "val"):
            _check_some(split, self.rows[split].numel(), "nodes")
        self.y = data.y
        self.in_channels, self.out_channels = data.x.size(1), int(data.y.max()) + 1
        self._inputs = Inputs.of(data)

    def inputs(self, split: Split) -> Inputs:
        return self._inputs

    def loss(self, out: Tensor, split: Split) -> Tensor:
        return F.cross_entropy(out[_known(self.rows, split)], self.y[self.rows[split]])

    def score(self, out: Tensor, split: Split) -> float:
        rows = _known(self.rows, split)
        return float((out[rows].argmax(dim=1) == self.y[rows]).float().mean())


class LinkTask:
    """Links, scored by the product of the vectors of their ends: binary cross-entropy, and the area under the ROC.

    Args:
        train: As PyG's ``RandomLinkSplit`` gives it, with negatives: ``x``, ``edge_index``, ``edge_label_index``
            ``[2, L]`` int64 and ``edge_label`` ``[L]``.
        val: The same.
        test: The same, to be scored on it.
        channels: Size of the vectors.

    Raises:
        UsageError: If a part is missing.
        DataError: If a split has no link.
    """

    def __init__(self, train: Data, val: Data, test: Data | None = None, *, channels: int = 64) -> None:
        check_positive(channels=channels)
        self.parts = {"train": train, "val": val} | ({} if test is None else {"test": test})
        for split, data in self.parts.items():
            _check_has(data, "x", "edge_index", "edge_label_index", "edge_label")
            _check_some(split, data.edge_label.numel(), "links")
        self.in_channels, self.out_channels = train.x.size(1), channels
        self._inputs = {split: Inputs.of(data) for split, data in self.parts.items()}

    def inputs(self, split: Split) -> Inputs:
        return _known(self._inputs, split)

    def loss(self, out: Tensor, split: Split) -> Tensor:
        logit, label = self._logits(out, split)
        return F.binary_cross_entropy_with_logits(logit, label)

    def score(self, out: Tensor, split: Split) -> float:
        logit, label = self._logits(out, split)
        true = label.cpu().numpy()
        return float(skm.roc_auc_score(true, logit.cpu().numpy())) if 0 < true.mean() < 1 else float(np.nan)

    def _logits(self, out: Tensor, split: Split) -> tuple[Tensor, Tensor]:
        data = _known(self.parts, split)
        src, dst = data.edge_label_index
        return (out[src] * out[dst]).sum(dim=1), data.edge_label.to(out.dtype)


class GraphTask:
    """Classes of graphs, by cross-entropy and accuracy. Each split is one batch, so it has to fit into memory.

    Args:
        train: Graphs with ``x``, ``edge_index`` and ``y`` ``[1]`` int64.
        val: The same.
        test: The same, to be scored on it.

    Raises:
        UsageError: If a graph lacks a part.
        DataError: If a split has no graph.
    """

    def __init__(self, train: Sequence[Data], val: Sequence[Data], test: Sequence[Data] = ()) -> None:
        self.y: dict[str, Tensor] = {}
        self._inputs: dict[str, Inputs] = {}
        for split, graphs in (("train", train), ("val", val), ("test", test)):
            if split == "test" and not len(graphs):
                continue
            _check_some(split, len(graphs), "graphs")
            _check_has(graphs[0], "x", "edge_index", "y")
            batch = Batch.from_data_list(list(graphs))
            self.y[split] = batch.y
            self._inputs[split] = Inputs.of(batch, batch.batch, len(graphs))
        self.in_channels = self._inputs["train"].x.size(1)
        self.out_channels = int(torch.stack([y.max() for y in self.y.values()]).max()) + 1

    def inputs(self, split: Split) -> Inputs:
        return _known(self._inputs, split)

    def loss(self, out: Tensor, split: Split) -> Tensor:
        return F.cross_entropy(out, _known(self.y, split))

    def score(self, out: Tensor, split: Split) -> float:
        return float((out.argmax(dim=1) == _known(self.y, split)).float().mean())


def _known(parts: dict[str, T], split: str) -> T:
    if split not in parts:
        raise UsageError(f"this task has no split '{split}', only {', '.join(parts)}.")
    return parts[split]


def _check_has(data: Data, *parts: str) -> None:
    missing = [part for part in parts if data.get(part) is None]
    if missing:
        raise UsageError(f"the data have no '{missing[0]}'; a search needs {', '.join(parts)}.")


def _check_some(split: str, count: int, what: str) -> None:
    if count == 0:
        raise DataError(f"the split '{split}' has no {what}, and a search learns from train and is steered by val.")
