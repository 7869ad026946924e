"""Link predictors by name."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch.nn import Module
from torch_geometric.nn import GAT, GCN, MLP, GraphSAGE

from graphlearn.errors import check_positive, unknown_name
from graphlearn.models.link import LinkModel, LinkPredictor, SubgraphLinkModel
from graphlearn.models.seal import SEALLinkPredictor
from graphlearn.models.walk_pool import WalkPoolLinkPredictor, slim_classifier
from graphlearn.nn.head.link import BilinearHead, DotHead, LinkHead, MLPHead

ENCODERS = ("gcn", "sage", "gat", "mlp")
SUBGRAPHS = ("walkpool", "seal")
HEADS = ("dot", "mlp", "bilinear")

_MAX_LABEL = 100  # of double-radius labels
_CONSTANT = 16  # channels of the constant feature that WalkPool's authors give nodes without any


@dataclass(frozen=True)
class LinkModelConfig:
    """Settings of a link predictor.

    Attributes:
        model: ``gcn``, ``sage``, ``gat`` or ``mlp``, that encode nodes; ``walkpool`` or ``seal``, that read subgraphs.
        head: Of an encoder: ``dot``, ``mlp`` or ``bilinear``.
        channels: Size of hidden layers and of a node's vector.
        num_layers: Layers of an encoder.
        dropout: Share of hidden units zeroed in training.
        num_hops: Size of subgraphs.
        max_nodes_per_hop: Most new nodes per hop of a subgraph.
    """

    model: str = "gcn"
    head: str = "mlp"
    channels: int = 64
    num_layers: int = 2
    dropout: float = 0.5
    num_hops: int = 2
    max_nodes_per_hop: int = 100

    def __post_init__(self) -> None:
        if self.model not in (*ENCODERS, *SUBGRAPHS):
            raise unknown_name("link predictor", self.model, (*ENCODERS, *SUBGRAPHS))
        if self.head not in HEADS:
            raise unknown_name("head", self.head, HEADS)
        check_positive(channels=self.channels, num_layers=self.num_layers)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def make_link_model(config: LinkModelConfig, num_nodes: int, in_channels: int | None, seed: int = 0) -> LinkPredictor:
    """A fresh model for a graph; ``in_channels`` is the size of its nodes' features, None if it has none.

    ``seed`` decides which nodes of large neighbourhoods subgraphs keep.
    """
    if config.model in SUBGRAPHS:
        return SubgraphLinkModel(
            _subgraph_predictor(config, in_channels),
            num_nodes=num_nodes if in_channels is None else None,
            num_hops=config.num_hops,
            max_nodes_per_hop=config.max_nodes_per_hop,
            seed=seed,
        )
    table = {} if in_channels is not None else {"num_nodes": num_nodes, "channels": config.channels}
    width = config.channels if in_channels is None else in_channels
    return LinkModel(_encoder(config, width), _head(config), **table)


def _encoder(config: LinkModelConfig, in_channels: int) -> Module:
    layers, channels = config.num_layers, config.channels
    encoder: Module
    if config.model == "mlp":
        encoder = MLP([in_channels, *[channels] * layers], dropout=config.dropout, norm=None)
    elif config.model == "gat":
        heads = next(h for h in (4, 2, 1) if channels % h == 0)
        encoder = GAT(in_channels, channels, layers, out_channels=channels, dropout=config.dropout, heads=heads)
    else:
        kind = GCN if config.model == "gcn" else GraphSAGE
        encoder = kind(in_channels, channels, layers, out_channels=channels, dropout=config.dropout)
    return encoder


def _head(config: LinkModelConfig) -> LinkHead:
    if config.head == "dot":
        return DotHead()
    if config.head == "bilinear":
        return BilinearHead(config.channels)
    return MLPHead(config.channels, config.channels, dropout=config.dropout)


def _subgraph_predictor(config: LinkModelConfig, in_channels: int | None) -> WalkPoolLinkPredictor | SEALLinkPredictor:
    if config.model == "seal":
        return SEALLinkPredictor(_MAX_LABEL, config.channels, in_channels=in_channels or 0, dropout=config.dropout)
    model = WalkPoolLinkPredictor(in_channels or _CONSTANT, config.channels, dropout=config.dropout)
    model.classifier = slim_classifier(model.pool.out_channels, config.dropout)
    return model
