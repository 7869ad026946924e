"""Whole models: encoder, layers and head, from a schema and a frozen config."""

from graphlearn.models.ensemble import Ensemble
from graphlearn.models.frame import frame_encoder
from graphlearn.models.graph_parsing import GraphParsingNetwork
from graphlearn.models.rdl import ModelConfig, RelationalModel
from graphlearn.models.seal import SEALLinkPredictor
from graphlearn.models.walk_pool import WalkPoolLinkPredictor

__all__ = [
    "Ensemble",
    "GraphParsingNetwork",
    "ModelConfig",
    "RelationalModel",
    "SEALLinkPredictor",
    "WalkPoolLinkPredictor",
    "frame_encoder",
]
