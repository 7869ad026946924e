"""Whole models: encoder, layers and head, from a schema and a frozen config."""

from graphlearn.models.ensemble import Ensemble
from graphlearn.models.frame import frame_encoder
from graphlearn.models.graph_parsing import GraphParsingNetwork
from graphlearn.models.kl_gnn import KLGNN
from graphlearn.models.kl_presets import IDGNN, MoleculeKL, PairLabelGNN
from graphlearn.models.label_tuples import LabelTuples
from graphlearn.models.link import LinkModel, LinkPredictor, SubgraphLinkModel
from graphlearn.models.ppgn import PPGN
from graphlearn.models.rdl import ModelConfig, RelationalModel
from graphlearn.models.seal import SEALLinkPredictor
from graphlearn.models.walk_pool import WalkPoolLinkPredictor

__all__ = [
    "IDGNN",
    "KLGNN",
    "PPGN",
    "Ensemble",
    "GraphParsingNetwork",
    "LabelTuples",
    "LinkModel",
    "LinkPredictor",
    "ModelConfig",
    "MoleculeKL",
    "PairLabelGNN",
    "RelationalModel",
    "SEALLinkPredictor",
    "SubgraphLinkModel",
    "WalkPoolLinkPredictor",
    "frame_encoder",
]
