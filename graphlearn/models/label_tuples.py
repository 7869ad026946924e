"""Which nodes of a graph get labels, decided once per graph and kept with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from graphlearn.errors import check_positive
from graphlearn.ops.cluster import modularity_clusters
from graphlearn.ops.copies import PerNode, Round, SharedStates, copy_rows, offsets, share_states
from graphlearn.ops.tuples import Among, Order, node_tuples, sample_tuples


class LabelledData(Data):  # type: ignore[misc]
    """A graph with the tuples of nodes to label, and (if rounds were asked for) the distinct states of its copies.

    Batches as PyG does; in a batch of graphs every position points to where it did.
    """

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        if key in ("kl_tuple", "kl_node"):
            return self.num_nodes
        if key == "kl_tuple_graph":
            return 1
        if key.endswith("_edge") and key.startswith("kl_"):
            return self.num_edges
        if key.startswith("kl_") and key.endswith(("_own", "_col")):
            before = int(key.split("_")[1]) - 1
            return self.kl_node.numel() if before < 0 else self[f"kl_{before}_own"].numel()
        if key in ("kl_copy_state", "kl_node_state"):
            last = sum(name.endswith("_own") for name in self.keys() if name.startswith("kl_")) - 1
            return self.kl_node.numel() if last < 0 else self[f"kl_{last}_own"].numel()
        return super().__inc__(key, value, *args, **kwargs)

    def __cat_dim__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        return -1 if key == "kl_tuple" else super().__cat_dim__(key, value, *args, **kwargs)

    @property
    def copies(self) -> SharedStates:
        """The distinct states, for :class:`~graphlearn.models.KLGNN`; of all graphs together in a batch.

        Raises:
            ValueError: If ``LabelTuples`` was not told the number of rounds.
        """
        if "kl_node" not in self:
            raise ValueError(
                "these graphs hold no shared states: use LabelTuples(…, num_rounds=L), L the rounds of the model."
            )
        count = sum(name.endswith("_own") for name in self.keys() if name.startswith("kl_"))
        rounds = tuple(Round.of(*(self[f"kl_{t}_{part}"] for part in _ROUND)) for t in range(count))
        of_nodes = (
            (offsets(self.kl_node_size), self.kl_node_state, self.kl_node_count)
            if "kl_node_size" in self
            else (None, None, None)
        )
        return SharedStates(
            self.kl_node, self.kl_label, rounds, offsets(self.kl_copy_size), self.kl_copy_state, self.kl_copy_count,
            offsets(self.kl_graph_size), self.kl_copy_weight, *of_nodes,
        )  # fmt: skip


class LabelTuples(BaseTransform):  # type: ignore[misc]
    r"""Chooses the tuples of l nodes that are labelled, one copy of the graph for each: a PyG transform.

    As ``pre_transform`` the choice is made once per graph; as ``transform`` with ``rate`` below 1, again each time.
    With ``num_rounds`` it also finds which states of all copies are equal (:func:`~graphlearn.ops.share_states`), from
    equal rows of ``x`` and ``edge_attr`` and the graph alone, so that training computes each of them once.

    Source: Zhou et al., "From Relational Pooling to Subgraph GNNs", arXiv:2305.04963. Differs from the paper's code:
    tuples are enumerated without enumerating all :math:`n^l`; no graph is without a copy and no node without a label;
    every order of the labels is a copy of its own, where the code averages over orders before the last rounds (equal in
    a mean); communities are found by parallel local moves, not by several levels.

    Args:
        l: Labels of a copy, 0 to 4; 0: the graph itself.
        among: ``"all"`` sets of l nodes, ``"connected"`` ones, those within ``max_distance`` (``"distance"``), or those
            of them inside one community (``"cluster"``).
        max_distance: Largest distance within a set.
        order: ``"all"``: one copy per order of the set. ``"sample"``: one, drawn. ``"none"``: one, whose labelled nodes
            all have label 1: l! times fewer copies, of less power.
        rate: Share of the tuples that is kept, drawn anew on every call; the weights make up for the rest.
        hops: Local mode: keep of each copy what is within so many edges of a label. None: all.
        num_rounds: Rounds of message passing of the model that will read the states. None: only choose tuples.
        per_node: List the states per node as well: ``"all"`` copies, or those whose ``"first"`` label it has.
        generator: Where samples are drawn from.

    Raises:
        ValueError: If ``l``, ``rate``, ``max_distance``, ``hops`` or ``num_rounds`` is out of range, or something is to
            be drawn without a generator.
        UnknownNameError: If ``among`` or ``order`` is unknown.
    """

    def __init__(
        self,
        l: int,  # noqa: E741 - the paper's letter
        *,
        among: Among = "all",
        max_distance: int = 3,
        order: Order = "all",
        rate: float = 1.0,
        hops: int | None = None,
        num_rounds: int | None = None,
        per_node: PerNode | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        if num_rounds is not None and num_rounds < 0:
            raise ValueError(f"'num_rounds' must be >= 0, got {num_rounds}.")
        if hops is not None and (hops < 0 or l == 0):
            raise ValueError(f"'hops' must be >= 0 and needs a labelled node, got {hops} with l = {l}.")
        if rate < 1 and generator is None:
            raise ValueError(f"rate = {rate} draws at random: give LabelTuples a 'generator'.")
        if not 0 < rate <= 1:
            raise ValueError(f"'rate' must be above 0 and at most 1, got {rate}.")
        if per_node == "first" and l == 0:
            raise ValueError("per_node = 'first' needs a labelled node, got l = 0.")
        check_positive(max_distance=max_distance)
        self.l, self.among, self.max_distance, self.order = l, among, max_distance, order
        self.rate, self.hops, self.num_rounds, self.per_node = rate, hops, num_rounds, per_node
        self.generator = generator
        self.tuples(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))  # raises for a wrong name

    def tuples(self, edge_index: Tensor, ptr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The tuples ``[l, T]``, the graph of each ``[T]`` and its weight ``[T]``."""
        cluster = modularity_clusters(edge_index, int(ptr[-1])) if self.among == "cluster" else None
        index, graph = node_tuples(
            edge_index, ptr, self.l, among=self.among, max_distance=self.max_distance, cluster=cluster,
            order=self.order, generator=self.generator,
        )  # fmt: skip
        if self.rate == 1:
            return index, graph, torch.ones(graph.numel(), device=graph.device)
        assert self.generator is not None
        kept, weight = sample_tuples(graph, ptr.numel() - 1, self.rate, self.generator)
        return index[:, kept], graph[kept], weight

    def states(
        self, edge_index: Tensor, ptr: Tensor, num_rounds: int, x: Tensor | None, edge_attr: Tensor | None
    ) -> SharedStates:
        """The distinct states of the copies of a batch of graphs; rows of ``x`` and ``edge_attr`` decide the first."""
        index, graph, weight = self.tuples(edge_index, ptr)
        rows = copy_rows(edge_index, ptr, index, graph, hops=self.hops, same_label=self.order == "none")
        return share_states(
            rows, ptr, graph, num_rounds, node_color=equal_rows(x), edge_color=equal_rows(edge_attr), weight=weight,
            per_node=self.per_node,
        )  # fmt: skip

    def forward(self, data: Data) -> LabelledData:
        out: LabelledData = LabelledData.from_dict(data.to_dict())
        num_nodes, device = data.num_nodes, data.edge_index.device
        ptr = torch.tensor([0, num_nodes], device=device)
        if data.x is None:
            out.num_nodes = num_nodes
        if self.num_rounds is None:
            out.kl_tuple, out.kl_tuple_graph, out.kl_tuple_weight = self.tuples(data.edge_index, ptr)
            return out
        # Without features all nodes are alike.
        x = torch.zeros(num_nodes, 1, device=device) if data.x is None else data.x
        shared = self.states(data.edge_index, ptr, self.num_rounds, x, data.edge_attr)
        out.kl_node, out.kl_label = shared.node, shared.label
        for t, step in enumerate(shared.rounds):
            for part, value in zip(_ROUND, (step.own, step.rowptr.diff(), step.col, step.edge), strict=True):
                out[f"kl_{t}_{part}"] = value
        out.kl_copy_size, out.kl_copy_state = shared.copy_rowptr.diff(), shared.copy_state
        out.kl_copy_count, out.kl_copy_weight = shared.copy_count, shared.copy_weight
        out.kl_graph_size = shared.graph_rowptr.diff()
        if shared.node_rowptr is not None:
            out.kl_node_size = shared.node_rowptr.diff()
            out.kl_node_state, out.kl_node_count = shared.node_state, shared.node_count
        return out

    def __repr__(self) -> str:
        settings = f"among={self.among!r}, order={self.order!r}, rate={self.rate}, hops={self.hops}"
        return f"{type(self).__name__}({self.l}, {settings})"


_ROUND = ("own", "degree", "col", "edge")


def equal_rows(x: Tensor | None) -> Tensor | None:
    """A number per row, the same for equal rows; None for None."""
    if x is None or x.size(0) == 0:
        return None if x is None else torch.zeros(0, dtype=torch.int64, device=x.device)
    found: Tensor = torch.unique(x.reshape(x.size(0), -1), dim=0, return_inverse=True)[1]
    return found
