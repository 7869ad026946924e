"""Link predictors with one interface: the graph is encoded once, then any pairs of nodes are scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Embedding, Module
from torch_geometric.data import Data
from torch_geometric.nn import MLP

from graphlearn.errors import check_positive
from graphlearn.models.seal import SEALLinkPredictor
from graphlearn.models.walk_pool import WalkPoolLinkPredictor
from graphlearn.nn.head.link import BilinearHead, LinkHead
from graphlearn.sampling.subgraph import EnclosingSubgraph


class LinkPredictor(Module, ABC):
    """What every link predictor does: :meth:`encode` a graph, :meth:`score` pairs of nodes, and the :meth:`loss`.

    Attributes:
        hides_links: Whether the score of a pair never depends on whether the pair is an edge of the graph that was
            encoded. If not, training must take the links that it asks for out of the graph.
    """

    hides_links = False

    @abstractmethod
    def encode(self, x: Tensor | None, edge_index: Tensor) -> Any:
        """What :meth:`score` needs to know of a graph: ``x`` ``[N, F]`` or None, ``edge_index`` ``[2, E]``."""

    @abstractmethod
    def score(self, z: Any, edge_label_index: Tensor) -> Tensor:
        """The logit of each pair ``[2, L]`` int64, the same in both directions; ``[L]``."""

    def forward(self, x: Tensor | None, edge_index: Tensor, edge_label_index: Tensor) -> Tensor:
        return self.score(self.encode(x, edge_index), edge_label_index)

    def loss(self, z: Any, links: Tensor, negatives: Tensor) -> Tensor:
        """Binary cross entropy of links ``[2, L]`` and of pairs without one ``[2, M]``; a scalar."""
        score = self.score(z, torch.cat([links, negatives], dim=1))
        label = (torch.arange(score.numel(), device=score.device) < links.size(1)).to(score.dtype)
        return F.binary_cross_entropy_with_logits(score, label)


class LinkModel(LinkPredictor):
    r"""Encodes all nodes with any network, and scores a pair from the vectors of its two ends.

    .. math:: \mathbf{Z} = \mathrm{encoder}(\mathbf{X}, \mathbf{E}), \qquad
        s(u, v) = \mathrm{head}(\mathbf{z}_u, \mathbf{z}_v)

    The score is the same in both directions: that of a :class:`~graphlearn.nn.BilinearHead` is the mean of both.

    Source: Kipf, Welling, "Variational Graph Auto-Encoders", arXiv:1611.07308, whose decoder is a dot product.

    Args:
        encoder: Called with ``(x, edge_index)``, gives ``[N, F]``; a ``torch_geometric.nn.MLP`` with ``x`` alone.
        head: Scores pairs of vectors of F channels.
        num_nodes: In a graph without features, the number of nodes: each gets a learned vector. Such a model cannot
            score nodes that it was not trained on.
        channels: Size of these vectors, and of what the encoder takes.

    Shapes:
        - ``x``: ``[N, F_in]`` float, or None with learned vectors;  ``edge_index``: ``[2, E]`` int64, both directions
        - ``edge_label_index``: ``[2, L]`` int64
        - returns ``[L]``, logits

    Raises:
        ValueError: If ``num_nodes`` or ``channels`` is given alone or not > 0, or, when called, if ``x`` is missing,
            given though there are learned vectors, or has another number of nodes.
    """

    def __init__(
        self, encoder: Module, head: LinkHead, *, num_nodes: int | None = None, channels: int | None = None
    ) -> None:
        super().__init__()
        if (num_nodes is None) != (channels is None):
            raise ValueError(
                f"'num_nodes' and 'channels' go together, for a table of vectors, got {num_nodes} and {channels}."
            )
        self.encoder, self.head = encoder, head
        self.embedding: Embedding | None = None
        if num_nodes is not None and channels is not None:
            check_positive(num_nodes=num_nodes, channels=channels)
            self.embedding = Embedding(num_nodes, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for module in (self.encoder, self.head):
            module.reset_parameters()  # type: ignore[operator]
        if self.embedding is not None:
            torch.nn.init.xavier_uniform_(self.embedding.weight)

    def encode(self, x: Tensor | None, edge_index: Tensor) -> Tensor:
        if (x is None) != (self.embedding is not None):
            found, needed = ("no 'x'", "needs features") if x is None else ("'x'", "has learned vectors instead")
            raise ValueError(f"This model {needed} of its nodes, but got {found}.")
        if self.embedding is not None:
            x = self.embedding.weight
        z: Tensor = self.encoder(x) if isinstance(self.encoder, MLP) else self.encoder(x, edge_index)
        return z

    def score(self, z: Tensor, edge_label_index: Tensor) -> Tensor:
        # `embedding` gathers rows faster than indexing, and adds their gradients up without sorting.
        src, dst = F.embedding(edge_label_index[0], z), F.embedding(edge_label_index[1], z)
        score: Tensor = self.head(src, dst)
        if isinstance(self.head, BilinearHead):
            score = (score + self.head(dst, src)) / 2
        return score


class SubgraphLinkModel(LinkPredictor):
    """WalkPool or SEAL behind the interface of :class:`LinkModel`: a pair is scored from the subgraph around it.

    :meth:`encode` only reads the graph, and each subgraph hides its own link, so training need not take links out of
    the graph. Without features all nodes have the same one, as in the papers. Nodes that training did not know can be
    scored.

    Source: Pan, Shi, Dokmanic, "Neural Link Prediction with Walk Pooling", arXiv:2110.04375; Zhang, Chen, "Link
    Prediction Based on Graph Neural Networks", arXiv:1802.09691.

    Args:
        predictor: A :class:`WalkPoolLinkPredictor` or :class:`SEALLinkPredictor`.
        num_nodes: Number of nodes of a graph without features.
        num_hops: Size of the subgraphs.
        max_nodes_per_hop: Most new nodes per hop.
        batch_size: Pairs whose subgraphs are in memory at a time.
        seed: What is drawn where a hop has more nodes depends on it.

    Shapes:
        - ``x``: ``[N, F_in]`` float, or None;  ``edge_index``: ``[2, E]`` int64, both directions
        - ``edge_label_index``: ``[2, L]`` int64
        - returns ``[L]``, logits

    Raises:
        ValueError: If ``batch_size`` is not > 0; when called, if the graph has neither features nor ``num_nodes``, or
            as :class:`~graphlearn.sampling.EnclosingSubgraph`.
    """

    hides_links = True

    def __init__(
        self,
        predictor: WalkPoolLinkPredictor | SEALLinkPredictor,
        *,
        num_nodes: int | None = None,
        num_hops: int = 2,
        max_nodes_per_hop: int | None = 100,
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_positive(batch_size=batch_size)
        self.predictor, self.num_nodes = predictor, num_nodes
        self.num_hops, self.max_nodes_per_hop = num_hops, max_nodes_per_hop
        self.batch_size, self.seed = batch_size, seed

    def reset_parameters(self) -> None:
        self.predictor.reset_parameters()

    def encode(self, x: Tensor | None, edge_index: Tensor) -> EnclosingSubgraph:
        num_nodes = self.num_nodes if x is None else x.size(0)
        if num_nodes is None:
            raise ValueError(
                "A graph without features needs SubgraphLinkModel(…, num_nodes=…): its last nodes may have no edge."
            )
        predictor = self.predictor
        if x is None and predictor.in_channels:
            x = torch.ones(num_nodes, predictor.in_channels, device=edge_index.device)
        max_label = None if predictor.label is None else predictor.label.num_embeddings - 1
        return EnclosingSubgraph(
            Data(x=x if predictor.in_channels else None, edge_index=edge_index, num_nodes=num_nodes),
            self.num_hops,
            max_nodes_per_hop=self.max_nodes_per_hop,
            drnl=max_label is not None,
            max_label=max_label,
            generator=torch.Generator().manual_seed(self.seed),
        )

    def score(self, z: EnclosingSubgraph, edge_label_index: Tensor) -> Tensor:
        if edge_label_index.size(1) == 0:  # PyG's sorting of nodes needs some
            return z.rowptr.new_zeros(0, dtype=torch.float32)
        return torch.cat([self._of_batch(z(links)) for links in torch.split(edge_label_index, self.batch_size, dim=1)])

    def _of_batch(self, b: Data) -> Tensor:
        edges = (b.edge_index, b.batch, b.candidate, b.edge_mask)
        if isinstance(self.predictor, SEALLinkPredictor):
            score: Tensor = self.predictor(b.z, *edges, x=b.x, rowptr=b.rowptr)
        else:
            score = self.predictor(b.x, *edges, z=b.get("z"), rowptr=b.rowptr)
        return score
